"""BUSI: breast ultrasound in one folder a class, with drawn masks beside the pictures."""

from pathlib import Path

from ml.datasets.layout import Found, Layout, Publication, classes, inside
from ml.datasets.manifest import Record

LABELS = {
    "benign": "benign_or_normal",
    "malignant": "malignant",
    "normal": "benign_or_normal",
}

PUBLICATION = Publication(
    title="Dataset_BUSI_with_GT, 780 breast ultrasound images of 600 women",
    publisher="Cairo University; Al-Dhabyani, Gomaa, Khaled, Fahmy 2020",
    url="https://doi.org/10.1016/j.dib.2019.104863",
    files=tuple(f"Dataset_BUSI_with_GT/{folder}/*.png" for folder in LABELS),
    licence="CC BY 4.0 (as BreastMNIST, which is made of it)",
    notes="No patients are named, many pictures show one lesion twice, and there is no published"
    " split: train with split = subjects, which keeps near-duplicates together.",
)


def read(folder: Path) -> Found:
    """One record a picture, masks left out; ``finding`` keeps benign and normal apart.

    Raises LayoutError for an empty class.
    """
    found = classes(folder, LABELS)
    records = (
        Record(
            inside(folder, path), (LABELS[finding],), source="busi", metadata={"finding": finding}
        )
        for finding, paths in found.items()
        for path in paths
        if "_mask" not in path.stem
    )
    return Found(tuple(records), folder)


LAYOUT = Layout("busi", PUBLICATION, read)
