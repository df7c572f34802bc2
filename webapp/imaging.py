"""Uploads, made safe: sniffed, limited, decoded, turned upright, stripped and encoded anew.

Every byte of an upload is hostile until proven otherwise. What is kept is never a byte of it, only
the pixels: JPEG for what came from a lossy format, PNG for the rest. Whatever is wrong with an
upload, `clean` says so with `ImageRejected`, and with no other exception.
"""

import enum
import hashlib
import io
import logging
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pillow_heif
from flask_babel import lazy_gettext as _l
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.ExifTags import Base as ExifTag

from webapp import dicom
from webapp.dicom import DicomFacts
from webapp.errors import ImageRejected

log = logging.getLogger(__name__)

MAX_BYTES = 25_000_000
MAX_IMAGES = 20  # of a case
MAX_ARCHIVE_BYTES = 100_000_000  # of many of them in a ZIP, which is looked at in memory
MAX_PIXELS = 50_000_000
MIN_SIDE_PX = 16
MAX_SIDE_PX = 30_000
THUMBNAIL_SIDE_PX = 320

_MAX_SCANS = 50
"""Of a progressive JPEG. Encoders make about ten; thousands keep a decoder busy for hours."""
_MAX_PARTS = 20_000
"""Segments or chunks of a file. Millions of empty ones would keep a decoder busy for long."""
_MAX_PROFILE_BYTES = 4_000_000

pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)

# A picture at the limit needs more than half a gigabyte meanwhile, so few are decoded at once.
_decoders = threading.BoundedSemaphore(2)


