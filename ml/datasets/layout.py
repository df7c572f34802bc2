"""What every publisher's layout has in common: who published it, and how its records are found."""

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml.datasets.manifest import Record

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
SLICES_A_BLOCK = 25
"""Neighbouring slices that may be one patient, where slices are only numbered through."""


class LayoutError(Exception):
    """A folder is not laid out as its publisher lays it out; the message says what is missing."""


@dataclass(frozen=True)
class Publication:
    """Where a data set comes from, and on what terms."""

    title: str
    publisher: str
    url: str
    files: tuple[str, ...]
    """What to fetch there, and how it lies in the folder that ``--from`` names."""
    licence: str
    md5: Mapping[str, str] = field(default_factory=dict)
    """Checksums that the publisher gives, by file; empty where it gives none."""
    notes: str = ""


@dataclass(frozen=True)
class Found:
    """The records of a folder, and where their pictures are."""

    records: tuple[Record, ...]
    images: Path
    """A folder, or a ZIP archive, that ``Record.file`` is a path inside of."""
    pictures: Callable[[str], bytes] | None = None
    """Gives pictures that are no files of their own, by ``Record.file``; they must be packed."""


@dataclass(frozen=True)
class Layout:
    """One publisher's layout. ``read`` raises LayoutError."""

    name: str
    publication: Publication
    read: Callable[[Path], Found]


def rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a table. Raises LayoutError when it or one of ``columns`` is missing."""
    if not path.is_file():
        raise LayoutError(f"{path} is missing")
    with path.open(newline="", encoding="utf-8-sig") as table:
        reader = csv.DictReader(table)
        lacking = sorted(set(columns) - set(reader.fieldnames or ()))
        if lacking:
            raise LayoutError(f"{path} lacks the column {', '.join(lacking)}")
        return list(reader)


def pictures(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def pictures_by_stem(root: Path) -> dict[str, str]:
    """Every picture below ``root`` by its name without ending: its path inside ``root``."""
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES)
    return {path.stem: path.relative_to(root).as_posix() for path in found}


def classes(root: Path, labels: Mapping[str, str]) -> dict[str, list[Path]]:
    """The pictures of one folder a class, by folder; ``labels`` names the folders.

    ``root`` may be the folder above, where an archive was unpacked into one of its own. Raises
    LayoutError when a class has no pictures.
    """
    base = next((path.parent for path in sorted(root.rglob(next(iter(labels))))), root)
    found = {folder: pictures(base / folder) for folder in labels}
    empty = [folder for folder, paths in found.items() if not paths]
    if empty:
        raise LayoutError(f"{base} has no pictures in {', '.join(empty)}")
    return found


def inside(root: Path, path: Path) -> str:
    """The path inside ``root``, as a manifest has it."""
    return path.relative_to(root).as_posix()


def block(number: int) -> int:
    """Which run of neighbouring slices a number belongs to."""
    return number // SLICES_A_BLOCK
