"""Random changes to training pictures, a whole batch at a time, so that cores train, not decode."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ml.recipe import AugmentationRecipe


def augment(
    frames: Tensor, size_px: int, recipe: AugmentationRecipe, generator: torch.Generator
) -> Tensor:
    """Move, turn and tint a batch: (n, side, side, c) uint8 to (n, size, size, c) float32.

    Pixels keep their range of 0 to 255. The side of ``frames`` may exceed ``size_px``; what lies
    beyond the cut is what moved pictures show at their edges.
    """
    pixels = frames.permute(0, 3, 1, 2).float()
    if recipe.any_orientation:
        pixels = _orient(pixels, generator)
    pixels = _move(pixels, size_px, recipe, generator)
    pixels = _tint(pixels, recipe, generator)
    return pixels.permute(0, 2, 3, 1)


def _orient(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """One of the square's eight symmetries for each picture, without touching a pixel value."""
    turned = torch.empty_like(pixels)
    choice = torch.randint(8, (len(pixels),), generator=generator)
    for index in range(8):
        chosen = choice == index
        part = torch.rot90(pixels[chosen], index % 4, dims=(2, 3))
        turned[chosen] = part.flip(3) if index >= 4 else part
    return turned


def _move(
    pixels: Tensor, size_px: int, recipe: AugmentationRecipe, generator: torch.Generator
) -> Tensor:
    """Shift, rotate and zoom by one bilinear sampling; cut the centre square of ``size_px``."""
    count, side = len(pixels), pixels.shape[-1]
    angle = math.radians(recipe.rotation_degrees) * _between(-1, 1, count, generator)
    scale = size_px / side / (1 + recipe.zoom * _between(-1, 1, count, generator))
    shift = (
        2
        * recipe.shift_px
        / side
        * torch.stack((_between(-1, 1, count, generator), _between(-1, 1, count, generator)), dim=1)
    )
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = (torch.stack((cosine, -sine), dim=1), torch.stack((sine, cosine), dim=1))
    matrix = torch.cat((torch.stack(rows, dim=1), shift[:, :, None]), dim=2)
    grid = F.affine_grid(matrix, [count, pixels.shape[1], size_px, size_px], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _tint(pixels: Tensor, recipe: AugmentationRecipe, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and one gain a colour channel, drawn for each picture."""
    count = len(pixels)
    gain = 1 + recipe.brightness * _between(-1, 1, count, generator)[:, None, None, None]
    channels = pixels.shape[1]
    gains = _between(-1, 1, channels * count, generator).view(count, channels, 1, 1)
    tint = 1 + recipe.tint * gains
    contrast = 1 + recipe.contrast * _between(-1, 1, count, generator)[:, None, None, None]
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return (((pixels - middle) * contrast + middle) * gain * tint).clamp(0, 255)


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
