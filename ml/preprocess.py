"""From a picture to the numbers a network reads: one specification for training and serving.

``PreprocessSpec`` travels inside the bundle. Training fills its cache through ``frame`` and turns
batches into floats through ``to_input``; the predictor calls the very same two functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
"""Pixels as stored: rows, columns, 3 channels or 1, 0 to 255."""

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


FRAMINGS = ("centre", "squash")
EXTRACTIONS = ("none", "lung")

LONGEST = 16
"""Times its short side that a picture may be long before its far ends, which no centre square
reaches, are cut off; scaling up a strip of one pixel's width would take gigabytes."""


@dataclass(frozen=True)
class PreprocessSpec:
    """How a picture is framed, scaled and normalised."""

    native_short_side_px: int = 224
    """Native scale: the picture is first resized, aspect kept, until its short side is this long,
    so that an object keeps its size in pixels whatever resolution the picture came in."""
    size_px: int = 224
    """Framing: the centre square of this side is then cut out of it."""
    framing: str = "centre"
    """``centre`` keeps the aspect and loses the ends of a long picture; ``squash`` makes it square
    first, for pictures whose edges matter or that were published so."""
    extraction: str = "none"
    """``lung`` blackens all but the lungs of a chest CT slice, as ``ml.lungs`` finds them."""
    interpolation: str = "bicubic"
    channels: int = 3
    """3, or 1 for grey values, which use the first ``mean`` and ``std``."""
    mean: tuple[float, ...] = (127.0, 127.0, 127.0)
    std: tuple[float, ...] = (128.0, 128.0, 128.0)
    """The input is ``(pixel - mean) / std`` on pixels of 0 to 255."""

    def __post_init__(self) -> None:
        if self.interpolation not in RESAMPLING:
            raise ValueError(
                f"unknown interpolation {self.interpolation}; known are {', '.join(RESAMPLING)}"
            )
        if self.framing not in FRAMINGS:
            raise ValueError(f"unknown framing {self.framing}; known are {', '.join(FRAMINGS)}")
        if not 0 < self.size_px <= self.native_short_side_px:
            raise ValueError("size_px must lie between 1 and native_short_side_px")
        if self.extraction not in EXTRACTIONS:
            raise ValueError(
                f"unknown extraction {self.extraction}; known are {', '.join(EXTRACTIONS)}"
            )
        if self.channels not in (1, 3) or not len(self.mean) == len(self.std) >= self.channels:
            raise ValueError("mean and std need one value for each of 3 channels, or of 1")

    def frame(self, image: Image.Image, size_px: int | None = None) -> Pixels:
        """The centre square of ``image`` at native scale: (size, size, channels) uint8.

        ``size_px`` overrides the recipe's, for the margins that augmentation moves about in.
        """
        rgb = _without_far_ends(image)
        rgb = rgb if rgb.mode == "RGB" else rgb.convert("RGB")
        scaled = self._scaled(rgb.size)
        if scaled != rgb.size:
            rgb = rgb.resize(scaled, RESAMPLING[self.interpolation])
        side = size_px or self.size_px
        left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
        square = rgb.crop((left, top, left + side, top + side))
        if self.extraction == "lung":
            from ml.lungs import only_lungs  # most bundles do without what it needs

            square = only_lungs(square)
        return np.asarray(square if self.channels == 3 else square.convert("L")).reshape(
            side, side, self.channels
        )

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height at native scale."""
        short = self.native_short_side_px
        if self.framing == "squash":
            return short, short
        factor = short / min(size)
        return max(short, round(size[0] * factor)), max(short, round(size[1] * factor))

    def shown(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Where the frame of a picture of this ``size`` lies over it.

        Left, top, right and bottom edge, as parts of the picture's width and height.
        """
        left, top, right, bottom = _near_middle(size)
        scaled = self._scaled((right - left, bottom - top))
        edges = []
        for start, length, whole, side in (
            (left, right - left, size[0], scaled[0]),
            (top, bottom - top, size[1], scaled[1]),
        ):
            first = (side - self.size_px) // 2
            edges.append(
                [(start + length * at / side) / whole for at in (first, first + self.size_px)]
            )
        return edges[0][0], edges[1][0], edges[0][1], edges[1][1]

    def to_input(self, frames: Sequence[Pixels] | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Network input of frames: (n, size, size, channels) to (n, channels, size, size)."""
        pixels = np.asarray(frames, dtype=np.float32)
        mean = np.array(self.mean[: self.channels], np.float32)
        std = np.array(self.std[: self.channels], np.float32)
        normalised = (pixels - mean) / std
        return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _without_far_ends(image: Image.Image) -> Image.Image:
    near = _near_middle(image.size)
    return image if near == (0, 0, *image.size) else image.crop(near)


def _near_middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of what is left of a picture of this size without its far ends."""
    longest = LONGEST * min(size)
    width, height = min(size[0], longest), min(size[1], longest)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height
