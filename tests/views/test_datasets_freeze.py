"""POST /snapshots."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser
from webapp.datasets.models import Snapshot
from webapp.db import db


@pytest.fixture
def numbers(app: Flask, tmp_path: Path) -> tuple[int, int]:
    """Of a reading task, and of a data set registered for it."""
    with app.app_context():
        task = clinic.serve().reading_task
        rows = datasets.rows(("calm", "grave"))
        return task.id, datasets.register(task, datasets.write(tmp_path / "drawn", rows)).id


def test_what_there_is_is_frozen(app: Flask, office: Browser, numbers: tuple[int, int]) -> None:
    task_id, dataset_id = numbers
    sent = {"reading_task_id": str(task_id), "dataset_id": str(dataset_id), "note": "first"}
    answer = office.post("/snapshots", sent)
    with app.app_context():
        (snapshot,) = db.session.query(Snapshot)
        assert (answer.status_code, answer.location) == (303, f"/snapshots/{snapshot.id}")
        assert (snapshot.dataset_id, snapshot.note) == (dataset_id, "first")
        assert not snapshot.includes_agreement
        assert snapshot.created_by is not None
    office.post("/snapshots", sent | {"includes_agreement": "y"})
    with app.app_context():
        assert db.session.query(Snapshot).order_by(Snapshot.id.desc()).first().includes_agreement


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reading_task_id": ""}, "Choose the reading task."),
        ({"dataset_id": "99999"}, "Not a valid choice."),
        ({"dataset_id": ""}, "There is nothing to learn from"),
        ({"note": "x" * 4001}, "At most 4000 characters."),
        ({"reading_task_id": "other"}, "for another reading task"),
    ],
)
def test_what_stands_against_it_is_said(
    app: Flask,
    office: Browser,
    numbers: tuple[int, int],
    changes: dict[str, str],
    sentence: str,
) -> None:
    with app.app_context():
        other = clinic.serve(task="other-task").reading_task_id
    changes = {name: str(other) if text == "other" else text for name, text in changes.items()}
    sent = {"reading_task_id": str(numbers[0]), "dataset_id": str(numbers[1])} | changes
    answer = office.post("/snapshots", sent)
    assert answer.status_code == 422
    assert sentence in answer.get_data(as_text=True)
    with app.app_context():
        assert db.session.query(Snapshot).count() == 0


def test_others_are_refused(turned_away: Callable[[str], None]) -> None:
    turned_away("/snapshots")
