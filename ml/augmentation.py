"""Random changes to training pictures, a whole batch at a time, so that cores train, not decode."""

import math

import ml.torchvision_shim  # noqa: F401  # isort: skip  (mends torchvision)
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from ml.recipe import AugmentationRecipe

ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT = 3.3
CROP_ASPECT = 4 / 3
"""Ranges as in torchvision's RandomErasing and RandomResizedCrop."""
RANDAUGMENT_BINS = 31
TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
"""To brightness and two axes of colour, about which hue turns."""


def augment(
    frames: Tensor, size_px: int, recipe: AugmentationRecipe, generator: torch.Generator
) -> Tensor:
    """Move, turn, tint and blank: (n, side, side, c) uint8 to (n, size, size, c) float32.

    Pixels keep their range of 0 to 255. The side of ``frames`` may exceed ``size_px``; what lies
    beyond the cut is what moved pictures show at their edges. Raises ValueError when colours are
    to be changed that the frames do not have.
    """
    pixels = frames.permute(0, 3, 1, 2).float()
    if (recipe.saturation or recipe.hue) and pixels.shape[1] != 3:
        raise ValueError("saturation and hue need three channels")
    if recipe.any_orientation:
        pixels = _orient(pixels, generator)
    pixels = _flip(pixels, recipe, generator)
    pixels = _move(pixels, size_px, recipe, generator)
    if recipe.randaugment_magnitude:
        pixels = _randaugment(pixels, recipe.randaugment_magnitude, generator)
    pixels = _tint(pixels, recipe, generator)
    if recipe.saturation or recipe.hue:
        pixels = _colour(pixels, recipe, generator)
    if recipe.erasing:
        pixels = _erase(pixels, recipe.erasing, generator)
    return pixels.permute(0, 2, 3, 1)


