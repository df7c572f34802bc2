"""Reads one DICOM file: `python -I dicom_reader.py MAX_PIXELS < FILE`.

A program of its own, with little memory and little time: whatever a hostile file does to a decoder,
it does to this process and not to the web's. It imports nothing of ours, so that it starts soon.

Its answer is a line of JSON and then the pixels. Only the elements named here are looked at:
whoever else a file names, in private elements or in others, is passed over unread.
"""

import io
import json
import re
import resource
import sys
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.tag import Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    RLELossless,
)

MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 20
MAX_ELEMENTS = 20_000
"""Of a file. Scanners write some hundreds; millions of empty ones would keep a reader busy."""

MAX_BYTES_A_PIXEL = 6
"""Three colours of 16 bits."""

PATIENT = (
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyDate",
    "AcquisitionDate",
    "Modality",
    "ImageLaterality",
    "Laterality",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "BurnedInAnnotation",
    "SOPInstanceUID",
    "StudyInstanceUID",
)
PICTURE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "PixelData",
)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
SEXES = {"F": "female", "M": "male", "O": "other"}
SIDES = {"L": "left", "R": "right"}


class Refused(Exception):
    """The file cannot be kept; `reason` is the value of an `imaging.Reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def main() -> None:
    """Read standard input within bounds, and answer on standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer, pixels = read(sys.stdin.buffer.read(), max_pixels=int(sys.argv[1]))
    except Refused as refusal:
        answer, pixels = {"refused": refusal.reason}, b""
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.write(pixels)


