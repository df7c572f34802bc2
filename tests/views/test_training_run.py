"""`/training/<run_id>`: one run, with its curves and its log."""

import pytest
from flask import Flask

from tests import clinic, trainings
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.training import services
from webapp.training.models import Trouble


@pytest.fixture
def claim(app: Flask, clinician: User) -> services.Claim:
    """A run that a trainer holds."""
    with app.app_context():
        trainings.run(overrides={"training.epochs": 6})
        return trainings.claim()


def test_it_shows_how_far_it_is(app: Flask, claim: services.Claim, office: Browser) -> None:
    with app.app_context():
        services.note(claim=claim, seen=trainings.seen(2))
    page = office.get(f"/training/{claim.run_id}").text
    assert "The network learns" in page
    assert "3 of 4" in page
    assert "90 seconds at most" in page
    assert "the log after 2 epochs" in page
    assert page.count('<polyline class="trend__line') == 5
    assert "AUC, epoch 2: 0.7" in page
    assert "AUC, epoch 1" not in page
    assert "<code>training.epochs</code> = <code>6</code>" in page
    assert f'hx-get="/training/{claim.run_id}/status"' in page


def test_a_failure_is_told_plainly(app: Flask, claim: services.Claim, office: Browser) -> None:
    with app.app_context():
        services.fail(claim=claim, trouble=Trouble.OUT_OF_MEMORY, error="cannot allocate")
    page = office.get(f"/training/{claim.run_id}").text
    assert "Memory ran out" in page
    assert "Nothing was registered." in page
    assert "cannot allocate" in page
    assert "Take it up again" in page
    assert "hx-get" not in page


def test_a_candidate_is_led_to(app: Flask, claim: services.Claim, office: Browser) -> None:
    with app.app_context():
        version = clinic.serve_newer("2.0.0")
        services.complete(claim=claim, version=version, engine="cpu", code_version="test")
    page = office.get(f"/training/{claim.run_id}").text
    assert f'href="/models/{version.id}"' in page
    assert "Cancel this training" not in page


def test_one_that_does_not_exist_is_not_found(office: Browser) -> None:
    assert office.get("/training/99").status_code == 404


def test_who_may_not_is_refused(nobody: Browser, desk: Browser, claim: services.Claim) -> None:
    assert nobody.get(f"/training/{claim.run_id}").location.startswith("/sign-in")
    assert desk.get(f"/training/{claim.run_id}").status_code == 403
