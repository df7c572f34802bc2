"""BloodMNIST and BreastMNIST: arrays of small pictures in one ``.npz``, split as published."""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ml.datasets import pbc
from ml.datasets.layout import Found, Layout, LayoutError, Publication
from ml.datasets.manifest import Record

PARTS = ("train", "val", "test")
SITE = "https://zenodo.org/records/10519652"
BREAST = ("malignant", "benign_or_normal")
"""BreastMNIST counts from malignant: 0 is malignant."""

BLOOD_PUBLICATION = Publication(
    title="BloodMNIST, 17,092 blood cells in 28 px (or 64, 128, 224)",
    publisher="MedMNIST v2; Yang, Shi, Wei and others 2023, from PBC_dataset_normal_DIB",
    url=SITE,
    files=("bloodmnist.npz",),
    licence="CC BY 4.0",
    md5={"bloodmnist.npz": "7053d0359d879ad8a5505303e11de1dc"},
)
BREAST_PUBLICATION = Publication(
    title="BreastMNIST, 780 breast ultrasound images in 28 px (or 64, 128, 224)",
    publisher="MedMNIST v2; Yang, Shi, Wei and others 2023, from BUSI",
    url=SITE,
    files=("breastmnist.npz",),
    licence="CC BY 4.0",
    md5={"breastmnist.npz": "750601b1f35ba3300ea97c75c52ff8f6"},
    notes="Label 0 is malignant, 1 is benign or normal.",
)


def read(stem: str, labels: tuple[str, ...], folder: Path) -> Found:
    """One record a picture, ``<part>/<number>.png``, for the parts that the file has.

    Raises LayoutError when there is not one such file, or it has a label outside ``labels``.
    """
    files = sorted(folder.glob(f"{stem}*.npz"))
    if len(files) != 1:
        raise LayoutError(f"{folder} has {len(files)} files {stem}*.npz; one is needed")
    with np.load(files[0]) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    records: list[Record] = []
    for part in (part for part in PARTS if f"{part}_images" in found):
        numbers = found[f"{part}_labels"].reshape(-1)
        if numbers.max(initial=0) >= len(labels):
            raise LayoutError(f"{files[0]} has label {numbers.max()}; known are 0 to {len(labels)}")
        records += (
            Record(f"{part}/{index:05d}.png", (labels[number],), split=part, source=stem)
            for index, number in enumerate(numbers)
        )
    return Found(tuple(records), files[0], partial(_picture, found))


def _picture(arrays: dict[str, np.ndarray], file: str) -> bytes:
    part, number = file.removesuffix(".png").split("/")
    stream = io.BytesIO()
    Image.fromarray(arrays[f"{part}_images"][int(number)]).save(stream, "PNG")
    return stream.getvalue()


BLOOD = Layout("bloodmnist", BLOOD_PUBLICATION, partial(read, "bloodmnist", pbc.LABELS))
BREAST_LAYOUT = Layout("breastmnist", BREAST_PUBLICATION, partial(read, "breastmnist", BREAST))
