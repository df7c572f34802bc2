"""POST /patients/<id>/consent."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts.models import Site
from webapp.cases.models import Case
from webapp.db import db
from webapp.permissions import Role


def test_what_a_patient_said_is_on_record(
    desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    path = f"/patients/{case.patient_id}"
    page = desk.get(path).get_data(as_text=True)
    assert "Not asked" in page
    assert 'value="given"' in page
    answer = desk.post(f"{path}/consent", {"consent": "given", "shown": "not_asked"})
    assert (answer.status_code, answer.location) == (303, path)
    page = desk.get(path).get_data(as_text=True)
    assert "What the patient said is on record." in page
    assert "The patient withdraws consent" in page
    assert 'name="consent" value="given"' not in page
    (event,) = record("patient.consent_recorded")
    assert (event["subject"], event["detail"]) == (
        ("Patient", case.patient_id),
        {"consent": "given"},
    )


def test_of_a_stale_page_both_versions_are_shown(
    desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    path = f"/patients/{case.patient_id}/consent"
    desk.post(path, {"consent": "withdrawn", "shown": "not_asked"})
    answer = desk.post(path, {"consent": "given", "shown": "not_asked"})
    assert answer.status_code == 409
    assert "On record now: Refused or withdrawn. You chose: Given." in answer.text
    assert len(record("patient.consent_recorded")) == 1
    # The page is as a fresh one: what was chosen can be chosen again, now knowingly.
    form = answer.text.split(f'action="{path}"')[1].split("</form>")[0]
    assert 'name="shown" value="withdrawn"' in form
    assert re.findall(r'name="consent" value="(\w+)"', form) == ["given"]
    correction = answer.text.split(f'action="/patients/{case.patient_id}"')[1].split("</form>")[0]
    assert re.search(r'name="birth_year"[^>]* value="1980"', correction)
    assert re.search(r'name="shown"[^>]* value="1980 unknown"', correction)
    assert desk.post(path, {"consent": "given", "shown": "withdrawn"}).status_code == 303
    assert [event["detail"]["consent"] for event in record("patient.consent_recorded")] == [
        "withdrawn",
        "given",
    ]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"consent": "given"}, "Load this page again"),
        ({"consent": "not_asked", "shown": "given"}, "Say whether the patient consents."),
        ({"consent": "x", "shown": "not_asked"}, "Say whether the patient consents."),
    ],
)
def test_what_is_no_answer_is_refused(
    desk: Browser, case: Case, sent: dict[str, str], sentence: str
) -> None:
    answer = desk.post(f"/patients/{case.patient_id}/consent", sent)
    assert answer.status_code == 422
    assert sentence in answer.get_data(as_text=True)


def test_others_are_refused(
    app: Flask,
    desk: Browser,
    stranger: Browser,
    nobody: Browser,
    office: Browser,
    case: Case,
    people: People,
    browse: Callable[[], Browser],
) -> None:
    path = f"/patients/{case.patient_id}/consent"
    with app.app_context():
        site = db.session.get_one(Site, case.site_id)
        reader = browse().sign_in(people.user(Role.REVIEWER, sites=[site]))
    sent = {"consent": "given", "shown": "not_asked"}
    assert nobody.post(path, sent).location == "/sign-in"
    assert office.post(path, sent).status_code == 403
    assert reader.post(path, sent).status_code == 403
    assert stranger.post(path, sent).status_code == 404
    assert desk.client.post(path, data=sent).status_code == 400
    assert "Not asked" in desk.get(f"/patients/{case.patient_id}").get_data(as_text=True)