class Reason(enum.StrEnum):
    """Why an upload is not kept."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_ACCEPTED = "not_accepted"
    UNREADABLE = "unreadable"
    ANIMATION = "animation"
    MULTI_PAGE = "multi_page"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    TOO_LONG = "too_long"
    MULTI_FRAME = "multi_frame"
    NO_PICTURE = "no_picture"


class Notice(enum.StrEnum):
    """What was changed on the way in, and whoever sent the picture should know."""

    FIRST_PICTURE_KEPT = "first_picture_kept"
    VIDEO_REMOVED = "video_removed"
    APPENDED_DATA_REMOVED = "appended_data_removed"
    TRANSPARENCY_ON_WHITE = "transparency_on_white"
    DEPTH_REDUCED = "depth_reduced"
    CONTRAST_STRETCHED = "contrast_stretched"
    COLOURS_CONVERTED = "colours_converted"
    WINDOW_APPLIED = "window_applied"
    TEXT_IN_PICTURE = "text_in_picture"

    @property
    def label(self) -> str:
        return _NOTICE_LABELS[self]


_SENTENCES = {
    Reason.EMPTY: _l("The file is empty."),
    Reason.TOO_LARGE: _l("The file is larger than %(limit_mb)d MB."),
    Reason.NOT_ACCEPTED: _l("This is not a JPEG, PNG, WebP, TIFF, BMP, HEIC or DICOM picture."),
    Reason.UNREADABLE: _l(
        "The file is damaged or incomplete, or holds its picture in an unusual way. Send the"
        " original again, or save it as PNG first."
    ),
    Reason.ANIMATION: _l("The file is an animation. Send a single picture."),
    Reason.MULTI_PAGE: _l("The file has several pages. Send each as a picture of its own."),
    Reason.TOO_MANY_PIXELS: _l("The picture has more than %(limit_megapixels)d megapixels."),
    Reason.TOO_SMALL: _l("The picture is narrower than %(limit_px)d pixels."),
    Reason.TOO_LONG: _l("The picture is longer than %(limit_px)d pixels."),
    Reason.MULTI_FRAME: _l("The DICOM file holds several frames. Send one as a file of its own."),
    Reason.NO_PICTURE: _l("The DICOM file holds no picture."),
}
_FOUND_SENTENCE = _l(
    "This file is of the kind %(found)s. Send a JPEG, PNG, WebP, TIFF, BMP, HEIC or DICOM picture."
)
_NOTICE_LABELS = {
    Notice.FIRST_PICTURE_KEPT: _l("The file held several pictures; the main one was kept."),
    Notice.VIDEO_REMOVED: _l("The file held a short video beside the picture; it was removed."),
    Notice.APPENDED_DATA_REMOVED: _l("The file held other data after the picture; removed."),
    Notice.TRANSPARENCY_ON_WHITE: _l("Transparent parts were laid onto white."),
    Notice.DEPTH_REDUCED: _l("Brightness was reduced to 256 steps."),
    Notice.CONTRAST_STRETCHED: _l(
        "Contrast was stretched from the darkest to the brightest value."
    ),
    Notice.COLOURS_CONVERTED: _l("Colours were converted to sRGB."),
    Notice.WINDOW_APPLIED: _l("Shown through the window that the DICOM file asks for."),
    Notice.TEXT_IN_PICTURE: _l(
        "The DICOM file says that text is part of the picture: make sure that it names nobody."
    ),
}


def explain(reason: str, facts: Mapping[str, Any]) -> str:
    """The sentence that tells a user why an upload was not kept."""
    if facts.get("found"):
        return str(_FOUND_SENTENCE % facts)
    return str(_SENTENCES[Reason(reason)] % facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanImage:
    """A picture that can be kept: 8-bit grey or sRGB, upright, and nothing but pixels."""

    data: bytes
    media_type: str
    width_px: int
    height_px: int
    sha256: str
    thumbnail: bytes
    """JPEG; its long side has at most `THUMBNAIL_SIDE_PX`."""
    original_sha256: str
    notices: tuple[Notice, ...]
    dicom: DicomFacts | None = None
    """What the file told, if it was of this kind."""

    @property
    def sop_instance_uid(self) -> str | None:
        """What DICOM names the picture by."""
        return self.dicom.sop_instance_uid if self.dicom else None


def clean(data: bytes) -> CleanImage:
    """Make an upload safe to keep. The same bytes give the same result.

    Raises:
        ImageRejected: it cannot be kept; `reason` is a `Reason`.
    """
    if not data:
        raise ImageRejected(Reason.EMPTY)
    if len(data) > MAX_BYTES:
        raise ImageRejected(Reason.TOO_LARGE, limit_mb=MAX_BYTES // 1_000_000)
    upload = _examine(data)
    with _decoders, _refusals(upload.format):
        image = _decode(upload)
        stored = _encode(image, lossy=upload.lossy)
        thumbnail = _encode(_reduced(image), lossy=True, quality=85)
    return CleanImage(
        data=stored,
        media_type="image/jpeg" if upload.lossy else "image/png",
        width_px=image.width,
        height_px=image.height,
        sha256=hashlib.sha256(stored).hexdigest(),
        thumbnail=thumbnail,
        original_sha256=hashlib.sha256(data).hexdigest(),
        notices=tuple(notice for notice in Notice if notice in upload.notices),
        dicom=upload.dicom,
    )


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a refusal.

    Decoders of hostile bytes raise nearly anything: OSError, SyntaxError, ValueError, struct.error,
    KeyError, OverflowError, MemoryError and more, so nothing less than Exception will do.
    """
    try:
        yield
    except ImageRejected:
        raise
    except dicom.Unreadable as error:
        if error.reason == Reason.TOO_MANY_PIXELS:
            raise _too_many_pixels() from error
        raise ImageRejected(Reason(error.reason)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:
        log.info("an upload (%s) cannot be decoded: %r", what, error)
        raise ImageRejected(Reason.UNREADABLE) from error


def _too_many_pixels() -> ImageRejected:
    return ImageRejected(Reason.TOO_MANY_PIXELS, limit_megapixels=MAX_PIXELS // 1_000_000)


# What a file says of itself, before any decoder sees it.


@dataclass(slots=True)
class _Upload:
    format: str
    """Pillow's name of the format, or DICOM."""
    data: bytes
    """The file up to the end of its first picture, where the format has such an end."""
    lossy: bool
    notices: set[Notice] = field(default_factory=set)
    dicom: DicomFacts | None = None


_SIGNATURES = {
    "DICOM": rb".{128}DICM",  # first: the bytes before it may begin like any other kind
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF.{4}WEBP",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM",
    "HEIF": rb".{4}ftyp",
}
_OTHER_SIGNATURES = {
    "GIF": rb"GIF8",
    "PDF": rb"%PDF-",
    "ZIP": rb"PK\x03\x04",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "SVG": rb"\s*(<\?xml[^>]*>\s*)?<svg",
}


def _examine(data: bytes) -> _Upload:
    """Tell the format by content, and where the first picture ends."""
    for name, pattern in _SIGNATURES.items():
        if re.match(pattern, data, re.DOTALL):
            return _EXAMINERS[name](data)
    for name, pattern in _OTHER_SIGNATURES.items():
        if re.match(pattern, data, re.DOTALL):
            raise ImageRejected(Reason.NOT_ACCEPTED, found=name)
    raise ImageRejected(Reason.NOT_ACCEPTED)


_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_START, _END, _SCAN, _APP2 = 0xD8, 0xD9, 0xDA, 0xE2


def _examine_jpeg(data: bytes) -> _Upload:
    """Walk the segments; inside a scan the pattern passes over stuffed and restart bytes."""
    notices = set()
    scan_count = 0
    position = 2
    for _ in range(_MAX_PARTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            break
        position = marker.end()
        kind = marker[1][0]
        if kind == _END:
            notices |= _notices_of_appended(data[position:])
            return _Upload("JPEG", data[:position], lossy=True, notices=notices)
        scan_count += kind == _SCAN
        if kind == _START or scan_count > _MAX_SCANS:
            break
        if kind == _APP2 and data.startswith(b"MPF\0", position + 2):
            notices.add(Notice.FIRST_PICTURE_KEPT)
        position += int.from_bytes(data[position : position + 2], "big")
    raise ImageRejected(Reason.UNREADABLE)


def _notices_of_appended(appended: bytes) -> set[Notice]:
    appended = appended.strip(b"\0\r\n ")
    if not appended:
        return set()
    notices = set()
    if appended.startswith(b"\xff\xd8\xff"):
        notices.add(Notice.FIRST_PICTURE_KEPT)
    if re.search(rb"ftyp(mp4|isom|qt  |MSNV|3gp|avc1|hvc1)", appended):
        notices.add(Notice.VIDEO_REMOVED)
    return notices or {Notice.APPENDED_DATA_REMOVED}


def _examine_png(data: bytes) -> _Upload:
    """Walk the chunks, holding those that matter to their checksums: decoders do not hold all."""
    notices = set()
    view = memoryview(data)
    position = 8
    for _ in range(_MAX_PARTS):
        length = int.from_bytes(view[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if not kind or end > len(data):
            break
        is_critical = not kind[0] & 0x20
        if is_critical and zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end], "big"
        ):
            break
        if kind == b"IHDR" and data[position + 16 : position + 17] == b"\x10":
            notices.add(Notice.DEPTH_REDUCED)
        if kind == b"acTL" and int.from_bytes(view[position + 8 : position + 12], "big") > 1:
            raise ImageRejected(Reason.ANIMATION)
        if kind == b"IEND":
            notices |= _notices_of_appended(data[end:])
            return _Upload("PNG", data[:end], lossy=False, notices=notices)
        position = end
    raise ImageRejected(Reason.UNREADABLE)


def _examine_webp(data: bytes) -> _Upload:
    end = int.from_bytes(data[4:8], "little") + 8
    if end > len(data):
        raise ImageRejected(Reason.UNREADABLE)
    lossy = True
    position = 12
    while position < end:
        kind = data[position : position + 4]
        if kind in (b"ANIM", b"ANMF"):
            raise ImageRejected(Reason.ANIMATION)
        if kind == b"VP8L":
            lossy = False
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return _Upload("WEBP", data[:end], lossy=lossy, notices=_notices_of_appended(data[end:]))


def _examine_heif(data: bytes) -> _Upload:
    """Tell HEIC from its many relatives by its brands, and walk its boxes."""
    major = data[8:12]
    brands_end = min(int.from_bytes(data[:4], "big"), 200)
    brands = {major} | {data[i : i + 4] for i in range(16, brands_end, 4)}
    if major in (b"hevc", b"hevx", b"msf1", b"avis"):
        raise ImageRejected(Reason.ANIMATION)
    if brands & {b"avif"}:
        raise ImageRejected(Reason.NOT_ACCEPTED, found="AVIF")
    if not brands & {b"heic", b"heix", b"heim", b"heis"}:
        raise ImageRejected(Reason.NOT_ACCEPTED, found="video")
    notices = set()
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        elif length == 0:
            length = len(data) - position
        is_known = kind in (b"ftyp", b"meta", b"mdat", b"mpvd", b"free", b"skip", b"uuid", b"moov")
        if length < 8 or not is_known:
            break
        if kind == b"mpvd":
            notices.add(Notice.VIDEO_REMOVED)
        position += length
    if position > len(data):
        raise ImageRejected(Reason.UNREADABLE)
    notices |= _notices_of_appended(data[position:])
    return _Upload("HEIF", data[:position], lossy=True, notices=notices)


_EXAMINERS: dict[str, Callable[[bytes], _Upload]] = {
    "JPEG": _examine_jpeg,
    "PNG": _examine_png,
    "WEBP": _examine_webp,
    "TIFF": lambda data: _Upload("TIFF", data, lossy=False),
    "BMP": lambda data: _Upload("BMP", data, lossy=False),
    "HEIF": _examine_heif,
    "DICOM": lambda data: _Upload("DICOM", data, lossy=False),
}


# From the file to upright 8-bit pixels.


def _decode(upload: _Upload) -> Image.Image:
    """Decode to grey or sRGB, upright, adding to the upload's notices."""
    if upload.format == "DICOM":
        return _decode_dicom(upload)
    image: Image.Image = Image.open(io.BytesIO(upload.data), formats=(upload.format,))
    _check_size(image.size)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _examine_tiff(image, upload)
    elif upload.format == "HEIF" and getattr(image, "n_frames", 1) > 1:
        upload.notices.add(Notice.FIRST_PICTURE_KEPT)
    elif upload.format == "JPEG" and _is_cut_short(upload.data):
        raise ImageRejected(Reason.UNREADABLE)
    image.load()
    _check_size(image.size)  # some decoders know it only now
    profile = image.info.get("icc_profile")
    turn = _turn_of(image)
    image = _to_srgb(_to_8_bit(image, upload), profile, upload)
    return image.transpose(turn) if turn is not None else image


def _decode_dicom(upload: _Upload) -> Image.Image:
    picture = dicom.read(upload.data, max_pixels=MAX_PIXELS)
    _check_size(picture.size)
    upload.lossy, upload.dicom = picture.is_lossy, picture.facts
    upload.notices.update(Notice(notice) for notice in picture.notices)
    image = Image.frombytes(picture.mode, picture.size, picture.pixels)
    return image if picture.mode == "L" else image.convert("RGB")


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise _too_many_pixels()
    if min(size) < MIN_SIDE_PX:
        raise ImageRejected(Reason.TOO_SMALL, limit_px=MIN_SIDE_PX)
    if max(size) > MAX_SIDE_PX:
        raise ImageRejected(Reason.TOO_LONG, limit_px=MAX_SIDE_PX)


_FILLING = bytes(i * 73 % 255 for i in range(256))


def _is_cut_short(jpeg: bytes) -> bool:
    """Whether a JPEG ends, properly marked, before its last row.

    Decoders say nothing of it and paint the rest grey. But where rows are missing, bytes put
    before the end mark are taken for them, and where none are missing they are passed over.
    """
    return _glance(jpeg) != _glance(jpeg[:-2] + _FILLING + jpeg[-2:])


def _glance(jpeg: bytes) -> bytes:
    image: Image.Image = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    image.draft("L", (image.width // 8, image.height // 8))
    return image.tobytes()


_NEW_SUBFILE_TYPE = 254
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_DNG_VERSION = 50706
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")


def _examine_tiff(image: TiffImagePlugin.TiffImageFile, upload: _Upload) -> None:
    tags = image.tag_v2
    if _DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE, 0) & 1:
        # The first picture of a camera's raw file is a thumbnail: it must not pass for the whole.
        raise ImageRejected(Reason.NOT_ACCEPTED, found="camera raw")
    if image.is_animated:
        raise ImageRejected(Reason.MULTI_PAGE)
    if tags.get(_TILE_WIDTH, 1) * tags.get(_TILE_LENGTH, 1) > MAX_PIXELS:
        raise _too_many_pixels()
    if max(tags.get(ExifTag.BitsPerSample, (8,))) > 8:
        upload.notices.add(Notice.DEPTH_REDUCED)
    upload.lossy = image.info.get("compression") in _LOSSY_TIFF


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright. The decoders of TIFF and HEIC have already done it."""
    try:
        return _TURNS.get(image.getexif().get(ExifTag.Orientation, 1))
    except Exception as error:
        log.info("EXIF that cannot be read is taken for none: %r", error)
        return None


def _to_8_bit(image: Image.Image, upload: _Upload) -> Image.Image:
    """Grey, RGB or CMYK with 8 bits a channel, opaque."""
    if image.mode.startswith(("I", "F")):
        return _grey_to_8_bit(image, upload)
    is_grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        return _on_white(image, "L" if is_grey else "RGB", upload)
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if is_grey else "RGB")


def _on_white(image: Image.Image, mode: str, upload: _Upload) -> Image.Image:
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and Notice.DEPTH_REDUCED in upload.notices:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    layer = image.convert("LA" if mode == "L" else "RGBA")
    alpha = layer.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return layer.convert(mode)
    upload.notices.add(Notice.TRANSPARENCY_ON_WHITE)
    white = Image.new(mode, image.size, "white")
    white.paste(layer.convert(mode), mask=alpha)
    return white


def _grey_to_8_bit(image: Image.Image, upload: _Upload) -> Image.Image:
    """Scale 16-bit grey by its whole range; stretch 32-bit and float, which have none."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if values.dtype.kind == "u":
        bit_count = max(tags.get(ExifTag.BitsPerSample, (16,)))
        steps = np.arange(65536) * (255 / (2**bit_count - 1))
        grey = np.clip(np.rint(steps), 0, 255).astype(np.uint8)[values]
        upload.notices.add(Notice.DEPTH_REDUCED)
    else:
        grey = _stretched(values)
        upload.notices.add(Notice.CONTRAST_STRETCHED)
    if tags.get(ExifTag.PhotometricInterpretation) == 0:  # white is zero; Pillow leaves it so
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and (values == transparent).any():
        grey[values == transparent] = 255
        upload.notices.add(Notice.TRANSPARENCY_ON_WHITE)
    return Image.fromarray(grey)


def _stretched(values: np.ndarray) -> np.ndarray:
    bands = [values[row : row + 256] for row in range(0, len(values), 256)]  # to spare memory
    ends = [
        (float(finite.min()), float(finite.max()))
        for band in bands
        if (finite := band[np.isfinite(band)]).size
    ]
    if not ends:
        raise ImageRejected(Reason.UNREADABLE)
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    scale = 255 / (high - low) if high > low else 0
    return np.vstack([_scaled(band, low, scale) for band in bands])


def _scaled(values: np.ndarray, low: float, scale: float) -> np.ndarray:
    scaled = (values.astype(np.float64) - low) * scale
    np.nan_to_num(scaled, copy=False, nan=0, posinf=255, neginf=0)
    return np.rint(scaled).astype(np.uint8)


_PROBES = {
    "L": Image.frombytes("L", (256, 1), bytes(range(256))),
    "RGB": Image.frombytes(
        "RGB",
        (4096, 1),
        bytes(17 * c for i in range(4096) for c in (i >> 8, i >> 4 & 15, i & 15)),
    ),
}
_INDISTINCT = 2


def _to_srgb(image: Image.Image, profile: bytes | None, upload: _Upload) -> Image.Image:
    """Convert by the colour profile where there is one that can be used; grey stays grey."""
    mode = "L" if image.mode == "L" else "RGB"
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        try:
            transform = ImageCms.buildTransform(
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                image.mode,
                "RGB",
            )
            if _changes_colours(transform, image.mode):
                converted = ImageCms.applyTransform(image, transform)
                if converted is not None:
                    upload.notices.add(Notice.COLOURS_CONVERTED)
                    return converted.convert(mode)
        except Exception as error:
            log.info("a colour profile that cannot be used is taken for none: %r", error)
    if image.mode == "CMYK":
        upload.notices.add(Notice.COLOURS_CONVERTED)
    return image if image.mode == mode else image.convert(mode)


def _changes_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """False for sRGB under any name: rounding there and back would only add noise."""
    if mode not in _PROBES:
        return True
    probe = _PROBES[mode]
    after = np.asarray(ImageCms.applyTransform(probe, transform), dtype=np.int16)
    before = np.asarray(probe.convert("RGB"), dtype=np.int16)
    return bool(np.abs(after - before).max() > _INDISTINCT)


# From pixels to the bytes that are kept.


def _reduced(image: Image.Image) -> Image.Image:
    scale = min(1, THUMBNAIL_SIDE_PX / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _encode(image: Image.Image, *, lossy: bool, quality: int = 95) -> bytes:
    image.info = {}  # encoders take comments, profiles and transparency from here
    file = io.BytesIO()
    if lossy:
        image.save(file, "JPEG", quality=quality, subsampling=0)
    else:
        image.save(file, "PNG", compress_level=4)
    return file.getvalue()
