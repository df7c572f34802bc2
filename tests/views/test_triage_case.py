from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.cases.models import Case, Patient, Sex
from webapp.cases.services import Particulars
from webapp.db import db
from webapp.triage import services


def test_it_shows_the_answer_the_images_and_what_was_sent(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        assessment = clinic.read(case, "grave")
        input_sha256 = assessment.input_sha256
    answer = desk.get(f"/cases/{case.id}")
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    for part in (
        "A-1",
        "a note",
        "Grave",
        f"/images/{case.images[0].id}",
        "picture-0.png",
        case.images[0].sha256,
        input_sha256,
        "supports a decision",
    ):
        assert part in page


def test_a_case_that_waits_asks_for_news(desk: Browser, case: Case) -> None:
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert f'hx-get="/cases/{case.id}/status"' in page


def test_an_answer_for_some_of_the_images_says_for_how_many(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        pictures = [clinic.picture() for _ in range(3)]
        case = clinic.send(clinician, pictures=pictures)
        clinic.read(case, "grave", abstained=[False, True, True])
        whole = clinic.send(clinician, pictures=[clinic.picture() for _ in range(2)])
        clinic.read(whole, "grave")
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "Most serious of the 1 image with an answer:" in page
    assert "2 images have no answer: read them yourself." in page
    page = desk.get(f"/cases/{whole.id}").get_data(as_text=True)
    assert "Most serious of the 2 images:" in page
    assert "no answer" not in page


def test_the_licence_of_the_model_stands_beside_the_answer(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        clinic.read(case)
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    beside = page.partition('class="verdict__model')[2].partition("</p>")[0]
    assert "Test-Task, version 1.0.0" in beside
    assert "licence CC0-1.0" in beside


def test_earlier_answers_are_there(app: Flask, desk: Browser, clinician: User, case: Case) -> None:
    with app.app_context():
        old = clinic.read(case, "grave").input_sha256
        services.correct_patient(
            actor=db.session.get_one(User, clinician.id),
            patient=db.session.get_one(Patient, case.patient_id),
            shown=Particulars(birth_year=1980, sex=Sex.UNKNOWN),
            corrected=Particulars(birth_year=1990, sex=Sex.MALE),
        )
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert old in page
    assert "Grave" in page


def test_a_name_that_was_typed_is_text_and_nothing_else(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        case = clinic.send(clinician, identifier="<b>x</b>", note="<script>alert(1)</script>")
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "<b>x</b>" not in page
    assert "<script>alert" not in page


def test_opening_it_is_on_record(
    desk: Browser, clinician: User, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(f"/cases/{case.id}")
    (event,) = record("case.opened")
    assert (event["actor_id"], event["subject"]) == (clinician.id, ("Case", case.id))


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, case: Case) -> None:
    assert nobody.get(f"/cases/{case.id}").location.startswith("/sign-in")


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    assert office.get(f"/cases/{case.id}").status_code == 403


def test_what_is_of_others_is_not_there(
    desk: Browser, stranger: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    theirs = stranger.get(f"/cases/{case.id}")
    none = stranger.get("/cases/999999")
    assert theirs.status_code == none.status_code == 404
    assert "A-1" not in theirs.get_data(as_text=True)
    assert record("case.opened") == []


def test_a_number_beyond_all_is_not_there(desk: Browser) -> None:
    assert desk.get(f"/cases/{'9' * 30}").status_code == 404
