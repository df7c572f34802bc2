"""ISIC 2019: pictures, their diagnoses one column each, and what is known of the patient."""

import re
from pathlib import Path

from ml.datasets.layout import Found, Layout, LayoutError, Publication, pictures_by_stem, rows
from ml.datasets.manifest import Record

TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
LABELS = {
    "MEL": "mel",
    "NV": "nv",
    "BCC": "bcc",
    "AK": "akiec",
    "BKL": "bkl",
    "DF": "df",
    "VASC": "vasc",
    "SCC": "scc",
}
"""Column by column, in HAM10000's words; squamous cell carcinoma has none there."""
PARTICULARS = {"age_approx": "age", "sex": "sex", "anatom_site_general": "localization"}

PUBLICATION = Publication(
    title="ISIC 2019 challenge, training data: 25,331 dermoscopic images",
    publisher="International Skin Imaging Collaboration; HAM10000, BCN20000 and MSK together",
    url="https://challenge.isic-archive.com/data/#2019",
    files=("ISIC_2019_Training_Input/*.jpg", TRUTH, METADATA),
    licence="CC BY-NC 4.0",
    notes="Contains HAM10000: never train on one and test on the other. The subject is the lesion;"
    " where no lesion is named, only near-duplicates keep pictures together.",
)


def read(folder: Path) -> Found:
    """One record a picture that has a diagnosis. Raises LayoutError when a picture is missing."""
    files = pictures_by_stem(folder)
    truth = rows(folder / TRUTH, ("image", *LABELS))
    particulars = {
        row["image"]: row for row in rows(folder / METADATA, ("image", "lesion_id", *PARTICULARS))
    }
    missing = [row["image"] for row in truth if row["image"] not in files]
    if missing:
        raise LayoutError(f"{len(missing)} pictures are missing, {missing[0]} among them")
    records = (
        _record(files[row["image"]], label, particulars.get(row["image"], {}))
        for row in truth
        for column, label in LABELS.items()
        if float(row[column]) == 1.0
    )
    return Found(tuple(records), folder)


def _record(file: str, label: str, row: dict[str, str]) -> Record:
    lesion = row.get("lesion_id", "")
    return Record(
        file=file,
        labels=(label,),
        subject=lesion,
        source=_collection(lesion),
        metadata={new: row[old] for old, new in PARTICULARS.items() if row.get(old)},
    )


def _collection(lesion: str) -> str:
    """The collection that a lesion's name begins with: ``ham``, ``bcn``, ``msk``."""
    prefix = re.match(r"[A-Za-z]+", lesion)
    return prefix[0].lower() if prefix else "unnamed"


LAYOUT = Layout("isic2019", PUBLICATION, read)
