"""POST /datasets."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser
from webapp import queue
from webapp.datasets.models import Dataset, Standing
from webapp.db import db
from webapp.worker import registering

ROWS = datasets.rows(("calm", "grave"))
PICTURES = {row["file"]: datasets.drawn(row["file"]) for row in ROWS}


@pytest.fixture
def task_id(app: Flask, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    with app.app_context():
        return clinic.serve().reading_task_id


def filled(task_id: int, **changes: Any) -> dict[str, Any]:
    """What a browser sends of the form."""
    said: dict[str, Any] = {
        "reading_task_id": str(task_id),
        "name": "Drawn",
        "licence": "CC0 1.0",
        "source": "by hand, https://example.org",
        "table": (io.BytesIO(datasets.table(ROWS)), "manifest.csv"),
        "archive": (io.BytesIO(datasets.archive(PICTURES)), "images.zip"),
    }
    return said | changes


def only() -> Dataset:
    (dataset,) = db.session.query(Dataset)
    return dataset


def test_an_upload_is_registered(app: Flask, office: Browser, task_id: int) -> None:
    answer = office.post("/datasets", filled(task_id))
    with app.app_context():
        dataset = only()
        assert (answer.status_code, answer.location) == (303, f"/datasets/{dataset.id}")
        assert dataset.standing is Standing.WAITING
        assert dataset.requested_by is not None
        assert registering.step()
        db.session.refresh(dataset)
        assert (dataset.standing, dataset.image_count) == (Standing.REGISTERED, 8)


def test_a_folder_below_the_root_is_registered(
    app: Flask, office: Browser, task_id: int, tmp_path: Path
) -> None:
    datasets.write(tmp_path / "sets" / "drawn", ROWS)
    settings = app.config["FIRSTLOOK"]
    app.config["FIRSTLOOK"] = dataclasses.replace(settings, datasets_root=tmp_path)
    assert "sets/drawn" in office.get("/datasets").get_data(as_text=True)
    sent = filled(task_id, folder="sets/drawn", table="", archive="")
    assert office.post("/datasets", sent).status_code == 303
    with app.app_context():
        assert only().folder == str(tmp_path / "sets" / "drawn")
    sent = filled(task_id, folder="../elsewhere", table="", archive="")
    assert office.post("/datasets", sent).status_code == 422


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reading_task_id": ""}, "Choose the reading task."),
        ({"reading_task_id": "99999"}, "Not a valid choice."),
        ({"name": " "}, "This is needed."),
        ({"licence": ""}, "This is needed."),
        ({"name": "x" * 121}, "At most 120 characters."),
        ({"table": ""}, "Choose the table."),
        ({"archive": ""}, "Choose the archive."),
        ({"table": (io.BytesIO(bytes(20_000_001)), "m.csv")}, "larger than 20 MB"),
    ],
)
def test_what_is_missing_is_said(
    app: Flask, office: Browser, task_id: int, changes: dict[str, Any], sentence: str
) -> None:
    answer = office.post("/datasets", filled(task_id, **changes))
    assert answer.status_code == 422
    assert sentence in answer.get_data(as_text=True)
    with app.app_context():
        assert db.session.query(Dataset).count() == 0


def test_others_are_refused(turned_away: Callable[[str], None]) -> None:
    turned_away("/datasets")
