"""PBC: one folder a class of normal blood cells."""

from pathlib import Path

from ml.datasets.layout import Found, Layout, Publication, classes, inside
from ml.datasets.manifest import Record

LABELS = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "ig",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)
"""The folders, in BloodMNIST's order; ``ig`` is immature granulocytes."""

PUBLICATION = Publication(
    title="PBC_dataset_normal_DIB, 17,092 images of normal peripheral blood cells",
    publisher="Mendeley Data; Acevedo, Merino, Alferez, Molina, Boldu, Rodellar 2020",
    url="https://doi.org/10.17632/snkd93bnjr.1",
    files=tuple(f"{label}/*.jpg" for label in LABELS),
    licence="CC BY 4.0",
    notes="No patients are named, and there is no published split: train with split = subjects.",
)


def read(folder: Path) -> Found:
    """One record a picture, labelled by its folder. Raises LayoutError for an empty class."""
    found = classes(folder, {label: label for label in LABELS})
    records = (
        Record(inside(folder, path), (label,), source="pbc")
        for label, paths in found.items()
        for path in paths
    )
    return Found(tuple(records), folder)


LAYOUT = Layout("pbc", PUBLICATION, read)
