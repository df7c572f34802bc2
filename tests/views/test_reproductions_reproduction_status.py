"""GET /reproductions/<reproduction_id>/status: how an answer compares with the one on record."""

import html
import re

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import Site, User
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import AssessedImage, Failure
from webapp.cases.models import Case
from webapp.db import db
from webapp.registry.models import ModelVersion
from webapp.reproductions import services

PATH = "/reproductions/1/status"


@pytest.fixture
def claim(app: Flask, clinician: User, read: AssessedImage) -> services.Claim:
    """What the model said of the case is being read again."""
    with app.app_context():
        services.request(actor=clinician, assessment=read.assessment)
        bundles = list(db.session.scalars(db.select(ModelVersion.bundle_sha256)))
        taken = services.claim(worker="test", bundle_sha256s=bundles, lease_seconds=60)
        assert taken is not None
        return taken


def words(page: str) -> str:
    plain = html.unescape(re.sub("<[^>]+>", " ", page.replace("\N{NO-BREAK SPACE}", " ")))
    return " ".join(plain.split())


def test_it_goes_on_while_it_is_open_and_then_says_that_it_is_the_same(
    app: Flask, desk: Browser, claim: services.Claim
) -> None:
    assert "hx-trigger" in desk.get(PATH).text
    with app.app_context():
        result = clinic.result(claim.reading, "grave")
        services.complete(claim=claim, result=result, tolerance=0.002)
    page = desk.get(PATH).text
    assert "hx-trigger" not in page
    said = words(page)
    assert "The same answer again" in said
    assert "by more than 0.20 points; the largest difference is 0.00." in said
    assert "Engine test test" in said
    assert "Code version test test" in said


def test_it_says_how_far_it_differs(app: Flask, desk: Browser, claim: services.Claim) -> None:
    with app.app_context():
        result = clinic.result(claim.reading, "calm")
        services.complete(claim=claim, result=result, tolerance=0.002)
    said = words(desk.get(PATH).text)
    assert "Not the same answer" in said
    assert "the largest difference is 85.00" in said
    assert "names another finding" in said
    assert "Grave 90 % (named) 5 %" in said
    assert "Calm 5 % 90 % (named)" in said


def test_a_missing_bundle_is_said_plainly(
    app: Flask, desk: Browser, claim: services.Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.assessments.leases.MAX_ATTEMPTS", 1)
    with app.app_context():
        attempt = FailedAttempt("gone from /srv", Failure.MISSING_BUNDLE)
        services.KIND.fail_attempt(claim.reproduction_id, claim.lease_token, attempt)
    said = words(desk.get(PATH).text)
    assert "could not be read again" in said
    assert "The model's files are missing" in said
    assert "/srv" not in said


def test_before_an_own_impression_it_is_not_there(
    app: Flask, desk: Browser, case: Case, claim: services.Claim
) -> None:
    with app.app_context():
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    assert desk.get(PATH).status_code == 404
    sent = desk.post(f"/cases/{case.id}/impression", {"impression": "uncertain"})
    assert sent.status_code == 303
    assert desk.get(PATH).status_code == 200


def test_who_is_not_signed_in_is_told_and_not_redirected(
    nobody: Browser, claim: services.Claim
) -> None:
    assert nobody.get(PATH).status_code == 401


def test_an_administrator_sees_no_patients(office: Browser, claim: services.Claim) -> None:
    assert office.get(PATH).status_code == 403


def test_what_is_of_others_is_not_there(
    stranger: Browser, desk: Browser, claim: services.Claim
) -> None:
    assert stranger.get(PATH).status_code == 404
    assert desk.get("/reproductions/99/status").status_code == 404
