"""POST /changes/<reading_task_id>/rollback: the version before, at once."""

import time
from collections.abc import Callable

import pytest
from flask import Flask

from tests import clinic, promotions
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.assessments.queries import current_assessment
from webapp.db import db
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion


@pytest.fixture
def promoted(
    app: Flask, administrator: User, approver: User, candidate: ModelVersion
) -> ModelVersion:
    with app.app_context():
        promotions.promoted(administrator, approver, candidate)
    return candidate


def test_it_is_one_click_for_either(
    app: Flask, office: Browser, clinician: User, promoted: ModelVersion
) -> None:
    page = office.get("/changes/1").text
    assert "Roll back to version 1.0.0" in page
    began = time.monotonic()
    answer = office.post("/changes/1/rollback", {"shown": str(promoted.id)})
    assert time.monotonic() - began < 10
    assert (answer.status_code, answer.location) == (303, "/changes/1")
    page = office.get("/changes/1").text
    assert "Version 1.0.0 serves again." in page
    assert "Rolled back to" in page
    with app.app_context():
        case = clinic.send(clinician)
        assert current_assessment(case).model_version.version == "1.0.0"


def test_an_approver_may_too_and_pressing_twice_does_nothing_more(
    app: Flask, approval: Browser, promoted: ModelVersion
) -> None:
    path, form = "/changes/1/rollback", {"shown": str(promoted.id)}
    assert approval.post(path, form).status_code == 303
    again = approval.post(path, form)
    assert again.status_code == 409
    assert "Another version serves by now" in again.text
    assert approval.post(path, {"shown": "1"}).status_code == 409  # nothing before it
    with app.app_context():
        assert champion(1).version == "1.0.0"
        db.session.remove()


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away("/changes/1/rollback")
