"""Finding the lungs in an axial slice of a chest CT by thresholds and shapes, without a network.

The steps are those of a student system (local threshold, labels, erosion, closing, Roberts edges,
holes filled); sizes are fractions of the side, so that they hold at every resolution.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.filters import roberts, threshold_local
from skimage.morphology import disk
from skimage.segmentation import clear_border

REFERENCE_PX = 512
"""The side that the sizes below are meant for."""
BLOCK, EROSION, CLOSING = 401, 4, 6
LEAST_AREA = 0.02
"""Share of the picture under which what was found is not taken for lungs."""


def only_lungs(picture: Image.Image) -> Image.Image:
    """A square RGB slice with all but its lungs blackened; unchanged where none are found."""
    pixels = np.asarray(picture)
    mask = lung_mask(pixels.mean(axis=2))
    if mask.mean() < LEAST_AREA:
        return picture
    return Image.fromarray(pixels * mask[..., None])


def lung_mask(grey: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Where the lungs lie in a square slice of grey values (side, side): the two largest dark
    regions that do not touch the border, that is, neither the air around nor the table."""
    scale = len(grey) / REFERENCE_PX
    block = max(3, 2 * round(BLOCK * scale / 2) + 1)
    dark = clear_border(grey < threshold_local(grey, block))
    regions, _ = ndimage.label(dark)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    largest = np.isin(regions, np.argsort(sizes)[-2:]) & dark
    eroded = ndimage.binary_erosion(largest, disk(max(1, round(EROSION * scale))))
    closed = ndimage.binary_closing(eroded, disk(max(1, round(CLOSING * scale))))
    mask: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(roberts(closed) > 0) | closed
    return mask
