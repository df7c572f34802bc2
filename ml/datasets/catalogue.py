"""Every layout that can be prepared, by name."""

from pathlib import Path

from ml.datasets import busi, ct, ham10000, isic2019, medmnist, odir5k, packed, pbc, tree
from ml.datasets.layout import Found, Layout, LayoutError, Publication

PACKED_PUBLICATION = Publication(
    title="A packed folder",
    publisher="as the folder's own notes say",
    url="",
    files=(packed.MANIFEST, packed.ARCHIVE),
    licence="not stated by the folder",
)


def _read_packed(folder: Path) -> Found:
    if not (folder / packed.MANIFEST).is_file() or not (folder / packed.ARCHIVE).is_file():
        raise LayoutError(f"{folder} lacks {packed.MANIFEST} or {packed.ARCHIVE}")
    return Found(packed.read(folder).records, folder / packed.ARCHIVE)


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        ham10000.LAYOUT,
        isic2019.LAYOUT,
        pbc.LAYOUT,
        medmnist.BLOOD,
        busi.LAYOUT,
        medmnist.BREAST_LAYOUT,
        odir5k.LAYOUT,
        ct.HUST19,
        ct.SARS_COV_2_CT,
        ct.COVID_CT,
        tree.LAYOUT,
        Layout("packed", PACKED_PUBLICATION, _read_packed),
    )
}


def layout(name: str) -> Layout:
    """The layout of that name. Raises ValueError naming those that are known."""
    if name not in LAYOUTS:
        raise ValueError(f"unknown data set {name}; known are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