def brighten(frames: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Frames (n, side, side, c) uint8, each made up to that share brighter or darker."""
    gain = 1 + reach * _between(-1, 1, len(frames), generator)[:, None, None, None]
    return (frames * gain).clamp(0, 255).to(torch.uint8)


def mix(
    pixels: Tensor,
    metadata: Tensor,
    targets: Tensor,
    recipe: AugmentationRecipe,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend (mixup) or patch (cutmix) each picture with another; targets and metadata alike.

    Takes pixels (n, c, size, size), metadata (n, m) and targets (n, c). Where the recipe has both,
    either is drawn for the whole batch. The targets become soft by the share of each picture.
    """
    drawn = bool(torch.rand(1, generator=generator) < 0.5)
    patched = bool(recipe.cutmix) and (drawn or not recipe.mixup)
    alpha = recipe.cutmix if patched else recipe.mixup
    share = _beta(alpha, generator)
    other = torch.randperm(len(pixels), generator=generator)
    if patched:
        top, bottom, left, right = _box(1 - share, 1.0, pixels.shape[-1], generator)
        pixels = pixels.clone()
        pixels[:, :, top:bottom, left:right] = pixels[other, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / pixels.shape[-1] ** 2
    else:
        pixels = share * pixels + (1 - share) * pixels[other]
    return (
        pixels,
        share * metadata + (1 - share) * metadata[other],
        share * targets + (1 - share) * targets[other],
    )


def _orient(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """One of the square's eight symmetries for each picture, without touching a pixel value."""
    turned = torch.empty_like(pixels)
    choice = torch.randint(8, (len(pixels),), generator=generator)
    for index in range(8):
        chosen = choice == index
        part = torch.rot90(pixels[chosen], index % 4, dims=(2, 3))
        turned[chosen] = part.flip(3) if index >= 4 else part
    return turned


def _flip(pixels: Tensor, recipe: AugmentationRecipe, generator: torch.Generator) -> Tensor:
    """Half of the pictures mirrored, by each axis that may be."""
    for wanted, axis in ((recipe.horizontal_flip, 3), (recipe.vertical_flip, 2)):
        if wanted:
            chosen = torch.rand(len(pixels), generator=generator) < 0.5
            pixels = torch.where(chosen[:, None, None, None], pixels.flip(axis), pixels)
    return pixels


def _move(
    pixels: Tensor, size_px: int, recipe: AugmentationRecipe, generator: torch.Generator
) -> Tensor:
    """Rotate, and shift and zoom or crop, by one bilinear sampling to ``size_px``."""
    count, side = len(pixels), pixels.shape[-1]
    angle = math.radians(recipe.rotation_degrees) * _between(-1, 1, count, generator)
    if recipe.crop_area_from:
        scale, shift = _crop(recipe.crop_area_from, count, generator)
    else:
        zoom = size_px / side / (1 + recipe.zoom * _between(-1, 1, count, generator))
        scale = torch.stack((zoom, zoom), dim=1)
        shift = 2 * recipe.shift_px / side * _pairs(count, generator)
    cosine, sine = angle.cos()[:, None] * scale, angle.sin()[:, None] * scale
    across = torch.stack((cosine[:, 0], -sine[:, 1], shift[:, 0]), dim=1)
    down = torch.stack((sine[:, 0], cosine[:, 1], shift[:, 1]), dim=1)
    matrix = torch.stack((across, down), dim=1)
    shape = [count, pixels.shape[1], size_px, size_px]
    grid = F.affine_grid(matrix, shape, align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _crop(area_from: float, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Width and height (n, 2) of a part of the frame, as shares of it, and its place (n, 2)."""
    area = _between(area_from, 1, count, generator)
    reach = math.log(CROP_ASPECT)
    aspect = _between(-reach, reach, count, generator).exp()
    scale = torch.stack(((area * aspect).sqrt(), (area / aspect).sqrt()), dim=1).clamp(max=1)
    return scale, (1 - scale) * _pairs(count, generator)


def _randaugment(pixels: Tensor, magnitude: int, generator: torch.Generator) -> Tensor:
    """Two random operations on each picture (Cubuk et al. 2020)."""
    change = v2.RandAugment(2, magnitude, RANDAUGMENT_BINS)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # it takes no generator
        changed = [change(picture) for picture in pixels.round().clamp(0, 255).to(torch.uint8)]
    return torch.stack(changed).float()


def _tint(pixels: Tensor, recipe: AugmentationRecipe, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and one gain a colour channel, drawn for each picture."""
    count, channels = pixels.shape[:2]
    gain = 1 + recipe.brightness * _between(-1, 1, count, generator)[:, None, None, None]
    gains = _between(-1, 1, channels * count, generator).view(count, channels, 1, 1)
    tint = 1 + recipe.tint * gains
    contrast = 1 + recipe.contrast * _between(-1, 1, count, generator)[:, None, None, None]
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return (((pixels - middle) * contrast + middle) * gain * tint).clamp(0, 255)


def _colour(pixels: Tensor, recipe: AugmentationRecipe, generator: torch.Generator) -> Tensor:
    """Saturation, and hue turned by a share of the circle, drawn for each picture."""
    count = len(pixels)
    strength = 1 + recipe.saturation * _between(-1, 1, count, generator)
    angle = 2 * math.pi * recipe.hue * _between(-1, 1, count, generator)
    forth = torch.tensor(TO_YIQ)
    turn = torch.zeros(count, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = strength * angle.cos()
    turn[:, 2, 1] = strength * angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    matrix = torch.linalg.inv(forth) @ turn @ forth
    return torch.einsum("nij,njhw->nihw", matrix, pixels).clamp(0, 255)


def _erase(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A rectangle filled with the picture's mean colour (Zhong et al. 2020)."""
    pixels = pixels.clone()
    chosen = torch.nonzero(torch.rand(len(pixels), generator=generator) < share)[:, 0]
    for index in chosen.tolist():
        area = float(_between(*ERASED_AREA, 1, generator))
        aspect = math.exp(math.log(ERASED_ASPECT) * float(_between(-1, 1, 1, generator)))
        top, bottom, left, right = _box(area, aspect, pixels.shape[-1], generator)
        colour = pixels[index].mean(dim=(1, 2), keepdim=True)
        pixels[index, :, top:bottom, left:right] = colour
    return pixels


def _box(
    area: float, aspect: float, side: int, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a rectangle of that share of the picture, inside it."""
    width = min(side, round(side * math.sqrt(area * aspect)))
    height = min(side, round(side * math.sqrt(area / aspect)))
    left = int(torch.randint(side - width + 1, (1,), generator=generator))
    top = int(torch.randint(side - height + 1, (1,), generator=generator))
    return top, top + height, left, left + width


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw from the symmetric beta distribution."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _pairs(count: int, generator: torch.Generator) -> Tensor:
    """(n, 2) from -1 to 1."""
    across, down = _between(-1, 1, count, generator), _between(-1, 1, count, generator)
    return torch.stack((across, down), dim=1)


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
