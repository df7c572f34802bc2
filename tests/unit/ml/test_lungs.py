"""Lungs are found in a drawn slice, and a picture without any stays as it is."""

import numpy as np
from PIL import Image

from ml.decode import decode
from ml.lungs import lung_mask, only_lungs
from ml.preprocess import PreprocessSpec
from ml.samples import phantom


def test_the_lungs_of_a_drawn_slice_are_kept_and_the_rest_is_blackened() -> None:
    slice_ = decode(phantom()[0].content)
    mask = lung_mask(np.asarray(slice_.convert("L"), np.float32))
    inside = [(80, 130), (175, 130)]
    outside = [(5, 5), (128, 60), (128, 120), (128, 188), (30, 130)]
    assert all(mask[row, column] for column, row in inside)
    assert not any(mask[row, column] for column, row in outside)
    kept = np.asarray(only_lungs(slice_))
    assert np.array_equal(kept[mask], np.asarray(slice_)[mask])
    assert not kept[~mask].any()


def test_a_picture_without_lungs_is_unchanged() -> None:
    plain = Image.new("RGB", (96, 96), (90, 90, 90))
    assert np.array_equal(np.asarray(only_lungs(plain)), np.asarray(plain))


def test_frames_of_a_recipe_with_extraction_are_grey_lungs() -> None:
    spec = PreprocessSpec(
        256, 256, framing="squash", extraction="lung", channels=1, mean=(127.0,), std=(128.0,)
    )
    frame = spec.frame(decode(phantom()[0].content))
    assert frame.shape == (256, 256, 1)
    assert 0.1 < (frame > 0).mean() < 0.4
    assert spec.to_input([frame]).shape == (1, 1, 256, 256)
