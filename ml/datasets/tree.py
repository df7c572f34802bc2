"""A plain tree, ``train|val|test/<class>/``: pictures of one's own."""

from pathlib import Path

from ml.datasets.layout import Found, Layout, LayoutError, Publication, inside, pictures
from ml.datasets.manifest import Record

PARTS = ("train", "val", "test")

PUBLICATION = Publication(
    title="A tree of one's own",
    publisher="whoever made it",
    url="",
    files=tuple(f"{part}/<class>/*" for part in PARTS),
    licence="not stated",
    notes="Folders that name patients are not known here, so near-duplicates are kept together."
    " split = published keeps to its parts; split = locked tests on val.",
)


def read(folder: Path) -> Found:
    """One record a picture, for the parts that there are. Raises LayoutError when none has any."""
    records = tuple(
        Record(inside(folder, path), (kind.name,), split=part, source=folder.resolve().name)
        for part in PARTS
        for kind in _folders(folder / part)
        for path in pictures(kind)
    )
    if not records:
        raise LayoutError(f"{folder} has no pictures in train|val|test/<class>/")
    return Found(records, folder)


def _folders(part: Path) -> list[Path]:
    return sorted(path for path in part.iterdir() if path.is_dir()) if part.is_dir() else []


LAYOUT = Layout("tree", PUBLICATION, read)
