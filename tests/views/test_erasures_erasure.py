"""GET /erasures/<erasure_id>: what was removed of somebody, and what is still to be."""

from flask import Flask

from tests.conftest import Browser
from webapp.cases.models import Case, Patient
from webapp.db import db, transaction
from webapp.erasures.models import Cause
from webapp.erasures.services import erase


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


def test_nobody_else_may_and_another_is_not_there(
    nobody: Browser, desk: Browser, office: Browser
) -> None:
    assert nobody.get("/erasures/1").location == "/sign-in?next=/erasures/1"
    assert desk.get("/erasures/1").status_code == 403
    assert office.get("/erasures/1").status_code == 404
