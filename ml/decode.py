"""From a file's bytes to an upright RGB picture."""

import io

import numpy as np
from PIL import Image, ImageOps
from pillow_heif import register_heif_opener

register_heif_opener()

UNDECODABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    RuntimeError,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on bytes that are no picture; AVIF's raises RuntimeError."""


class Unreadable(Exception):
    """The bytes are not a picture that can be decoded in full."""


def decode(data: bytes, short_side_px: int | None = None) -> Image.Image:
    """The first picture of a file, orientation applied, alpha on white, 16 bits scaled to 8.

    With ``short_side_px``, a JPEG may be decoded at a fraction of its size, at least twice as
    large as asked for. Raises Unreadable.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if short_side_px:
                image.draft(None, (2 * short_side_px, 2 * short_side_px))
            return _to_rgb(ImageOps.exif_transpose(image))
    except UNDECODABLE as error:
        raise Unreadable(str(error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        highest = 65535 if image.mode != "F" and values.max(initial=0) > 255 else 255
        image = Image.fromarray((values / highest * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")
