"""`POST /training/<run_id>/retry`: a run that failed is taken up again."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import trainings
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.assessments.models import State
from webapp.db import db
from webapp.training import services
from webapp.training.models import TrainingRun, Trouble


@pytest.fixture
def failed(app: Flask, clinician: User) -> int:
    """The number of a run for which memory did not do."""
    with app.app_context():
        run = trainings.run()
        services.fail(claim=trainings.claim(), trouble=Trouble.OUT_OF_MEMORY, error="for tests")
        return run.id


def test_it_waits_for_a_trainer_again(
    app: Flask, failed: int, office: Browser, record: Callable[..., list[Any]]
) -> None:
    answer = office.post(f"/training/{failed}/retry")
    assert (answer.status_code, answer.location) == (303, f"/training/{failed}")
    with app.app_context():
        run = db.session.get_one(TrainingRun, failed)
        assert (run.state, run.trouble) == (State.SCHEDULED, None)
    assert len(record("training.retried")) == 1
    office.post(f"/training/{failed}/retry")
    assert "has not failed" in office.get(f"/training/{failed}").text


def test_who_may_not_is_refused(
    app: Flask, failed: int, turned_away: Callable[[str], None]
) -> None:
    turned_away(f"/training/{failed}/retry")
    with app.app_context():
        assert db.session.get_one(TrainingRun, failed).state is State.FAILED


def test_one_that_does_not_exist_is_not_found(office: Browser) -> None:
    assert office.post("/training/99/retry").status_code == 404
