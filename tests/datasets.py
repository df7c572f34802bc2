"""Small data sets, and what is locked away of them."""

import csv
import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask import current_app
from PIL import Image

from tests.unit.ml.factories import picture_bytes
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import reading_task_by_code
from webapp.config import current_settings
from webapp.datasets import services
from webapp.datasets.models import Dataset, Snapshot
from webapp.db import db
from webapp.worker import registering

Row = Mapping[str, str]


def rows(labels: Sequence[str], count: int = 4, **cells: str) -> list[dict[str, str]]:
    """So many pictures of each label, each of a subject of its own."""
    return [
        {"file": f"{label}/{number}.png", "label": label, "subject": f"{label}-{number}", **cells}
        for label in labels
        for number in range(count)
    ]


def table(rows: Sequence[Row]) -> bytes:
    """A manifest of these rows."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def drawn(file: str) -> bytes:
    """The picture of that name: always the same."""
    return picture_bytes(seed=int(hashlib.sha256(file.encode()).hexdigest()[:6], 16))


def archive(pictures: Mapping[str, bytes]) -> bytes:
    """A ZIP of these pictures."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in pictures.items():
            packed.writestr(name, data)
    return stream.getvalue()


def write(folder: Path, rows: Sequence[Row], pictures: Mapping[str, bytes] | None = None) -> Path:
    """A packed folder of these rows, with drawn pictures unless others are given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.csv").write_bytes(table(rows))
    given = pictures if pictures is not None else {row["file"]: drawn(row["file"]) for row in rows}
    (folder / "images.zip").write_bytes(archive(given))
    return folder


def register(task: ReadingTask, files: Path | services.Upload, **said: Any) -> Dataset:
    """A packed folder or an upload, registered by a worker, or refused."""
    name = files.name if isinstance(files, Path) else "uploaded"
    asked: dict[str, Any] = {"actor": None, "name": name, "licence": "CC0 1.0"}
    dataset = services.register(reading_task=task, files=files, **asked | said)
    assert registering.step()
    db.session.refresh(dataset)
    return dataset


def lock(task: ReadingTask, parts: Mapping[str, str], subjects: Mapping[str, str]) -> None:
    """Lock pictures away by their hashes, some with the name of their subject, for this test
    alone."""
    settings = current_settings()
    home = settings.instance_dir / "locked"
    home.mkdir(exist_ok=True)
    lines = [f"{sha256},{subjects.get(sha256, '')},{part}" for sha256, part in parts.items()]
    text = "\n".join(["sha256,subject,part", *lines, ""])
    (home / f"{task.code}.csv").write_text(text)
    current_app.config["FIRSTLOOK"] = dataclasses.replace(settings, locked_tests_dir=home)


def drawn_snapshot(folder: Path, labels: Sequence[str], count: int = 24) -> Snapshot:
    """A snapshot of a registered set of `drawn_cells`."""
    task = reading_task_by_code("blood-cell")
    assert task
    dataset = register(task, drawn_cells(folder, labels, count))
    assert dataset.is_registered, dataset.problems
    return services.freeze(actor=None, reading_task=task, dataset=dataset)


def drawn_cells(folder: Path, labels: Sequence[str], count: int = 24) -> Path:
    """A packed folder of drawn blood cells, so many of each label. Some are locked away, in the
    folder that the settings name for it."""
    lines = rows(labels, count)
    parts = {"test": slice(0, 4), "tune": slice(4, 10)}
    locked = [
        f"{sha256(drawn(row['file']))},,{part}"
        for label in labels
        for part, some in parts.items()
        for row in [row for row in lines if row["label"] == label][some]
    ]
    home = current_settings().locked_tests_dir
    (home / "blood-cell.csv").write_text("\n".join(["sha256,subject,part", *locked, ""]))
    return write(folder, lines)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def compressed(data: bytes) -> bytes:
    """The same picture as another file: it looks alike, and has other bytes."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(data)).save(stream, "JPEG", quality=90)
    return stream.getvalue()
