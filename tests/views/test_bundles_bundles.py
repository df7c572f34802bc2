"""GET /bundles, and the part of it that changes by itself."""

import pytest
from flask import Flask

from tests.conftest import Browser
from tests.factories import serving_model
from webapp import queue
from webapp.accounts.models import User
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.bundles import services
from webapp.bundles.services import Claim
from webapp.db import db

STATUS = "/bundles/1/status"


@pytest.fixture
def claim(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A bundle is being installed."""
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    with app.app_context():
        services.request(actor=None, archive=b"an archive", file_name="<model>.zip")
        taken = services.claim(worker="test", lease_seconds=60)
        assert taken is not None
        return taken


def test_it_tells_what_became_of_a_bundle(app: Flask, office: Browser, claim: Claim) -> None:
    page = office.get("/bundles").text
    assert "Being verified and tested" in page
    assert "&lt;model&gt;.zip, command line" in page
    assert f'hx-get="{STATUS}"' in page
    assert "htmx.min.js" in page
    with app.app_context():
        version = serving_model()
        services.complete(claim=claim, version=version)
    part = office.get(STATUS).text
    assert "Installed" in part
    assert f'href="/models/{version.id}"' in part
    assert "hx-get" not in part


def test_it_tells_why_one_was_refused(app: Flask, office: Browser, claim: Claim) -> None:
    problems = [
        {"reason": "not_stated", "name": "licence"},
        {"reason": "not_a_bundle", "sentence": "model.safetensors was <edited>"},
        {"reason": "self_test"},
    ]
    with app.app_context():
        services.refuse(claim=claim, problems=problems)
    part = office.get(STATUS).text
    assert "Refused" in part
    assert "not in the right form: licence." in part
    assert "model.safetensors was &lt;edited&gt;." in part
    assert "does not give the answers that it states" in part


def test_it_tells_that_one_failed(
    app: Flask, office: Browser, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.assessments.leases.MAX_ATTEMPTS", 1)
    with app.app_context():
        attempt = FailedAttempt("MemoryError: ", Failure.UNEXPECTED)
        services.KIND.fail_attempt(claim.installation_id, claim.lease_token, attempt)
        db.session.remove()
    part = office.get(STATUS).text
    assert "Failed" in part
    assert "MemoryError" in part


def test_at_first_there_is_nothing(office: Browser) -> None:
    assert "No bundle was sent yet." in office.get("/bundles").text


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/bundles").location == "/sign-in?next=/bundles"


def test_a_clinician_may_not(clinician: User, desk: Browser) -> None:
    assert desk.get("/bundles").status_code == 403
