"""GET /snapshots/<id>/manifest.csv."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser
from webapp.datasets import services
from webapp.datasets.gathering import COLUMNS


def test_the_table_is_taken_out_as_it_was_frozen(
    app: Flask,
    office: Browser,
    nobody: Browser,
    tmp_path: Path,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        task = clinic.serve().reading_task
        rows = datasets.rows(("calm", "grave"))
        base = datasets.register(task, datasets.write(tmp_path / "drawn", rows))
        snapshot = services.freeze(actor=None, reading_task=task, dataset=base)
        number, expected = snapshot.id, snapshot.manifest_sha256
    path = f"/snapshots/{number}/manifest.csv"
    assert nobody.get(path).location == f"/sign-in?next={path}"
    answer = office.get(path)
    assert answer.content_type == "text/csv; charset=utf-8"
    assert f"snapshot-{number}.csv" in answer.headers["Content-Disposition"]
    assert datasets.sha256(answer.data) == expected
    assert tuple(next(csv.reader(io.StringIO(answer.get_data(as_text=True))))) == COLUMNS
    (event,) = record("snapshot.exported")
    assert event["subject"] == ("Snapshot", number)
