"""The packed layout: ``images.zip`` beside ``manifest.csv``, one row a picture.

Columns read: ``file`` (the member's path inside the archive), ``label``, ``subject``, ``split``.
"""

import csv
import zipfile
from pathlib import Path

from ml.datasets.manifest import Manifest, Record


def read(folder: Path) -> Manifest:
    """The manifest of a packed folder.

    Raises FileNotFoundError when a part is missing, KeyError when the table lacks a column.
    """
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as table:
        records = tuple(
            Record(row["file"], row["label"], row["subject"], row["split"])
            for row in csv.DictReader(table)
        )
    return Manifest(records, zipfile.ZipFile(folder / "images.zip").read)
