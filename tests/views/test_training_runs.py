"""`/training`: the runs of late."""

from flask import Flask

from tests import trainings
from tests.clinic import count_statements
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.training import services
from webapp.training.models import Trouble


def test_it_lists_what_was_asked_for(app: Flask, clinician: User, office: Browser) -> None:
    with app.app_context():
        trainings.run()
        running, waiting = trainings.claim(), trainings.run()
        services.note(claim=running, seen=trainings.seen(2))
    page = office.get("/training").text
    assert f"Training {running.run_id}" in page
    assert f"/training/{waiting.id}" in page
    assert "Running" in page
    assert "62\N{NO-BREAK SPACE}%" in page
    assert "Waiting for a trainer" in page
    assert "command line" in page


def test_it_says_so_where_nothing_was_trained(office: Browser) -> None:
    assert "Nothing was trained here yet" in office.get("/training").text


def test_a_page_takes_the_same_few_statements(app: Flask, clinician: User, office: Browser) -> None:
    with app.app_context():
        trainings.run()
        first = count_statements(lambda: office.get("/training"))
        for _ in range(3):
            run = trainings.run()
        services.fail(claim=trainings.claim(), trouble=Trouble.REFUSED, error=str(run.id))
        assert count_statements(lambda: office.get("/training")) <= first


def test_who_may_not_is_refused(nobody: Browser, desk: Browser) -> None:
    assert nobody.get("/training").location.startswith("/sign-in")
    assert desk.get("/training").status_code == 403
