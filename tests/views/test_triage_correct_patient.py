import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from pypdf import PdfReader

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.assessments.models import Assessment
from webapp.cases.models import Case, Patient, Sex
from webapp.db import db, now

GOOD = {"birth_year": "1990", "sex": "female", "shown": "1980 unknown"}


def shown(page: str) -> str:
    (value,) = re.findall(r'<input[^>]*name="shown"[^>]*value="([^"]* [^"]*)"', page)
    return str(value)


def said(desk: Browser, case: Case) -> str:
    """What the page says once the form was sent."""
    return str(desk.get(f"/patients/{case.patient_id}").get_data(as_text=True))


def on_record(app: Flask, case: Case) -> tuple[int | None, Sex]:
    with app.app_context():
        patient = db.session.get_one(Patient, case.patient_id)
        return patient.birth_year, patient.sex


def test_it_changes_what_is_on_record(
    app: Flask, desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    answer = desk.post(f"/patients/{case.patient_id}", GOOD)
    assert (answer.status_code, answer.location) == (303, f"/patients/{case.patient_id}")
    assert on_record(app, case) == (1990, Sex.FEMALE)
    assert len(record("patient.corrected")) == 1


def test_what_was_read_with_other_values_is_read_anew(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        clinic.read(case)
    desk.post(f"/patients/{case.patient_id}", GOOD)
    with app.app_context():
        old, new = db.session.query(Assessment).order_by(Assessment.id)
        assert old.superseded_at is not None
        assert old.metadata_fed["raw"]["sex"] is None
        assert new.metadata_fed["raw"]["sex"] == "female"


def test_it_says_how_many_cases_are_read_again(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    desk.post(f"/patients/{case.patient_id}", GOOD)
    assert "on record. 1 case is read again." in said(desk, case)
    with app.app_context():
        clinic.send(clinician, identifier="A-1")
    again = {"birth_year": "1991", "sex": "male", "shown": "1990 female"}
    desk.post(f"/patients/{case.patient_id}", again)
    assert "on record. 2 cases are read again." in said(desk, case)


def test_it_says_why_answers_stand(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        clinic.serve(encoding_version="none")
        clinic.read(case)
    desk.post(f"/patients/{case.patient_id}", GOOD)
    page = said(desk, case)
    assert "on record. The answers stand: the model reads the image only." in page
    assert "read again" not in page


def test_it_says_nothing_of_answers_that_it_does_not_touch(desk: Browser, case: Case) -> None:
    desk.post(f"/patients/{case.patient_id}", GOOD | {"birth_year": "1980", "sex": "unknown"})
    page = said(desk, case)
    assert "particulars are on record." in page
    assert "read again" not in page
    assert "answers stand" not in page


def test_a_birth_year_can_be_taken_away(app: Flask, desk: Browser, case: Case) -> None:
    desk.post(f"/patients/{case.patient_id}", GOOD | {"birth_year": "", "sex": "unknown"})
    assert on_record(app, case) == (None, Sex.UNKNOWN)


@pytest.mark.parametrize(
    "bad",
    [
        {"birth_year": "next year"},
        {"birth_year": str(now().year + 1)},
        {"birth_year": "1066"},
        {"birth_year": "9" * 30},
        {"sex": "x"},
        {"shown": ""},
        {"shown": "x unknown"},
    ],
)
def test_what_cannot_be_is_said_on_the_form(
    app: Flask, desk: Browser, case: Case, bad: dict[str, str]
) -> None:
    answer = desk.post(f"/patients/{case.patient_id}", GOOD | bad)
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert "error-summary" in page
    assert bad.get("birth_year", "") in page
    assert on_record(app, case) == (1980, Sex.UNKNOWN)


def test_a_correction_from_a_stale_page_shows_both_versions_and_asks_again(
    app: Flask, desk: Browser, case: Case
) -> None:
    page = desk.get(f"/patients/{case.patient_id}").get_data(as_text=True)
    assert shown(page) == "1980 unknown"
    desk.post(f"/patients/{case.patient_id}", GOOD)
    stale = {"birth_year": "1980", "sex": "male", "shown": "1980 unknown"}
    answer = desk.post(f"/patients/{case.patient_id}", stale)
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    assert "On record now: born 1990, sex Female. You entered: born 1980, sex Male." in page
    assert on_record(app, case) == (1990, Sex.FEMALE)
    again = stale | {"shown": shown(page)}
    assert desk.post(f"/patients/{case.patient_id}", again).status_code == 303
    assert on_record(app, case) == (1980, Sex.MALE)


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, case: Case) -> None:
    assert nobody.post(f"/patients/{case.patient_id}", GOOD).location.startswith("/sign-in")
    assert on_record(app, case) == (1980, Sex.UNKNOWN)


def test_an_administrator_may_not(app: Flask, office: Browser, case: Case) -> None:
    assert office.post(f"/patients/{case.patient_id}", GOOD).status_code == 403
    assert on_record(app, case) == (1980, Sex.UNKNOWN)


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, case: Case) -> None:
    assert stranger.post(f"/patients/{case.patient_id}", GOOD).status_code == 404
    assert on_record(app, case) == (1980, Sex.UNKNOWN)


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, case: Case) -> None:
    assert desk.client.post(f"/patients/{case.patient_id}", data=GOOD).status_code == 400
    assert on_record(app, case) == (1980, Sex.UNKNOWN)


def sign(desk: Browser, case: Case, **said: str) -> None:
    """Say on the case's page that one is uncertain."""
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    form = page.partition(f'action="/cases/{case.id}/reviews"')[2].partition("</form>")[0]
    hidden = re.findall(r'<input name="(form_token|shown)" type="hidden" value="([^"]*)"', form)
    sent = dict(hidden) | {"decision": "uncertain"} | said
    assert desk.post(f"/cases/{case.id}/reviews", sent).status_code == 303


def report(desk: Browser, case: Case) -> str:
    (page,) = PdfReader(io.BytesIO(desk.get(f"/cases/{case.id}/report.pdf").data)).pages
    return " ".join(page.extract_text().split())


def test_a_signed_case_and_its_report_show_what_was_signed_and_what_was_corrected(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        clinic.read(case)
    sign(desk, case)
    desk.post(f"/patients/{case.patient_id}", GOOD)
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    head = page.partition('class="page-head__lead">')[2].partition("</p>")[0]
    correction = f"born 1980, sex Unknown → born 1990, sex Female, by {clinician.full_name},"
    assert "Sex unknown, born 1980" in head
    assert correction in page
    assert "signed when another birth year or sex was on record" in page
    assert correction in said(desk, case)
    assert "Born in 1980 Sex unknown" in report(desk, case)
    assert "Corrected since born 1990, sex Female" in report(desk, case)

    sign(desk, case, reason="corrected")
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    head = page.partition('class="page-head__lead">')[2].partition("</p>")[0]
    assert "Female, born 1990" in head
    assert correction in page
    assert "signed when another birth year or sex was on record" not in page
    assert "Born in 1990 Sex Female" in report(desk, case)
    assert "Corrected since" not in report(desk, case)
