"""GET /datasets/<id>/status."""

from pathlib import Path

import pytest
from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser
from webapp import queue
from webapp.datasets import services
from webapp.worker import registering


def test_it_asks_for_itself_until_the_data_set_is_checked(
    app: Flask,
    office: Browser,
    nobody: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    with app.app_context():
        number = services.register(
            actor=None,
            reading_task=clinic.serve().reading_task,
            name="drawn",
            licence="CC0 1.0",
            files=datasets.write(tmp_path / "drawn", datasets.rows(("calm", "grave"))),
        ).id
    answer = office.get(f"/datasets/{number}/status")
    assert answer.headers["Cache-Control"] == "no-store"
    assert f'hx-get="/datasets/{number}/status"' in answer.get_data(as_text=True)
    assert "Waits to be checked" in answer.get_data(as_text=True)
    with app.app_context():
        assert registering.step()
    page = office.get(f"/datasets/{number}/status").get_data(as_text=True)
    assert "hx-get" not in page
    assert "Registered" in page
    assert nobody.get(f"/datasets/{number}/status").status_code == 401
    assert office.get("/datasets/999999/status").status_code == 404
