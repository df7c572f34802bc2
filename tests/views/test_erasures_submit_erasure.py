"""POST /erasures: an administrator erases a patient by what the site calls them."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic, trainings
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.cases.models import Case, Patient
from webapp.db import db

PATH = "/erasures"


def send(browser: Browser, case: Case, **changes: Any) -> Any:
    filled = {
        "site_id": case.site_id,
        "identifier": "A-1",
        "again": " A-1 ",
        "reason": "asked by letter",
    }
    return browser.post(PATH, filled | changes)


def test_a_patient_is_erased_and_what_remains_is_shown(
    app: Flask, office: Browser, desk: Browser, case: Case
) -> None:
    answer = send(office, case)
    assert answer.status_code == 303
    page = office.get(answer.location).text
    assert f"Patient {case.patient_id} is erased" in page
    assert "asked by letter" in page
    assert "Done" in page
    assert "A-1" not in page
    assert f"Patient {case.patient_id}" in office.get(PATH).text
    with app.app_context():
        (event,) = clinic.recorded("patient.erased")
        assert event.subject_id == case.patient_id
    said = desk.get(f"/patients/{case.patient_id}").text
    assert "This patient was erased" in said
    assert "New case</a>" not in said.partition("<main")[2]
    assert "The patient consents" not in said
    consent = {"consent": "given", "shown": "not_asked"}
    assert desk.post(f"/patients/{case.patient_id}/consent", consent).status_code == 404
    shown = desk.get(f"/cases/{case.id}").text
    assert "This patient was erased" in shown
    assert "a note" not in shown
    image = case.images[0].id
    for path in (f"/images/{image}", f"/images/{image}/thumbnail"):
        assert desk.get(path).content_type.startswith("image/svg+xml")
    assert desk.get("/cases?show=all").status_code == 200
    report = desk.get(f"/cases/{case.id}/report.pdf")
    assert report.status_code == 200


def test_the_models_that_may_have_learnt_from_the_patient_are_listed(
    app: Flask, office: Browser, case: Case
) -> None:
    with app.app_context():
        version = clinic.serve_newer()
        trainings.trained(version, trainings.holding(db.session.get_one(Case, case.id)))
        number = version.id
    page = office.get(send(office, case).location).text
    listed = page.partition("Models that may have learnt from the patient:")[2]
    assert f'href="/models/{number}"' in listed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"again": "A-2"}, "The two identifiers differ."),
        ({"identifier": "A-9", "again": "A-9"}, "This site knows nobody by this identifier."),
        ({"reason": " "}, "Say why the patient is erased."),
        ({"reason": "a-1 asked"}, "Leave the identifier out"),
        ({"site_id": ""}, "Choose the patient"),
        ({"identifier": "", "again": ""}, "Enter the identifier that the site"),
    ],
)
def test_what_is_not_right_erases_nobody(
    app: Flask, office: Browser, case: Case, changes: dict[str, str], sentence: str
) -> None:
    answer = send(office, case, **changes)
    assert answer.status_code == 422
    assert sentence in answer.text
    with app.app_context():
        assert db.session.get_one(Patient, case.patient_id).erased_at is None


def test_it_does_not_tell_which_patients_other_sites_have(
    app: Flask, office: Browser, case: Case, stranger: Browser, clinician: User
) -> None:
    with app.app_context():
        others = [site.id for site in db.session.query(User).all()[-1].sites]
    answers = [
        send(office, case, site_id=site_id, identifier="A-9", again="A-9").text
        for site_id in (case.site_id, *others)
    ]
    assert all("knows nobody" in page for page in answers)


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
