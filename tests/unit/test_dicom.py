"""DICOM files: what is seen of them, what they tell, and that they can do no harm."""

import hashlib
import io
import struct
import subprocess
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from tests.dicoms import SECRET, SOP, STUDY, dicom, gradient
from webapp import dicom as dicom_files
from webapp import dicom_reader, imaging
from webapp.errors import ImageRejected
from webapp.imaging import Notice, Reason

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns of odd values


VALUES = gradient().astype(float)


def packaged(name: str) -> bytes:
    """A test file of pydicom that comes with it; none is fetched."""
    path = get_testdata_file(name, download=False)
    assert path
    with open(path, "rb") as file:
        return file.read()


def seen(data: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    """The shades of a file, and the rest of the answer, read in this process."""
    answer, pixels = dicom_reader.read(data, max_pixels=10**7)
    size = (answer["width"], answer["height"])
    picture = Image.frombytes(answer["mode"], size, pixels)
    return np.asarray(picture if answer["mode"] == "L" else picture.convert("RGB")), answer


def reason_for(data: bytes) -> Reason:
    with pytest.raises(ImageRejected) as refusal:
        imaging.clean(data)
    assert imaging.explain(refusal.value.reason, refusal.value.facts)
    return Reason(refusal.value.reason)


def close(shades: np.ndarray, expected: np.ndarray, most: float = 1) -> bool:
    return bool(np.abs(shades.astype(float) - np.clip(expected, 0, 255)).max() <= most)


# What is seen


def test_a_file_becomes_a_clean_picture() -> None:
    data = dicom(WindowCenter=2000, WindowWidth=2000)
    cleaned = imaging.clean(data)
    assert (cleaned.width_px, cleaned.height_px, cleaned.media_type) == (48, 32, "image/png")
    assert cleaned.notices == (Notice.WINDOW_APPLIED,)
    assert cleaned.original_sha256 == hashlib.sha256(data).hexdigest()
    picture = Image.open(io.BytesIO(cleaned.data))
    assert (picture.mode, picture.info) == ("L", {})
    assert close(np.asarray(picture), (VALUES - 1000) / 2000 * 255)
    assert SECRET.encode() not in cleaned.data + cleaned.thumbnail
    assert SECRET not in repr(cleaned.dicom)
    assert imaging.clean(data) == cleaned


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, VALUES / 4000 * 255),  # stretched, where no window is named
        ({"RescaleSlope": 2, "RescaleIntercept": -1000}, VALUES / 4000 * 255),
        ({"RescaleSlope": -1, "RescaleIntercept": 0}, 255 - VALUES / 4000 * 255),
        (
            {
                "RescaleSlope": 1,
                "RescaleIntercept": -1024,
                "WindowCenter": [-24, 50],
                "WindowWidth": [2000, 1],
            },
            VALUES / 2000 * 255,  # the first of two
        ),
        (
            {"WindowCenter": 2000, "WindowWidth": 1000, "PhotometricInterpretation": "MONOCHROME1"},
            255 - np.clip((VALUES - 1500) / 1000 * 255, 0, 255),
        ),
        (
            {"WindowCenter": 2000, "WindowWidth": 500, "VOILUTFunction": "SIGMOID"},
            255 / (1 + np.exp(-4 * (VALUES - 2000.0) / 500)),
        ),
        (
            {"WindowCenter": 2000, "WindowWidth": 1, "VOILUTFunction": "LINEAR"},
            np.where(VALUES > 1999.5, 255, 0),
        ),
    ],
)
def test_stored_values_become_shades(elements: dict[str, Any], expected: np.ndarray) -> None:
    assert close(seen(dicom(**elements))[0], expected)


def test_signed_values_are_looked_up_as_such() -> None:
    values = gradient().astype(np.int16) - 2000
    shades, _ = seen(dicom(values, WindowCenter=0, WindowWidth=4000))
    assert close(shades, VALUES / 4000 * 255)


def lookup(entries: list[int], first: int, bits: int) -> Dataset:
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, bits]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = entries
    table["LUTData"].VR = "US"
    return table


