"""GET /snapshots."""

from pathlib import Path

from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser
from webapp.datasets import services


def test_it_lists_what_was_frozen(app: Flask, office: Browser, tmp_path: Path) -> None:
    with app.app_context():
        task = clinic.serve().reading_task
        rows = datasets.rows(("calm", "grave"))
        base = datasets.register(task, datasets.write(tmp_path / "drawn", rows))
        number = services.freeze(actor=None, reading_task=task, dataset=base).id
    page = office.get("/snapshots").get_data(as_text=True)
    assert f'href="/snapshots/{number}"' in page
    assert "drawn (Test-Task)" in page
    assert "Nothing is frozen yet" not in page


def test_an_empty_page_says_what_is_missing(office: Browser, nobody: Browser) -> None:
    page = office.get("/snapshots").get_data(as_text=True)
    assert "Nothing is frozen yet" in page
    assert "whether the patient consents" in page
    assert 'href="/datasets"' in page
    assert nobody.get("/snapshots").location == "/sign-in?next=/snapshots"
