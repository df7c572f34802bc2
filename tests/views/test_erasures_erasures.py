"""GET /erasures and /erasures/<erasure_id>: who may look, and what they are shown at first."""

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.cases.models import Case, Patient
from webapp.db import db, transaction
from webapp.erasures.models import Cause
from webapp.erasures.services import erase


def test_it_begins_with_nobody(app: Flask, office: Browser) -> None:
    page = office.get("/erasures").text
    assert "Nobody was erased yet." in page
    assert "erased by themselves" not in page
    assert office.get("/erasures/1").status_code == 404


def test_one_that_is_not_done_says_so(app: Flask, office: Browser, case: Case) -> None:
    with app.app_context():
        patient = db.session.get_one(Patient, case.patient_id)
        erasure = erase(actor=None, patient=patient, reason="365 days", cause=Cause.RETENTION)
        with transaction():
            erasure.blobs_left = ["a" * 64]
    page = office.get(f"/erasures/{erasure.id}").text
    assert "Not done yet" in page
    assert "1 picture is still in the store" in page
    assert "The time for which cases are kept is over" in page


@pytest.mark.parametrize("path", ["/erasures", "/erasures/1"])
def test_nobody_else_may(nobody: Browser, clinician: User, desk: Browser, path: str) -> None:
    assert nobody.get(path).location == f"/sign-in?next={path}"
    assert desk.get(path).status_code == 403
