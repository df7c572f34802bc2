"""What a picture looks like, how sharp it is, how strange, and whether of another kind."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ml.bundle import halved
from ml.gates import REACH, Looks, Otherness, looks, sharpness
from ml.invented import Random, clouds, lights, mosaic, waves
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


def seen(kind: Callable[[Random], Image.Image], count: int, seed: int) -> np.ndarray:
    made = (kind(np.random.default_rng((seed, index))) for index in range(count))
    return np.stack([looks(np.asarray(image.resize((48, 48)))) for image in made])


def test_what_was_shown_as_another_kind_is_told_apart_though_its_looks_are_near() -> None:
    own, near = seen(clouds, 120, 0), seen(lights, 60, 1)
    taught = Otherness.fit(own, [near, seen(mosaic, 20, 2)]).as_stored()
    assert (taught.of(seen(clouds, 40, 3)) > 0).mean() <= 0.1
    assert (taught.of(seen(lights, 40, 4)) > 0).mean() >= 0.9
    alone = Looks.fit(own)
    assert np.median(alone.distance(near)) < alone.distance(own).max()


def test_each_other_kind_weighs_the_same_however_many_there_are() -> None:
    """Of two kinds that differ from the own pictures in opposite ways, neither is drowned."""
    random = np.random.default_rng(0)
    own, low, high = (
        random.normal(middle, 1, (count, 1)).astype(np.float32)
        for middle, count in ((0, 500), (-6, 500), (6, 5))
    )
    few, many = (Otherness.fit(own, [low, kind]) for kind in (high, np.repeat(high, 100, axis=0)))
    probe = np.linspace(-8, 8, 9, dtype=np.float32)[:, None]
    moved = (probe - few.centre) / few.scale
    assert few.of(probe)[[0, -1]].min() > 0 > few.of(probe)[4]
    assert (few.of(probe) > 0).tolist() == (many.of(probe) > 0).tolist()
    assert few.terms(probe) == pytest.approx(np.hstack([moved, moved**2]).clip(-REACH, REACH**2))


def test_otherness_survives_the_weight_file() -> None:
    taught = Otherness.fit(seen(clouds, 40, 0), [seen(lights, 20, 1)]).as_stored()
    stored = {name: halved(value).astype(np.float32) for name, value in taught.tensors().items()}
    again = Otherness.from_tensors(stored)
    assert again is not None
    assert np.array_equal(again.of(seen(waves, 5, 2)), taught.of(seen(waves, 5, 2)))
    assert Otherness.from_tensors({}) is None
