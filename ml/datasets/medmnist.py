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

BLOOD_MD5 = {
    "bloodmnist.npz": "7053d0359d879ad8a5505303e11de1dc",
    "bloodmnist_64.npz": "2b94928a2ae4916078ca51e05b6b800b",
    "bloodmnist_128.npz": "adace1e0ed228fccda1f39692059dd4c",
    "bloodmnist_224.npz": "b718ff6835fcbdb22ba9eacccd7b2601",
}
BREAST_MD5 = {
    "breastmnist.npz": "750601b1f35ba3300ea97c75c52ff8f6",
    "breastmnist_64.npz": "742edef2a1fd1524b2efff4bd7ba9364",
    "breastmnist_128.npz": "363e4b3f8d712e9b5de15470a2aaadf1",
    "breastmnist_224.npz": "b56378a6eefa9fed602bb16d192d4c8b",
}

BLOOD_PUBLICATION = Publication(
    title="BloodMNIST, 17,092 blood cells in 28 px (or 64, 128, 224)",
    publisher="MedMNIST v2; Yang, Shi, Wei and others 2023, from PBC_dataset_normal_DIB",
    url=SITE,
    files=(f"one of {', '.join(BLOOD_MD5)}",),
    licence="CC BY 4.0",
    md5=BLOOD_MD5,
)
BREAST_PUBLICATION = Publication(
    title="BreastMNIST, 780 breast ultrasound images in 28 px (or 64, 128, 224)",
    publisher="MedMNIST v2; Yang, Shi, Wei and others 2023, from BUSI",
    url=SITE,
    files=(f"one of {', '.join(BREAST_MD5)}",),
    licence="CC BY 4.0",
    md5=BREAST_MD5,
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
