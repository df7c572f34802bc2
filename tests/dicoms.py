"""DICOM files made for tests: small, and with names in them that must not get out."""

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

SECRET = "SECRET^NAME"
SOP, STUDY = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


def dicom(
    values: np.ndarray | None = None,
    *,
    syntax: UID = ExplicitVRLittleEndian,
    frames: list[bytes] | None = None,
    **elements: Any,
) -> bytes:
    """A file with these stored values, grey with 12 of 16 bits or colour with 8, and elements by
    keyword; None leaves one out. `frames` are pictures that are encoded already."""
    if values is None:
        values = gradient()
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    file.file_meta.MediaStorageSOPInstanceUID = SOP
    is_colour = values.ndim == 3
    said: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": SOP,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.3",
        "Modality": "CT",
        "PatientName": SECRET,
        "PatientID": "D-1",
        "PatientBirthDate": "19610512",
        "PatientSex": "F",
        "PatientAge": "059Y",
        "ReferringPhysicianName": SECRET,
        "InstitutionName": SECRET,
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 3 if is_colour else 1,
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
        "BitsAllocated": 8 * values.dtype.itemsize,
        "BitsStored": 12 if values.dtype.itemsize == 2 else 8 * values.dtype.itemsize,
        "HighBit": 11 if values.dtype.itemsize == 2 else 8 * values.dtype.itemsize - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelData": encapsulate(frames) if frames else _padded(values.tobytes()),
    }
    if is_colour:
        said["PlanarConfiguration"] = 0
    for keyword, value in (said | elements).items():
        if value is not None:
            setattr(file, keyword, value)
    file["PixelData"].VR = "OB" if frames or values.dtype.itemsize == 1 else "OW"
    file["PixelData"].is_undefined_length = bool(frames)
    file.private_block(0x0011, "SECRET", create=True).add_new(1, "LO", SECRET)
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def gradient(rows: int = 32, columns: int = 48) -> np.ndarray:
    """Rising from 0 to 4000 from left to right."""
    return np.tile(np.linspace(0, 4000, columns).astype(np.uint16), (rows, 1))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)
