from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import imports
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.imports.models import Import


@pytest.fixture
def begun(app: Flask, clinician: User) -> Import:
    with app.app_context():
        return imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}])


def test_it_asks_again_until_there_is_something_to_decide(
    app: Flask,
    desk: Browser,
    begun: Import,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    path = f"/imports/{begun.id}/status"
    answer = desk.get(path)
    assert answer.headers["Cache-Control"] == "no-store"
    assert f'hx-get="{path}"' in answer.get_data(as_text=True)
    assert record("import.opened") == []
    with app.app_context():
        imports.work()
    page = desk.get(path).get_data(as_text=True)
    assert "hx-get" not in page
    assert "File 1 case" in page
    assert len(record("import.opened")) == 1


def test_who_is_not_signed_in_is_told(nobody: Browser, begun: Import) -> None:
    assert nobody.get(f"/imports/{begun.id}/status").status_code == 401


def test_an_administrator_may_not(office: Browser, begun: Import) -> None:
    assert office.get(f"/imports/{begun.id}/status").status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, begun: Import) -> None:
    assert stranger.get(f"/imports/{begun.id}/status").status_code == 404
