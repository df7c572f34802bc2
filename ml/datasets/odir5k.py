"""ODIR-5K: colour photographs of both fundi, one row an eye, labelled by that eye's keywords.

The publisher's own label columns are those of the patient, so a healthy eye carries the disease of
the other one. What an eye shows is therefore read from the keywords that were given to that eye.
"""

import re
from pathlib import Path

from ml.datasets.layout import Found, Layout, LayoutError, Publication, pictures_by_stem, rows
from ml.datasets.manifest import Record

TABLE = "full_df.csv"
SIDES = {"left": "Left-Diagnostic Keywords", "right": "Right-Diagnostic Keywords"}
RULES = (
    ("N", r"normal fundus"),
    ("D", r"diabetic retinopathy|proliferative retinopathy"),
    ("G", r"glaucoma"),
    ("C", r"cataract"),
    ("A", r"age-related macular degeneration"),
    ("H", r"hypertensive retinopathy"),
    ("M", r"pathological myopia|myopia retinopathy|myopic maculopathy"),
)
"""The label of a keyword is that of the first rule found in it, else ``O``, other abnormality."""
SILENT = re.compile(
    r"lens dust|low image quality|image offset|no fundus image|anterior segment image"
    r"|optic disk photographically invisible"
)
"""Keywords that speak of the picture and not of the eye."""

PUBLICATION = Publication(
    title="ODIR-5K, ocular disease intelligent recognition: fundi of 5,000 patients",
    publisher="Peking University and Shanggong Medical Technology, ODIR-2019; Kaggle copy"
    " andrewmvd/ocular-disease-recognition-odir5k",
    url="https://odir2019.grand-challenge.org",
    files=(TABLE, "<n>_left.jpg, <n>_right.jpg in any folder below"),
    licence="no licence is known: keep weights trained on it to research",
    notes="Labels of an eye come from its own keywords by rule; label_published keeps the"
    " publisher's. Eyes whose keywords say nothing of the eye are left out.",
)


def labels_of(keywords: str) -> tuple[str, ...]:
    """The labels of one eye's keywords in the publisher's order; none where they say nothing.

    ``N`` stands alone: an eye with any finding is not normal.
    """
    found = {_label(word) for word in re.split("[,\uff0c]", keywords) if word.strip()}
    order = (*(label for label, _ in RULES), "O")
    abnormal = tuple(label for label in order if label in found and label != "N")
    return abnormal or (("N",) if "N" in found else ())


def _label(keyword: str) -> str:
    """The label of one keyword; empty when it is silent."""
    word = keyword.strip().lower()
    if SILENT.search(word):
        return ""
    return next((label for label, rule in RULES if re.search(rule, word)), "O")


def read(folder: Path) -> Found:
    """One record an eye. Raises LayoutError when a picture of the table is missing."""
    columns = ("ID", "Patient Age", "Patient Sex", *SIDES.values(), "labels", "filename")
    table = rows(folder / TABLE, columns)
    files = pictures_by_stem(folder)
    missing = [row["filename"] for row in table if Path(row["filename"]).stem not in files]
    if missing:
        raise LayoutError(f"{len(missing)} pictures are missing, {missing[0]} among them")
    records = (_record(row, files[Path(row["filename"]).stem]) for row in table)
    return Found(tuple(record for record in records if record.labels), folder)


def _record(row: dict[str, str], file: str) -> Record:
    eye = Path(file).stem.rpartition("_")[2]
    keywords = row[SIDES[eye]]
    particulars = {
        "age": row["Patient Age"],
        "sex": row["Patient Sex"].lower(),
        "eye": eye,
        "keywords": keywords.replace("\uff0c", ","),
        "label_published": "|".join(re.findall(r"[A-Z]", row["labels"])),
    }
    return Record(
        file=file,
        labels=labels_of(keywords),
        subject=row["ID"],
        source="odir5k",
        metadata={name: value for name, value in particulars.items() if value},
    )


LAYOUT = Layout("odir5k", PUBLICATION, read)
