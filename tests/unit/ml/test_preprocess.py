"""One preparation of pictures, for training and for serving."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ml.augmentation import augment
from ml.decode import Unreadable, decode
from ml.parts import EvaluationBatches, Part, TrainBatches
from ml.preprocess import PreprocessSpec
from ml.recipe import AugmentationRecipe, Recipe
from tests.unit.ml.factories import picture

SPEC = PreprocessSpec(native_short_side_px=40, size_px=32)
STILL = AugmentationRecipe()


@pytest.mark.parametrize("size", [(40, 40), (41, 40), (400, 900), (13, 17), (1, 300), (90_000, 1)])
def test_any_picture_is_framed(size: tuple[int, int]) -> None:
    frame = SPEC.frame(Image.new("RGB", size, (10, 20, 30)))
    assert frame.shape == (32, 32, 3)
    assert (frame == (10, 20, 30)).all()


def test_the_centre_is_kept_at_native_scale() -> None:
    image = picture(size=(60, 40))
    expected = np.asarray(image)[4:36, 14:46]
    assert (SPEC.frame(image) == expected).all()


@pytest.mark.parametrize(
    ("framing", "size", "expected"),
    [
        ("centre", (60, 40), (14, 4, 46, 36)),
        ("centre", (80, 160), (8, 48, 72, 112)),
        ("squash", (80, 160), (8, 16, 72, 144)),
        ("centre", (6000, 40), (2984, 4, 3016, 36)),
    ],
)
def test_it_is_known_where_the_frame_lies(
    framing: str, size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    left, top, right, bottom = PreprocessSpec(40, 32, framing=framing).shown(size)
    edges = (left * size[0], top * size[1], right * size[0], bottom * size[1])
    assert edges == pytest.approx(expected)


def test_the_far_ends_of_a_strip_change_nothing() -> None:
    strip = picture(size=(6000, 40))
    middle = strip.crop((2900, 0, 3100, 40))
    assert (SPEC.frame(strip) == SPEC.frame(middle)).all()


def test_pixels_are_normalised_by_channel() -> None:
    pixels = np.full((1, 2, 2, 3), (127, 255, 0), np.uint8)
    spec = PreprocessSpec(2, 2, mean=(127, 127, 0), std=(128, 128, 1))
    assert SPEC.to_input([picture_frame()]).dtype == np.float32
    assert spec.to_input(pixels)[0, :, 0, 0].tolist() == [0, 1, 0]


def picture_frame() -> np.ndarray:
    return SPEC.frame(picture())


def test_training_and_serving_see_the_same_pixels() -> None:
    """Without augmentation a training batch is exactly what the predictor feeds the network."""
    frames = torch.from_numpy(np.stack([SPEC.frame(picture(seed=n)) for n in range(4)]))
    part = Part(tuple("abcd"), frames, torch.eye(4), torch.empty(4, 0))
    recipe = Recipe("any", "1", preprocess=SPEC, augmentation=STILL)
    pixels, _, targets = next(iter(TrainBatches(part, recipe)))
    served = SPEC.to_input([SPEC.frame(picture(seed=int(n))) for n in targets.argmax(dim=1)])
    assert np.abs(pixels.numpy() - served).max() < 1e-4
    tuned, _, _ = next(iter(EvaluationBatches(part, SPEC)))
    assert (tuned.numpy() == SPEC.to_input(list(frames.numpy()))).all()


def test_orientations_only_move_pixels() -> None:
    frames = torch.from_numpy(np.stack([SPEC.frame(picture())] * 64))
    recipe = AugmentationRecipe(any_orientation=True)
    turned = augment(frames, 32, recipe, torch.Generator().manual_seed(0)).round().byte()
    assert len({bytes(frame.numpy()) for frame in turned}) == 8
    totals = frames[0].long().sum()
    assert all(frame.long().sum() == totals for frame in turned)


def test_augmentation_follows_its_seed_and_stays_in_range() -> None:
    frames = torch.from_numpy(np.stack([SPEC.frame(picture(seed=n), 40) for n in range(8)]))
    recipe = AugmentationRecipe(True, 4, 45, 0.2, 0.3, 0.3, 0.2)
    first, again, other = (
        augment(frames, 32, recipe, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (8, 32, 32, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 255


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def test_decoding_applies_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)).size == (20, 30)


def test_decoding_puts_alpha_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_decoding_scales_sixteen_bits() -> None:
    deep = Image.fromarray(np.full((4, 4), 32768, np.uint16))
    assert decode(encoded(deep)).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA"])
def test_decoding_yields_rgb(mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    assert decode(encoded(Image.new(mode, (9, 9)), form)).mode == "RGB"


def test_a_large_jpeg_may_be_decoded_smaller() -> None:
    large = encoded(picture(size=(1600, 1200)), "JPEG")
    assert decode(large, 100).size == (400, 300)
    assert decode(large).size == (1600, 1200)


def test_what_is_no_picture_is_unreadable() -> None:
    whole = encoded(picture(size=(300, 300)))
    for data in (b"", b"words", whole[: len(whole) // 2]):
        with pytest.raises(Unreadable):
            decode(data)


def test_a_spoilt_avif_picture_is_unreadable() -> None:
    data = bytearray(encoded(picture(size=(300, 300)), "AVIF"))
    start = data.index(b"mdat") + 4
    data[start : start + 36] = b"\xff" * 36
    with pytest.raises(Unreadable):
        decode(bytes(data))
