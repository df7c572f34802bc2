"""`/training/<run_id>/status`: the part of a run's page that changes by itself."""

from flask import Flask

from tests import trainings
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.training import services


def test_it_is_a_part_that_asks_for_itself_while_the_run_goes_on(
    app: Flask, clinician: User, office: Browser
) -> None:
    with app.app_context():
        run = trainings.run()
    waiting = office.get(f"/training/{run.id}/status")
    assert waiting.headers["Cache-Control"] == "no-store"
    assert "<html" not in waiting.text
    assert "Waiting for a trainer" in waiting.text
    with app.app_context():
        claim = trainings.claim()
        services.note(claim=claim, seen=trainings.seen(stage="preparing"))
    running = office.get(f"/training/{run.id}/status").text
    assert 'data-announce="Running: The pictures of the snapshot are put together"' in running
    assert 'hx-trigger="every 2s"' in running
    with app.app_context():
        services.cancel(actor=None, run=run)
    assert "Being cancelled" in office.get(f"/training/{run.id}/status").text
    with app.app_context():
        services.put_back(claim=claim)
    assert "hx-trigger" not in office.get(f"/training/{run.id}/status").text


def test_who_may_not_is_refused(
    app: Flask, nobody: Browser, desk: Browser, office: Browser
) -> None:
    with app.app_context():
        run = trainings.run()
    assert nobody.get(f"/training/{run.id}/status").status_code == 401
    assert desk.get(f"/training/{run.id}/status").status_code == 403
    assert office.get("/training/99/status").status_code == 404
