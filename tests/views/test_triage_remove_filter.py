from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.db import db
from webapp.triage import services
from webapp.triage.models import SavedFilter


@pytest.fixture
def path(app: Flask, clinician: User) -> str:
    """Where filters of the clinician's are removed."""
    with app.app_context():
        saved = services.save_filter(actor=clinician, name="Mine", arguments={"state": "failed"})
        return f"/cases/filters/{saved.id}/remove"


def count(app: Flask) -> int:
    with app.app_context():
        return db.session.query(SavedFilter).count()


def test_it_is_gone(
    app: Flask, desk: Browser, path: str, record: Callable[..., list[dict[str, Any]]]
) -> None:
    assert f'action="{path}"' in desk.get("/cases").get_data(as_text=True)
    answer = desk.post(path)
    assert (answer.status_code, answer.location) == (303, "/cases")
    assert count(app) == 0
    assert len(record("filter.removed")) == 1
    assert desk.post(path).status_code == 404


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, path: str) -> None:
    assert nobody.post(path).location.startswith("/sign-in")
    assert count(app) == 1


def test_an_administrator_may_not(app: Flask, office: Browser, path: str) -> None:
    assert office.post(path).status_code == 403
    assert count(app) == 1


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, path: str) -> None:
    assert stranger.post(path).status_code == 404
    assert count(app) == 1


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, path: str) -> None:
    assert desk.client.post(path).status_code == 400
    assert count(app) == 1
