"""Chest CT slices of three publishers, each in one folder a class.

None names patients, so slices that may be one patient's are taken together: those of one paper,
or, where slices are numbered through, blocks of 25 neighbours. A patient can straddle two blocks;
train with split = runs.
"""

import re
from functools import partial
from pathlib import Path

from ml.datasets.layout import Found, Layout, Publication, block, classes, inside
from ml.datasets.manifest import Record

UNSTATED = "no licence is known: keep weights trained on it to research"
HUST19_LABELS = {"nCT": "non_covid", "pCT": "covid", "NiCT": "non_informative"}
SARS_LABELS = {"COVID": "covid", "non-COVID": "non_covid"}
COVID_CT_LABELS = {"CT_COVID": "covid", "CT_NonCOVID": "non_covid"}

HUST19_PUBLICATION = Publication(
    title="HUST-19 (iCTCF), 19,685 CT slices: negative, positive, non-informative",
    publisher="Huazhong University of Science and Technology; Ning, Lei, Yang and others 2020",
    url="https://ngdc.cncb.ac.cn/ictcf/HUST-19.php",
    files=tuple(f"{folder}/*.jpg" for folder in HUST19_LABELS),
    licence=UNSTATED,
    notes="Slices are numbered through and name no patient.",
)
SARS_PUBLICATION = Publication(
    title="SARS-CoV-2 CT-Scan, 2,482 CT slices of 120 patients",
    publisher="Kaggle plameneduardo/sarscov2-ctscan-dataset; Soares, Angelov and others 2020",
    url="https://www.kaggle.com/datasets/plameneduardo/sarscov2-ctscan-dataset",
    files=tuple(f"{folder}/*.png" for folder in SARS_LABELS),
    licence=UNSTATED,
    notes="Slices are numbered through and name no patient.",
)
COVID_CT_PUBLICATION = Publication(
    title="COVID-CT, 746 CT slices cut out of papers",
    publisher="UCSD-AI4H; Yang, He, Zhao, Zhang, Zhang, Xie 2020",
    url="https://github.com/UCSD-AI4H/COVID-CT",
    files=tuple(f"{folder}/*.png, *.jpg" for folder in COVID_CT_LABELS),
    licence=UNSTATED,
    notes="The subject is the paper that a slice was cut out of, or the numbered figure.",
)


def read(source: str, labels: dict[str, str], folder: Path) -> Found:
    """One record a slice, labelled by its folder. Raises LayoutError for an empty class."""
    records = (
        Record(
            inside(folder, path),
            (labels[name],),
            subject=f"{source}-{name}-{_subject(path.stem)}",
            source=source,
        )
        for name, paths in classes(folder, labels).items()
        for path in paths
    )
    return Found(tuple(records), folder)


def _subject(stem: str) -> str:
    """The paper, figure or block of neighbours that a slice's name tells.

    ``Covid (30)`` and ``pCT30`` are in block 1; ``2020.02.10.20021584-p6-52%3`` is of the paper
    that begins it, and ``12%1`` of figure 12.
    """
    numbered = re.fullmatch(r"(?:non-covid|covid|[a-z]+ct)\D*(\d+)\D*", stem, re.IGNORECASE)
    if numbered:
        return str(block(int(numbered[1])))
    figure = stem.partition("%")[0]
    return re.sub(r"-p\d+(-\d+)*$", "", figure)


HUST19 = Layout("hust19", HUST19_PUBLICATION, partial(read, "hust19", HUST19_LABELS))
SARS_COV_2_CT = Layout(
    "sars-cov-2-ct", SARS_PUBLICATION, partial(read, "sars-cov-2-ct-scan", SARS_LABELS)
)
COVID_CT = Layout("covid-ct", COVID_CT_PUBLICATION, partial(read, "covid-ct", COVID_CT_LABELS))
