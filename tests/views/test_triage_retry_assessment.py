from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import Site
from webapp.assessments.models import Assessment, State
from webapp.cases.models import Case
from webapp.db import db


@pytest.fixture
def failed(app: Flask, case: Case) -> Case:
    """A case whose reading has failed."""
    with app.app_context():
        clinic.fail(case)
    return case


def state(app: Flask) -> State:
    with app.app_context():
        return db.session.query(Assessment).one().state


def test_it_is_read_again(
    app: Flask, desk: Browser, failed: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    page = desk.get(f"/cases/{failed.id}").get_data(as_text=True)
    assert f'action="/cases/{failed.id}/retry"' in page
    answer = desk.post(f"/cases/{failed.id}/retry")
    assert (answer.status_code, answer.location) == (303, f"/cases/{failed.id}")
    assert state(app) is State.SCHEDULED
    assert len(record("assessment.retried")) == 1


def test_a_second_press_changes_nothing(
    app: Flask, desk: Browser, failed: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.post(f"/cases/{failed.id}/retry")
    answer = desk.post(f"/cases/{failed.id}/retry", follow_redirects=True)
    assert answer.status_code == 200
    assert "has not failed" in answer.get_data(as_text=True)
    assert len(record("assessment.retried")) == 1


def test_what_was_read_is_not_read_again(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        clinic.read(case)
    desk.post(f"/cases/{case.id}/retry")
    assert state(app) is State.COMPLETED


def test_where_an_own_impression_comes_first_it_tells_nothing(
    app: Flask, desk: Browser, failed: Case
) -> None:
    with app.app_context():
        db.session.get_one(Site, failed.site_id).own_impression_first = True
        db.session.commit()
    answer = desk.post(f"/cases/{failed.id}/retry", follow_redirects=True)
    assert "Save your own impression of this case first." in answer.text
    assert state(app) is State.FAILED


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, failed: Case) -> None:
    assert nobody.post(f"/cases/{failed.id}/retry").location.startswith("/sign-in")
    assert state(app) is State.FAILED


def test_an_administrator_may_not(app: Flask, office: Browser, failed: Case) -> None:
    assert office.post(f"/cases/{failed.id}/retry").status_code == 403
    assert state(app) is State.FAILED


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, failed: Case) -> None:
    assert stranger.post(f"/cases/{failed.id}/retry").status_code == 404
    assert state(app) is State.FAILED


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, failed: Case) -> None:
    assert desk.client.post(f"/cases/{failed.id}/retry").status_code == 400
    assert state(app) is State.FAILED
