"""The packed layout: ``images.zip`` beside ``manifest.csv``, one row a picture.

Columns read: ``file`` (the member's path inside the archive), ``label`` or ``labels`` (joined by
``|``); where present ``subject``, ``split``, ``source``. Every other column is metadata.
"""

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ml.datasets.manifest import SEPARATOR, Manifest, Record

COLUMNS = ("file", "label", "labels", "subject", "split", "source")


def read(folder: Path) -> Manifest:
    """The manifest of a packed folder.

    Raises FileNotFoundError when a part is missing, KeyError when the table lacks a column.
    """
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as table:
        records = tuple(_record(row) for row in csv.DictReader(table))
    return Manifest(records, zipfile.ZipFile(folder / "images.zip").read)


def _record(row: Mapping[str, str]) -> Record:
    labels = row["labels"] if "labels" in row else row["label"]
    return Record(
        file=row["file"],
        labels=tuple(labels.split(SEPARATOR)),
        subject=row.get("subject", ""),
        split=row.get("split", ""),
        source=row.get("source", ""),
        metadata={name: row[name] for name in row if name not in COLUMNS and row[name]},
    )
