"""GET /datasets."""

from pathlib import Path

import pytest
from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser


def test_it_shows_what_is_registered_and_what_models_are_compared_on(
    app: Flask, office: Browser, tmp_path: Path
) -> None:
    with app.app_context():
        task = clinic.serve().reading_task
        hashes = [datasets.sha256(datasets.drawn(f"calm/{number}.png")) for number in (0, 1)]
        datasets.lock(task, dict.fromkeys(hashes, "test"), {})
        folder = datasets.write(tmp_path / "drawn", datasets.rows(("calm", "grave")))
        number = datasets.register(task, folder, licence="CC BY 4.0").id
    page = office.get("/datasets").get_data(as_text=True)
    for part in (f'href="/datasets/{number}"', "drawn", "Registered", "CC BY 4.0", "Complete"):
        assert part in page, part
    assert "There is nothing to train on yet" not in page


@pytest.mark.parametrize(
    ("locks", "said"), [(False, "There is none"), (True, "Not registered")], ids=str
)
def test_an_empty_page_says_what_is_missing_and_how_to_get_it(
    app: Flask, office: Browser, locks: bool, said: str
) -> None:
    with app.app_context():
        task = clinic.serve().reading_task
        if locks:
            datasets.lock(task, {"a" * 64: "test"}, {})
    page = office.get("/datasets").get_data(as_text=True)
    assert "There is nothing to train on yet" in page
    assert ".venv/bin/flask dataset register PREPARED" in page
    assert said in page
    assert "DATASETS_ROOT" in page


def test_without_a_model_there_is_nothing_to_register_for(office: Browser, nobody: Browser) -> None:
    page = office.get("/datasets").get_data(as_text=True)
    assert "install a model first" in page
    assert 'action="/datasets"' not in page
    assert nobody.get("/datasets").location == "/sign-in?next=/datasets"
