"""The one format on disk: ``manifest.csv``, one row a picture, and where its pictures are.

Columns read: ``file``, ``labels`` (joined by ``|``) or ``label``; where present ``subject``,
``split``, ``source``, ``licence``. Every other column is metadata. The pictures are the members of
``images.zip`` beside it; or ``dataset.json`` beside it names a folder or another archive.
"""

import csv
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ml.datasets.manifest import SEPARATOR, Manifest, Record

MANIFEST, FACTS, ARCHIVE = "manifest.csv", "dataset.json", "images.zip"
COLUMNS = ("file", "subject", "labels", "split", "source", "licence")


def read(folder: Path) -> Manifest:
    """The manifest of a folder, or of the ``manifest.csv`` in it.

    Raises FileNotFoundError when a part is missing, KeyError when the table lacks a column.
    """
    folder = folder.parent if folder.name == MANIFEST else folder
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as table:
        found = records(table)
    return Manifest(found, reader(folder / read_facts(folder).get("images", ARCHIVE)))


def records(table: Iterable[str]) -> tuple[Record, ...]:
    """The records of a table, line by line. Raises KeyError when it lacks a column."""
    return tuple(_record(row) for row in csv.DictReader(table, restval=""))


def read_facts(folder: Path) -> dict[str, Any]:
    """What ``dataset.json`` says of the set; empty without one."""
    path = folder / FACTS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def reader(images: Path) -> Callable[[str], bytes]:
    """How the pictures in a folder or a ZIP archive are read. Raises FileNotFoundError."""
    if images.is_dir():
        return lambda file: (images / file).read_bytes()
    return zipfile.ZipFile(images).read


def write_manifest(path: Path, records: Iterable[Record]) -> None:
    """Write the table that ``read`` reads."""
    rows = tuple(records)
    names = sorted({name for record in rows for name in record.metadata})
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, [*COLUMNS, *names], restval="")
        writer.writeheader()
        writer.writerows(_row(record) for record in rows)


def _row(record: Record) -> dict[str, str]:
    return {
        **record.metadata,
        "file": record.file,
        "subject": record.subject,
        "labels": record.label,
        "split": record.split,
        "source": record.source,
        "licence": record.licence,
    }


def _record(row: Mapping[str, str]) -> Record:
    labels = row["labels"] if "labels" in row else row["label"]
    known = (*COLUMNS, "label")
    return Record(
        file=row["file"],
        labels=tuple(labels.split(SEPARATOR)),
        subject=row.get("subject", ""),
        split=row.get("split", ""),
        source=row.get("source", ""),
        licence=row.get("licence", ""),
        metadata={name: row[name] for name in row if name and name not in known and row[name]},
    )
