from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import imports
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.db import db
from webapp.imports.models import Import, ImportState


@pytest.fixture
def subject(app: Flask, clinician: User) -> Import:
    with app.app_context():
        return imports.checked(clinician, [{"file": "a.png", "identifier": "I-1"}])


def state(app: Flask) -> ImportState:
    with app.app_context():
        return db.session.scalars(sa.select(Import.state)).one()


def test_nothing_of_it_is_kept(
    app: Flask, desk: Browser, subject: Import, record: Callable[..., list[dict[str, Any]]]
) -> None:
    answer = desk.post(f"/imports/{subject.id}/cancel")
    assert (answer.status_code, answer.location) == (303, "/imports")
    assert "Nothing of it is kept." in desk.get("/imports").get_data(as_text=True)
    page = desk.get(f"/imports/{subject.id}").get_data(as_text=True)
    assert "I-1" not in page
    assert len(record("import.cancelled")) == 1


def test_what_is_being_filed_is_not_cancelled(app: Flask, desk: Browser, subject: Import) -> None:
    desk.post(f"/imports/{subject.id}/confirm")
    answer = desk.post(f"/imports/{subject.id}/cancel")
    assert "too late" in desk.get(answer.location).get_data(as_text=True)
    assert state(app) is ImportState.FILING


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, subject: Import) -> None:
    assert nobody.post(f"/imports/{subject.id}/cancel").location.startswith("/sign-in")
    assert state(app) is ImportState.CHECKED


def test_an_administrator_may_not(app: Flask, office: Browser, subject: Import) -> None:
    assert office.post(f"/imports/{subject.id}/cancel").status_code == 403
    assert state(app) is ImportState.CHECKED


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, subject: Import) -> None:
    assert stranger.post(f"/imports/{subject.id}/cancel").status_code == 404
    assert state(app) is ImportState.CHECKED


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, subject: Import) -> None:
    assert desk.client.post(f"/imports/{subject.id}/cancel").status_code == 400
    assert state(app) is ImportState.CHECKED
