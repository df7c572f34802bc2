from collections.abc import Callable
from typing import Any

from flask import Flask

from tests.conftest import Browser
from webapp.accounts.models import Site
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import AssessedImage, Failure
from webapp.cases.models import Case
from webapp.db import db
from webapp.explanations import services
from webapp.explanations.models import Explanation
from webapp.registry.models import ModelVersion

Explain = Callable[..., Explanation]


def path(explanation: Explanation) -> str:
    return f"/explanations/{explanation.id}/status"


def test_it_goes_on_until_the_map_is_there_and_says_what_the_metadata_changed(
    desk: Browser, explain: Explain
) -> None:
    explanation = explain(is_made=False)
    fragment = desk.get(path(explanation))
    assert (fragment.status_code, fragment.headers["Cache-Control"]) == (200, "no-store")
    assert "hx-trigger" in fragment.get_data(as_text=True)
    explain()
    text = desk.get(path(explanation)).get_data(as_text=True)
    assert "hx-trigger" not in text
    assert f'src="/explanations/{explanation.id}/heat-map"' in text
    assert "Without the age, Grave would be 12 points lower." in text
    assert "Without the sex, Grave would be 1 point higher." in text
    assert "Without the body site, Grave would be as probable." in text


def test_it_says_what_the_image_alone_would_have_said(
    app: Flask, desk: Browser, explain: Explain
) -> None:
    explanation = explain()
    said = {"version": "0.9.0", "probability": 0.4, "names": ["calm"], "abstained": False}
    for changes, words in (({}, "It names: Calm."), ({"abstained": True}, "hold its answer back")):
        with app.app_context():
            db.session.get_one(Explanation, explanation.id).image_only = said | changes
            db.session.commit()
        text = desk.get(path(explanation)).get_data(as_text=True)
        assert "site, version 0.9.0 says: Grave 40\N{NO-BREAK SPACE}%." in text
        assert words in text


def test_that_there_is_no_map_is_said(desk: Browser, explain: Explain) -> None:
    text = desk.get(path(explain(heat_map=b""))).get_data(as_text=True)
    assert "There is no heat map" in text
    assert "<img" not in text


def test_that_it_could_not_be_made_is_said(
    app: Flask, desk: Browser, explain: Explain, read: AssessedImage
) -> None:
    explanation = explain(is_made=False)
    with app.app_context():
        bundles = [version.bundle_sha256 for version in db.session.query(ModelVersion)]
        claim = services.claim(worker="t", bundle_sha256s=bundles, lease_seconds=60)
        attempt = FailedAttempt("torn", Failure.UNREADABLE_IMAGE)
        assert services.KIND.fail_attempt(claim.explanation_id, claim.lease_token, attempt)
    text = desk.get(path(explanation)).get_data(as_text=True)
    assert "could not be made" in text
    assert "hx-trigger" not in text
    page = desk.get(f"/cases/{read.assessment.case_id}").get_data(as_text=True)
    assert f'value="{read.finding_id}" selected' in page  # it is offered again


def test_before_an_own_impression_it_is_not_there(
    app: Flask, desk: Browser, case: Case, explain: Explain
) -> None:
    at = path(explain())
    with app.app_context():
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    assert desk.get(at).status_code == 404
    sent = desk.post(f"/cases/{case.id}/impression", {"impression": "uncertain"})
    assert sent.status_code == 303
    assert desk.get(at).status_code == 200


def test_it_leaves_no_record(
    desk: Browser, explain: Explain, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(path(explain()))
    assert record("explanation.opened", "case.opened") == []


def test_who_is_not_signed_in_is_told_and_not_redirected(nobody: Browser, explain: Explain) -> None:
    assert nobody.get(path(explain())).status_code == 401


def test_an_administrator_sees_no_patients(office: Browser, explain: Explain) -> None:
    assert office.get(path(explain())).status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, explain: Explain) -> None:
    assert stranger.get(path(explain())).status_code == 404
