"""HAM10000: a table and two folders of dermoscopic pictures; one lesion may have several."""

from pathlib import Path

from ml.datasets.layout import Found, Layout, LayoutError, Publication, pictures_by_stem, rows
from ml.datasets.manifest import Record

TABLE = "HAM10000_metadata.csv"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")

PUBLICATION = Publication(
    title="HAM10000, 10,015 dermatoscopic images of common pigmented skin lesions",
    publisher="Harvard Dataverse; Tschandl, Rosendahl, Kittler 2018",
    url="https://doi.org/10.7910/DVN/DBW86T",
    files=(TABLE, "HAM10000_images_part_1/*.jpg", "HAM10000_images_part_2/*.jpg"),
    licence="CC BY-NC 4.0",
    notes="The subject is the lesion: patients are not named.",
)


def read(folder: Path) -> Found:
    """One record a picture. Raises LayoutError when a picture of the table is missing."""
    files = pictures_by_stem(folder)
    table = rows(folder / TABLE, COLUMNS)
    missing = [row["image_id"] for row in table if row["image_id"] not in files]
    if missing:
        raise LayoutError(f"{len(missing)} pictures are missing, {missing[0]} among them")
    return Found(tuple(_record(row, files[row["image_id"]]) for row in table), folder)


def _record(row: dict[str, str], file: str) -> Record:
    particulars = {name: row[name] for name in ("age", "sex", "localization", "dx_type")}
    return Record(
        file=file,
        labels=(row["dx"],),
        subject=row["lesion_id"],
        source="ham10000",
        metadata={name: value for name, value in particulars.items() if value},
    )


LAYOUT = Layout("ham10000", PUBLICATION, read)
