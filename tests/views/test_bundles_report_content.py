"""GET /models/<id>/report.json: the report of a version as it came with its bundle."""

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser

FIGURES = {"image_count": 3, "accuracy": {"value": 0.5, "interval": [0.1, 0.9]}}


@pytest.fixture
def path(app: Flask) -> str:
    with app.app_context():
        version = clinic.serve()
        clinic.bring_report(version, FIGURES)
        return f"/models/{version.id}/report.json"


def test_it_is_taken_out_as_it_came(desk: Browser, path: str) -> None:
    answer = desk.get(path)
    assert answer.get_json() == FIGURES
    assert 'filename="report-1.json"' in answer.headers["Content-Disposition"]


def test_without_one_there_is_none(app: Flask, desk: Browser) -> None:
    with app.app_context():
        number = clinic.serve().id
    assert desk.get(f"/models/{number}/report.json").status_code == 404
    assert desk.get("/models/999/report.json").status_code == 404


def test_who_is_not_signed_in_is_turned_away(nobody: Browser, path: str) -> None:
    assert nobody.get(path).location.startswith("/sign-in")
