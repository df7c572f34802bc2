from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import imports
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.db import db
from webapp.imports.models import Import, ImportState


@pytest.fixture
def subject(app: Flask, clinician: User) -> Import:
    with app.app_context():
        return imports.checked(clinician, [{"file": "a.png", "identifier": "I-1"}])


def state(app: Flask) -> ImportState:
    with app.app_context():
        return db.session.scalars(sa.select(Import.state)).one()


def test_the_cases_are_filed(
    app: Flask,
    desk: Browser,
    subject: Import,
    clinician: User,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    answer = desk.post(f"/imports/{subject.id}/confirm")
    assert (answer.status_code, answer.location) == (303, f"/imports/{subject.id}")
    assert state(app) is ImportState.FILING
    with app.app_context():
        imports.work()
        case_id = db.session.scalars(sa.select(Case.id)).one()
    page = desk.get(answer.location).get_data(as_text=True)
    assert "1 case is filed." in page
    assert f'href="/cases/{case_id}"' in page
    (event,) = record("import.confirmed")
    assert (event["actor_id"], event["detail"]) == (clinician.id, {"ready_count": 1})


def test_a_second_press_changes_nothing(app: Flask, desk: Browser, subject: Import) -> None:
    desk.post(f"/imports/{subject.id}/confirm")
    answer = desk.post(f"/imports/{subject.id}/confirm")
    assert "does not wait" in desk.get(answer.location).get_data(as_text=True)
    assert state(app) is ImportState.FILING


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, subject: Import) -> None:
    assert nobody.post(f"/imports/{subject.id}/confirm").location.startswith("/sign-in")
    assert state(app) is ImportState.CHECKED


def test_an_administrator_may_not(app: Flask, office: Browser, subject: Import) -> None:
    assert office.post(f"/imports/{subject.id}/confirm").status_code == 403
    assert state(app) is ImportState.CHECKED


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, subject: Import) -> None:
    assert stranger.post(f"/imports/{subject.id}/confirm").status_code == 404
    assert state(app) is ImportState.CHECKED


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, subject: Import) -> None:
    assert desk.client.post(f"/imports/{subject.id}/confirm").status_code == 400
    assert state(app) is ImportState.CHECKED
