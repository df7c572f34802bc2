"""`POST /training/<run_id>/cancel`: a run is ended."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import trainings
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.assessments.models import State
from webapp.db import db
from webapp.training.models import TrainingRun


def test_a_run_that_waits_is_ended_at_once(
    app: Flask, clinician: User, office: Browser, record: Callable[..., list[Any]]
) -> None:
    with app.app_context():
        run = trainings.run()
    answer = office.post(f"/training/{run.id}/cancel")
    assert (answer.status_code, answer.location) == (303, f"/training/{run.id}")
    with app.app_context():
        assert db.session.get_one(TrainingRun, run.id).state is State.CANCELLED
    assert len(record("training.cancelled")) == 1
    office.post(f"/training/{run.id}/cancel")
    assert "is over already" in office.get(f"/training/{run.id}").text


def test_who_may_not_is_refused(
    app: Flask, clinician: User, turned_away: Callable[[str], None]
) -> None:
    with app.app_context():
        run = trainings.run()
    turned_away(f"/training/{run.id}/cancel")
    with app.app_context():
        assert db.session.get_one(TrainingRun, run.id).state is State.SCHEDULED


def test_one_that_does_not_exist_is_not_found(office: Browser) -> None:
    assert office.post("/training/99/cancel").status_code == 404