def test_tables_are_applied_one_after_the_other() -> None:
    halved = lookup([value // 2 for value in range(4096)], 0, 16)
    shown = lookup(list(range(0, 256, 2)), 1000, 8)  # from 1000 to 1127 stand 0 to 254
    data = dicom(ModalityLUTSequence=[halved], VOILUTSequence=[shown])
    expected = np.clip(VALUES // 2 - 1000, 0, 127) * 2
    assert close(seen(data)[0], expected, 0)


def test_eight_bits_without_a_window_stay_as_they_are() -> None:
    values = np.arange(32 * 48).reshape(32, 48).astype(np.uint8) // 2 + 40
    shades, answer = seen(dicom(values))
    assert close(shades, values, 0)
    assert answer["notices"] == []
    inverted, _ = seen(dicom(values, PhotometricInterpretation="MONOCHROME1"))
    assert close(inverted, 255 - values, 0)


def colours() -> np.ndarray:
    y, x = np.mgrid[0:32, 0:48]
    return np.dstack([5 * x, 8 * y, 255 - 5 * x]).astype(np.uint8)


def jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def test_colours_come_out_right_however_they_are_stored() -> None:
    rgb = colours()
    assert close(seen(dicom(rgb))[0], rgb, 0)
    by_plane = rgb.transpose(2, 0, 1).tobytes()
    assert close(seen(dicom(rgb, PlanarConfiguration=1, PixelData=by_plane))[0], rgb, 0)
    ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    assert close(seen(dicom(ybr, PhotometricInterpretation="YBR_FULL"))[0], rgb, 3)
    deep = rgb.astype(np.uint16) * 257
    shades, answer = seen(dicom(deep, BitsStored=16, HighBit=15))
    assert close(shades, rgb, 0)
    assert answer["notices"] == ["depth_reduced"]


def test_a_lossy_file_is_stored_as_jpeg() -> None:
    data = dicom(
        colours(),
        syntax=JPEGBaseline8Bit,
        frames=[jpeg(Image.fromarray(colours()))],
        PhotometricInterpretation="YBR_FULL_422",
        Modality="US",
    )
    cleaned = imaging.clean(data)
    assert cleaned.media_type == "image/jpeg"
    assert close(np.asarray(Image.open(io.BytesIO(cleaned.data))), colours(), 12)


PACKAGED = {
    # Transfer syntaxes: one kind of encoding each
    "CT_small.dcm": ("L", (128, 128), None),
    "MR_small.dcm": ("L", (64, 64), None),
    "MR_small_implicit.dcm": ("L", (64, 64), "MR_small.dcm"),
    "MR_small_bigendian.dcm": ("L", (64, 64), "MR_small.dcm"),
    "MR_small_RLE.dcm": ("L", (64, 64), "MR_small.dcm"),
    "MR_small_jp2klossless.dcm": ("L", (64, 64), "MR_small.dcm"),
    "MR_small_jpeg_ls_lossless.dcm": ("L", (64, 64), "MR_small.dcm"),
    "image_dfl.dcm": ("L", (512, 512), None),
    "JPEG2000.dcm": ("L", (1024, 256), None),
    "JPGExtended.dcm": ("L", (1024, 256), None),
    "SC_rgb_small_odd.dcm": ("RGB", (3, 3), None),
    "SC_rgb_small_odd_jpeg.dcm": ("YCbCr", (3, 3), None),
    "SC_rgb_jpeg_gdcm.dcm": ("RGB", (100, 100), None),
    "SC_rgb_rle.dcm": ("RGB", (100, 100), "SC_rgb_jpeg_gdcm.dcm"),
    "SC_rgb_rle_16bit.dcm": ("RGB", (100, 100), "SC_rgb_jpeg_gdcm.dcm"),
    "SC_rgb_jpeg_dcmtk.dcm": ("YCbCr", (100, 100), "SC_rgb_jpeg_gdcm.dcm"),
    "SC_ybr_full_422_uncompressed.dcm": ("YCbCr", (100, 100), "SC_rgb_jpeg_gdcm.dcm"),
    "examples_palette.dcm": ("RGB", (350, 800), None),
    "examples_jpeg2k.dcm": ("RGB", (480, 640), None),
    "examples_rgb_color.dcm": ("RGB", (240, 320), None),
    "liver_1frame.dcm": ("L", (512, 512), None),
}
"""The colours and the rows and columns of pydicom's own files, and which shows the same."""


@pytest.mark.parametrize("name", PACKAGED)
def test_files_of_all_encodings_are_read(name: str) -> None:
    mode, shape, same = PACKAGED[name]
    shades, answer = seen(packaged(name))
    assert (answer["mode"], shades.shape[:2]) == (mode, shape)
    assert shades.std() > 3  # something is to be seen
    if same:
        assert close(shades, seen(packaged(same))[0], 6)


# What it tells


def test_what_is_of_use_is_told_and_nothing_else() -> None:
    cleaned = imaging.clean(
        dicom(ImageLaterality="L", BodyPartExamined="CHEST", BurnedInAnnotation="YES")
    )
    assert cleaned.dicom == dicom_files.DicomFacts(
        sop_instance_uid=SOP,
        study_instance_uid=STUDY,
        modality="CT",
        identifier="D-1",
        birth_year=1961,
        age_years=59,
        sex="female",
        side="left",
        body_part="CHEST",
    )
    assert Notice.TEXT_IN_PICTURE in cleaned.notices


@pytest.mark.parametrize(
    ("elements", "age"),
    [
        ({"PatientAge": "011M"}, 0),
        ({"PatientAge": "025M"}, 2),
        ({"PatientAge": "100D"}, 0),
        ({"PatientAge": None, "StudyDate": "20200511"}, 58),
        ({"PatientAge": None, "StudyDate": "20200512"}, 59),
        ({"PatientAge": None, "StudyDate": "19600101"}, None),
        ({"PatientAge": None}, None),
        ({"PatientAge": "old", "PatientBirthDate": None}, None),
    ],
)
def test_the_age_is_the_one_at_the_time_of_the_picture(
    elements: dict[str, Any], age: int | None
) -> None:
    assert seen(dicom(**elements))[1]["facts"]["age_years"] == age


def test_what_cannot_be_understood_says_nothing() -> None:
    silent = dict.fromkeys(("PatientID", "PatientSex", "PatientAge", "Modality", "SOPInstanceUID"))
    told = imaging.clean(dicom(**silent, PatientBirthDate="", StudyInstanceUID="1.2.x")).dicom
    assert told is not None
    assert (told.identifier, told.sex, told.modality) == ("", None, "")
    assert (told.birth_year, told.age_years) == (None, None)
    assert (told.sop_instance_uid, told.study_instance_uid) == (None, None)


# Refusals


def test_what_cannot_be_kept_is_refused_with_its_reason() -> None:
    assert reason_for(packaged("SC_rgb_rle_2frame.dcm")) is Reason.MULTI_FRAME
    assert reason_for(packaged("examples_ybr_color.dcm")) is Reason.MULTI_FRAME
    assert reason_for(packaged("reportsi.dcm")) is Reason.NO_PICTURE
    assert reason_for(packaged("MR_truncated.dcm")) is Reason.UNREADABLE
    assert reason_for(packaged("MR_small_RLE.dcm")[:5000]) is Reason.UNREADABLE
    assert reason_for(bytes(128) + b"DICM") is Reason.NO_PICTURE
    assert reason_for(dicom(gradient(8, 8))) is Reason.TOO_SMALL
    assert reason_for(dicom(Rows=60_000, Columns=60_000)) is Reason.TOO_MANY_PIXELS
    assert reason_for(dicom() + bytes(imaging.MAX_BYTES)) is Reason.TOO_LARGE
    assert reason_for(packaged("no_meta.dcm")) is Reason.NOT_ACCEPTED
    assert reason_for(dicom(WindowCenter=1, WindowWidth="nan")) is Reason.UNREADABLE


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(part: float) -> None:
    for data in (dicom(), packaged("MR_small_implicit.dcm"), packaged("JPEG2000.dcm")):
        with pytest.raises(Exception):  # noqa: B017, PT011  (any ends the process)
            dicom_reader.read(data[: int(len(data) * part)], max_pixels=10**7)


def deflated(packed: bytes) -> bytes:
    """A file whose elements are packed."""
    whole = dicom(syntax=DeflatedExplicitVRLittleEndian)
    head_end = 144 + struct.unpack_from("<I", whole, 140)[0]
    return whole[:head_end] + packed


def test_bombs_are_refused_soon() -> None:
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(10**7)) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = block * 1000 + packer.flush()
    empty_elements = dicom()[:-8] + struct.pack("<HH2sH", 0x7FE1, 1, b"LO", 0) * 3_000_000
    huge_codestream = bytearray(packaged("MR_small_jp2klossless.dcm"))
    at = huge_codestream.index(b"\xff\x4f\xff\x51") + 8
    huge_codestream[at : at + 8] = struct.pack(">II", 200_000, 200_000)
    began = time.monotonic()
    assert reason_for(deflated(zeros)) is Reason.UNREADABLE
    assert reason_for(empty_elements) is Reason.UNREADABLE
    assert reason_for(bytes(huge_codestream)) is Reason.UNREADABLE
    assert time.monotonic() - began < 20


def test_sequences_within_sequences_without_end_are_refused() -> None:
    nested = struct.pack("<HH2sHI", 0x0008, 0x2218, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    head = dicom()[: 144 + struct.unpack_from("<I", dicom(), 140)[0]]
    assert reason_for(head + (nested + item) * 200_000) is Reason.UNREADABLE


@pytest.mark.parametrize(
    "ended",
    [
        subprocess.TimeoutExpired("reader", 1),
        subprocess.CompletedProcess("reader", -11, b""),
        subprocess.CompletedProcess("reader", 0, b"no answer"),
        subprocess.CompletedProcess("reader", 0, b'{"mode": "L"}\n'),
    ],
)
def test_a_reader_that_crashes_or_hangs_is_a_refusal(
    ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_args: Any, **_options: Any) -> Any:
        if isinstance(ended, Exception):
            raise ended
        return ended

    monkeypatch.setattr(subprocess, "run", run)
    assert reason_for(dicom()) is Reason.UNREADABLE


# Anything at all

NATIVE = [
    dicom(),
    dicom(colours()),
    packaged("MR_small_RLE.dcm"),
    packaged("SC_rgb_small_odd.dcm"),
]


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """A file with bytes changed, put in or taken out, most of them where its elements are."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(132, min(len(data), 2500) - 1) | st.integers(132, len(data) - 1))
        change = draw(st.sampled_from(["set", "insert", "drop"]))
        if change == "set":
            data[at : at + 4] = draw(st.binary(min_size=1, max_size=4))
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            del data[at : at + draw(st.integers(1, 16))]
    return bytes(data)


@given(damaged(NATIVE))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_in_a_file_it_is_read_or_refused(data: bytes) -> None:
    """In this process, where nothing but Python meets the bytes; what is raised ends the reader."""
    try:
        shades, answer = seen(data)
    except Exception:
        return
    assert shades.dtype == np.uint8
    assert SECRET not in repr(answer)


COMPRESSED = [
    dicom(
        colours(),
        syntax=JPEGBaseline8Bit,
        frames=[jpeg(Image.fromarray(colours()))],
        PhotometricInterpretation="YBR_FULL_422",
    ),
    packaged("MR_small_jp2klossless.dcm"),
    packaged("MR_small_jpeg_ls_lossless.dcm"),
]


@given(damaged(COMPRESSED))
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_cleaned_or_refused(data: bytes) -> None:
    try:
        cleaned = imaging.clean(data)
    except ImageRejected:
        return
    assert Image.open(io.BytesIO(cleaned.data)).size == (cleaned.width_px, cleaned.height_px)
