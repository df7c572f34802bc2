"""From a publisher's folder to ``manifest.csv`` and ``dataset.json``."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ml.datasets import packed
from ml.datasets.layout import Found, Layout, LayoutError
from ml.jsonfile import write_json


def terms(layout: Layout) -> str:
    """What to fetch, from whom, and on what terms, in words."""
    publication = layout.publication
    sums = [f"{name} {md5}" for name, md5 in publication.md5.items()]
    lines = {
        "publisher": [publication.publisher],
        "address": [publication.url] if publication.url else [],
        "files": publication.files,
        "MD5": sums or ["none is known here; compare with the publisher's page"],
        "licence": [publication.licence],
        "note": [publication.notes] if publication.notes else [],
    }
    told = [
        f"  {name if first else '':<10} {line}"
        for name, texts in lines.items()
        for first, line in zip([True, *[False] * len(texts)], texts, strict=False)
    ]
    return "\n".join([f"{layout.name}: {publication.title}", *told])


def prepare(layout: Layout, folder: Path, out: Path, *, licence: str = "", pack: bool) -> int:
    """Write the manifest of ``folder`` to ``out``; the number of pictures.

    The pictures stay where they are and ``dataset.json`` says where, unless ``pack`` asks for them
    to be copied into ``images.zip``, or they are no files of their own. ``licence`` overrides the
    publication's. Raises LayoutError when the folder is not as expected or a checksum differs.
    """
    check(layout, folder)
    found = layout.read(folder.resolve())
    terms_of_use = licence or layout.publication.licence
    records = tuple(
        replace(record, licence=record.licence or terms_of_use) for record in found.records
    )
    out.mkdir(parents=True, exist_ok=True)
    packed.write_manifest(out / packed.MANIFEST, records)
    together = pack or found.pictures is not None
    if together:
        write_archive(out / packed.ARCHIVE, found)
    write_json(
        out / packed.FACTS,
        {
            "name": layout.name,
            "title": layout.publication.title if layout.publication.url else folder.resolve().name,
            "publisher": layout.publication.publisher,
            "url": layout.publication.url,
            "licence": terms_of_use,
            "images": packed.ARCHIVE if together else str(found.images),
            "count": len(records),
        },
    )
    return len(records)


def check(layout: Layout, folder: Path) -> None:
    """Compare the files that have a published checksum. Raises LayoutError when one differs."""
    for name, expected in layout.publication.md5.items():
        path = folder / name
        if path.is_file():
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "md5").hexdigest()
            if found != expected:
                raise LayoutError(f"{path} has MD5 {found}, its publisher says {expected}")


def write_archive(path: Path, found: Found) -> None:
    """Copy every picture, as published, into an archive that is not compressed."""
    read = found.pictures or packed.reader(found.images)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for record in tqdm(found.records, desc="packing", unit="image"):
            archive.writestr(record.file, read(record.file))