def read(data: bytes, *, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    """What a file tells, and its picture in 8 bits a channel, row by row.

    Raises:
        Refused: it holds no picture, several, or one that is too large.
        Exception: any other, where it is damaged.
    """
    _check_unpacked_size(data, max_pixels)
    wanted = [Tag(keyword) for keyword in (*PATIENT, *PICTURE)]
    with warnings.catch_warnings():
        # Of a file that was cut off, pydicom warns, and gives nothing.
        warnings.filterwarnings("error", message="(Unexpected end|End) of file")
        file = read_partial(io.BytesIO(data), stop_when=_limit(), specific_tags=list(wanted))
    _check(file, max_pixels)
    syntax = file.file_meta.TransferSyntaxUID
    notices: set[str] = set()
    mode, picture = _picture(file, syntax, notices)
    if _text(file, "BurnedInAnnotation") == "YES":
        notices.add("text_in_picture")
    answer = {
        "mode": mode,
        "width": picture.shape[1],
        "height": picture.shape[0],
        "lossy": syntax in LOSSY,
        "notices": sorted(notices),
        "facts": facts(file),
    }
    return answer, picture.tobytes()


def _check_unpacked_size(data: bytes, max_pixels: int) -> None:
    """A file that is packed as a whole must not unpack to more than the largest picture needs."""
    head_end = 144 + int.from_bytes(data[140:144], "little")
    if DeflatedExplicitVRLittleEndian.encode() not in data[:head_end]:
        return
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacker.decompress(data[head_end:], MAX_BYTES_A_PIXEL * max_pixels)
    if not unpacker.eof:
        raise Refused("unreadable")


def _limit() -> Callable[[object, object, object], bool]:
    count = 0

    def passes(_tag: object, _vr: object, _length: object) -> bool:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            raise Refused("unreadable")
        return False

    return passes


def _check(file: Dataset, max_pixels: int) -> None:
    """Look at what is claimed before anything is decoded."""
    if "Rows" not in file or "Columns" not in file:
        raise Refused("no_picture")
    if int(file.get("NumberOfFrames") or 1) > 1:
        raise Refused("multi_frame")
    if int(file.Rows) * int(file.Columns) > max_pixels:
        raise Refused("too_many_pixels")
    if "PixelData" not in file:  # cut off before it, or kept in floating point
        raise Refused("unreadable")


# What the file tells of the patient and of the picture.


def facts(file: Dataset) -> Mapping[str, Any]:
    """What is of use for a case. Of the day of birth, only the year leaves here."""
    born = _day(file, "PatientBirthDate")
    return {
        "sop_instance_uid": _text(file, "SOPInstanceUID"),
        "study_instance_uid": _text(file, "StudyInstanceUID"),
        "modality": _text(file, "Modality"),
        "identifier": _text(file, "PatientID"),
        "birth_year": born[0] if born else None,
        "age_years": _age_years(file, born),
        "sex": SEXES.get(_text(file, "PatientSex")),
        "side": SIDES.get(_text(file, "ImageLaterality") or _text(file, "Laterality")),
        "body_part": _text(file, "BodyPartExamined") or _region(file),
    }


def _text(file: Dataset, keyword: str) -> str:
    """An element's first value as text; one that cannot be read says nothing."""
    try:
        value = file.get(keyword)
    except Exception:
        return ""
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return "" if value is None or isinstance(value, bytes) else str(value).strip()


def _region(file: Dataset) -> str:
    try:
        return str(file.AnatomicRegionSequence[0].CodeMeaning)
    except Exception:
        return ""


def _day(file: Dataset, keyword: str) -> tuple[int, int, int] | None:
    """Year, month and day."""
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", _text(file, keyword))
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _age_years(file: Dataset, born: tuple[int, int, int] | None) -> int | None:
    """Whole years at the time of the picture, as stated or from the days of birth and picture."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", _text(file, "PatientAge"))
    if stated:
        years_in = {"Y": 1, "M": 12, "W": 52, "D": 365}
        return int(stated[1]) // years_in[stated[2]]
    taken = _day(file, "AcquisitionDate") or _day(file, "StudyDate")
    if born is None or taken is None or taken < born:
        return None
    return taken[0] - born[0] - (taken[1:] < born[1:])


# From stored values to what is seen.


def _picture(file: Dataset, syntax: UID, notices: set[str]) -> tuple[str, np.ndarray]:
    """Pillow's name of the colours, and the values, by row and column."""
    is_jpeg = syntax.is_encapsulated and syntax != RLELossless
    values, properties = get_decoder(syntax).as_array(
        file, index=0, raw=True, decoding_plugin="pylibjpeg" if is_jpeg else ""
    )
    photometric = str(properties["photometric_interpretation"])
    if photometric in ("MONOCHROME1", "MONOCHROME2"):
        grey = _grey(values, file, notices)
        return "L", 255 - grey if photometric == "MONOCHROME1" else grey
    bits = int(properties["bits_stored"])
    if photometric == "PALETTE COLOR":
        values = apply_color_lut(values, file)
        bits = 8 * values.dtype.itemsize
    if bits > 8:
        values = values >> (bits - 8)
        notices.add("depth_reduced")
    mode = "YCbCr" if photometric in ("YBR_FULL", "YBR_FULL_422") else "RGB"
    if mode == "RGB" and photometric not in ("RGB", "PALETTE COLOR"):
        raise Refused("unreadable")
    return mode, values.astype(np.uint8)


def _grey(values: np.ndarray, file: Dataset, notices: set[str]) -> np.ndarray:
    """Apply what turns stored values into measured ones, and the window that makes them visible.

    What has 16 bits at most is looked up in a table of all values, which spares memory.
    """
    stored = values.dtype
    if stored.itemsize > 2:
        return _seen(values, values, file, notices)
    unsigned = np.dtype(f"u{stored.itemsize}")
    all_values = np.arange(2 ** (8 * stored.itemsize), dtype=unsigned).view(stored)
    table: np.ndarray = _seen(all_values, values, file, notices)
    return table[values.view(unsigned)]


def _seen(
    values: np.ndarray, in_picture: np.ndarray, file: Dataset, notices: set[str]
) -> np.ndarray:
    """Shades from 0 to 255 of stored values; `in_picture` are those that the picture has."""
    measured = _measured(values, file)
    window = _window(file)
    if file.get("VOILUTSequence"):
        (table,) = file.VOILUTSequence[:1]
        notices.add("window_applied")
        return _scaled(_looked_up(measured, table, file), 0, 2 ** table.LUTDescriptor[2] - 1)
    if window is not None:
        notices.add("window_applied")
        return _windowed(measured, *window)
    if int(file.BitsStored) <= 8:
        ends = _nominal_ends(file)
    else:
        ends = np.array([in_picture.min(), in_picture.max()])
        notices.add("contrast_stretched")
    low, high = sorted(_measured(ends, file))
    return _scaled(measured, low, high)


def _measured(values: np.ndarray, file: Dataset) -> np.ndarray:
    """What stored values stand for, such as Hounsfield units."""
    if file.get("ModalityLUTSequence"):
        return _looked_up(values, file.ModalityLUTSequence[0], file)
    slope, intercept = _text(file, "RescaleSlope"), _text(file, "RescaleIntercept")
    if not slope or not intercept:
        return values.astype(np.float64)
    measured = values.astype(np.float64) * float(slope) + float(intercept)
    if not np.isfinite(measured).all():
        raise Refused("unreadable")
    return measured


def _looked_up(values: np.ndarray, table: Dataset, file: Dataset) -> np.ndarray:
    """What a table of the file has for values; its ends stand for what lies beyond them."""
    entries = table.LUTData
    if isinstance(entries, bytes):
        is_little_endian = file.original_encoding[1]
        entries = np.frombuffer(entries, dtype="<u2" if is_little_endian else ">u2")
    entries = np.atleast_1d(np.asarray(entries, dtype=np.float64))
    positions = np.rint(values).astype(np.int64) - int(table.LUTDescriptor[1])
    return entries[np.clip(positions, 0, len(entries) - 1)]


def _nominal_ends(file: Dataset) -> np.ndarray:
    """The least and the greatest value that can be stored."""
    bits = int(file.BitsStored)
    start = -(2 ** (bits - 1)) if file.PixelRepresentation else 0
    return np.array([start, start + 2**bits - 1], dtype=np.int16)


def _window(file: Dataset) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window; None where there is none."""
    centre, width = _text(file, "WindowCenter"), _text(file, "WindowWidth")
    if not centre or not width:
        return None
    return float(centre), float(width), _text(file, "VOILUTFunction") or "LINEAR"


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if not width > 0 or not np.isfinite([centre, width]).all():
        raise Refused("unreadable")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # far below the centre it is 0
            return _scaled(1 / (1 + np.exp(-4 * (values - centre) / width)), 0, 1)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return _scaled(values, centre - width / 2, centre + width / 2)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Shades from 0 for `low` to 255 for `high`; where these are the same, nothing lies between."""
    if high > low:
        shades = (values.astype(np.float64) - low) * (255 / (high - low))
    else:
        shades = np.where(values > low, 255.0, 0.0)
    return np.rint(np.clip(shades, 0, 255)).astype(np.uint8)


if __name__ == "__main__":
    main()
