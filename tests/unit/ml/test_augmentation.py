"""Each random change does what its name says, and nothing when it is off."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ml.augmentation import augment, brighten, mix
from ml.recipe import AugmentationRecipe


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(count: int = 64, side: int = 32, channels: int = 3) -> Tensor:
    return torch.randint(
        0, 256, (count, side, side, channels), dtype=torch.uint8, generator=seeded(9)
    )


def changed(pictures: Tensor, size_px: int = 32, seed: int = 0, **recipe: object) -> Tensor:
    # Settings of several kinds in one mapping are more than mypy follows.
    return augment(pictures, size_px, AugmentationRecipe(**recipe), seeded(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_half_of_the_pictures_are_mirrored(name: str, axis: int) -> None:
    before = frames()
    after = changed(before, **{name: True}).round().byte()
    same = (after == before).flatten(1).all(dim=1)
    mirrored = (after == before.flip(axis)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 16 < int(mirrored.sum()) < 48


def test_a_crop_shows_a_part_of_the_picture() -> None:
    """On a ramp from left to right the crop's ends say what was cut out."""
    ramp = torch.linspace(0, 255, 64).byte().expand(1, 64, 64)[..., None].expand(500, -1, -1, 3)
    after = changed(ramp, crop_area_from=0.25)
    assert after.shape == (500, 32, 32, 3)
    left, right = after[:, 16, 0, 0], after[:, 16, -1, 0]
    width = (right - left) / 255
    assert float(width.min()) > 0.25 * 0.75
    assert float(width.max()) < 1.01
    assert float(left.max()) > 80
    assert float(width.std()) > 0.1


def test_a_crop_of_everything_changes_nothing() -> None:
    before = frames(4)
    after = changed(before, crop_area_from=1.0)
    middle = slice(8, 24)
    assert float((after - before)[:, middle, middle].abs().mean()) < 60
    whole = changed(torch.full((4, 32, 32, 3), 77, dtype=torch.uint8), crop_area_from=1.0)
    assert torch.allclose(whole, torch.tensor(77.0), atol=1e-3)


def test_saturation_and_hue_keep_brightness_and_grey() -> None:
    grey = torch.full((8, 4, 4, 3), 120, dtype=torch.uint8)
    assert torch.allclose(changed(grey, 4, saturation=0.5, hue=0.2), grey.float(), atol=0.5)
    red = grey.clone()
    red[..., 0] = 160
    after = changed(red, 4, saturation=0.5, hue=0.2)
    luminance = torch.tensor((0.299, 0.587, 0.114))
    assert torch.allclose(after @ luminance, red.float() @ luminance, atol=0.5)
    assert len({round(float(value)) for value in after[:, 0, 0, 0]}) > 3


def test_colours_need_channels() -> None:
    with pytest.raises(ValueError, match="need three channels"):
        changed(frames(2, channels=1), hue=0.1)


def test_grey_pictures_are_augmented_too() -> None:
    after = changed(
        frames(4, channels=1), 28, rotation_degrees=10, brightness=0.2, tint=0.1, erasing=1.0
    )
    assert after.shape == (4, 28, 28, 1)


def test_a_share_of_the_pictures_is_blanked_in_one_rectangle() -> None:
    before = frames(400)
    after = changed(before, erasing=0.25)
    blanked = (after.round().byte() != before).any(dim=3)
    touched = blanked.flatten(1).any(dim=1)
    assert 60 < int(touched.sum()) < 140
    for picture in blanked[touched][:20]:
        rows, columns = picture.any(dim=1), picture.any(dim=0)
        area = int(rows.sum()) * int(columns.sum())
        assert int(picture.sum()) >= 0.9 * area  # a pixel may have had the mean colour
        assert 0.01 * 1024 < area < 0.4 * 1024


def test_randaugment_follows_its_seed_and_leaves_the_generator_of_others() -> None:
    before, state = frames(16), torch.random.get_rng_state()
    first, again, other = (
        changed(before, seed=seed, randaugment_magnitude=9) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 255
    assert torch.equal(torch.random.get_rng_state(), state)


def test_brightness_is_scaled_up_to_its_reach() -> None:
    before = torch.full((200, 2, 2, 3), 100, dtype=torch.uint8)
    after = brighten(before, 0.3, seeded())[:, 0, 0, 0]
    assert int(after.min()) >= 70
    assert int(after.max()) <= 130
    assert int(after.max()) - int(after.min()) > 45


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_mixing_gives_pixels_metadata_and_targets_alike(way: str) -> None:
    """Each picture is of one value, so the mean pixel tells how much of whom it holds."""
    count, size = 8, 16
    values = torch.arange(count).float()
    pixels = values[:, None, None, None].expand(-1, 3, size, size)
    recipe = AugmentationRecipe(**{way: 10.0})
    mixed, metadata, targets = mix(pixels, values[:, None], torch.eye(count), recipe, seeded(3))
    found = targets @ values
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), found, atol=1e-4)
    assert torch.allclose(metadata[:, 0], found, atol=1e-5)
    assert torch.allclose(targets.sum(dim=1), torch.ones(count))
    assert int((targets > 0).sum(dim=1).max()) == 2
    patched = any(len(picture.unique()) > 1 for picture in mixed)
    assert patched == (way == "cutmix")


def test_both_ways_of_mixing_take_turns() -> None:
    pixels = torch.arange(4.0)[:, None, None, None].expand(-1, 1, 16, 16)
    recipe = AugmentationRecipe(mixup=10.0, cutmix=10.0)
    batches = [mix(pixels, torch.empty(4, 0), torch.eye(4), recipe, seeded(n)) for n in range(20)]
    patched = [any(len(np.unique(picture)) > 1 for picture in mixed) for mixed, _, _ in batches]
    assert 2 < sum(patched) < 18
