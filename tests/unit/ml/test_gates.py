"""What a picture looks like, how sharp it is, and how strange."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ml.gates import Looks, looks, sharpness
from tests.unit.ml.factories import picture


def frames(count: int, *, seed: int = 0) -> list[np.ndarray]:
    return [np.asarray(picture(seed=seed + index, size=(48, 48))) for index in range(count)]


def test_blur_lowers_sharpness() -> None:
    sharp = picture(size=(64, 64))
    blurred = sharp.filter(ImageFilter.GaussianBlur(3))
    assert sharpness(np.asarray(blurred)) < sharpness(np.asarray(sharp)) / 4
    assert sharpness(np.full((16, 16, 3), 90, np.uint8)) == 0


def test_sharpness_by_hand() -> None:
    dot = np.zeros((5, 5, 1), np.uint8)
    dot[2, 2] = 10
    laplacian = np.array([[0, 10, 0], [10, -40, 10], [0, 10, 0]])
    assert sharpness(dot) == pytest.approx(float(laplacian.std()))


def test_another_kind_of_picture_looks_strange() -> None:
    known = Looks.fit(np.stack([looks(frame) for frame in frames(200)]))
    own = known.distance(np.stack([looks(frame) for frame in frames(20, seed=1000)]))
    others = [
        np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8),
        np.asarray(Image.linear_gradient("L").resize((48, 48)).convert("RGB")),
        255 - frames(1)[0],
    ]
    foreign = known.distance(np.stack([looks(frame) for frame in others]))
    assert foreign.min() > 2 * own.max()


def test_looks_survive_the_weight_file() -> None:
    known = Looks.fit(np.stack([looks(frame) for frame in frames(60)]))
    again = Looks.from_tensors(known.tensors())
    seen = np.stack([looks(frame) for frame in frames(5, seed=70)])
    assert again is not None
    assert np.array_equal(again.distance(seen), known.distance(seen))
    assert Looks.from_tensors({}) is None


def test_grey_frames_look_as_their_colour_copies_do() -> None:
    grey = np.asarray(picture().convert("L").resize((48, 48)))[..., None]
    assert looks(grey) == pytest.approx(looks(np.repeat(grey, 3, axis=2)), abs=1e-3)
