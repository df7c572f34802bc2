"""POST /cases/<case_id>/patient: a case is filed for another patient of its site."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import DatabaseError

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.assessments.models import Assessment
from webapp.cases.models import Case, CaseMove, Patient, Sex
from webapp.db import db, now, transaction
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision, Review
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict


@pytest.fixture
def path(app: Flask, clinician: User, case: Case) -> str:
    """The case of A-1, who was born in 1980, has an answer; B-2 is on record too."""
    with app.app_context():
        clinic.read(case, "grave")
        clinic.send(clinician, identifier="B-2", birth_year=1950, sex=Sex.FEMALE)
    return f"/cases/{case.id}/patient"


@pytest.fixture
def good(case: Case) -> dict[str, str]:
    return {"identifier": "B-2", "reason": "wrong file", "shown": f"{case.patient_id} 0"}


def filed_for(app: Flask, case: Case) -> str:
    with app.app_context():
        return db.session.get_one(Case, case.id).patient.identifier


def sign(
    app: Flask, actor: User, case: Case, decision: Decision = Decision.AGREE, reason: str = ""
) -> None:
    with app.app_context():
        signed = db.session.get_one(Case, case.id)
        reviews.sign(
            actor=db.session.get_one(User, actor.id),
            case=signed,
            verdict=Verdict(decision=decision, comment="seen", reason=reason),
            shown=basis(signed).mark,
            form_token=decision,
        )


def shown(page: str) -> str:
    (value,) = re.findall(r'<input[^>]*name="shown"[^>]*value="([^"]*)"', page)
    return str(value)


def test_it_is_filed_for_the_other_and_the_move_is_kept(
    app: Flask,
    desk: Browser,
    case: Case,
    path: str,
    good: dict[str, str],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    sent = desk.post(path, good)
    assert (sent.status_code, sent.location) == (303, f"/cases/{case.id}")
    assert filed_for(app, case) == "B-2"
    page = desk.get(f"/cases/{case.id}").text
    assert "The case is now filed for B-2. 1 case is read again." in page
    assert "Filed before for" in page
    assert "wrong file" in page
    with app.app_context():
        move = db.session.query(CaseMove).one()
        to_id = db.session.query(Patient).filter_by(identifier="B-2").one().id
        assert (move.from_patient_id, move.to_patient_id) == (case.patient_id, to_id)
        with pytest.raises(DatabaseError, match="kept as they were"), transaction():
            db.session.delete(move)
    (event,) = record("case.moved")
    assert event["subject"] == ("Case", case.id)
    assert event["detail"] == {"from_patient_id": case.patient_id, "patient_id": to_id}


def test_it_is_read_with_what_is_known_of_the_other(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    desk.post(path, good)
    with app.app_context():
        old, new = db.session.query(Assessment).filter_by(case_id=case.id).order_by(Assessment.id)
        assert old.superseded_at is not None
        assert old.metadata_fed["raw"]["sex"] is None
        age = now().year - 1950
        assert new.metadata_fed["raw"] == {"age": age, "sex": "female", "localization": None}
        assert db.session.get_one(Case, case.id).age_at_acquisition_years == age


def test_an_answer_of_a_model_that_reads_images_only_stands(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    with app.app_context():
        clinic.serve(encoding_version="none")
    desk.post(path, good)
    assert "filed for B-2. The answers stand" in desk.get(f"/cases/{case.id}").text
    with app.app_context():
        assert db.session.query(Assessment).filter_by(case_id=case.id).count() == 1


def test_somebody_new_is_registered_only_where_that_is_meant(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    new = good | {"identifier": "C-3"}
    answer = desk.post(path, new)
    assert answer.status_code == 409
    assert "knows nobody by the identifier C-3" in answer.text
    assert filed_for(app, case) == "A-1"
    assert desk.post(path, new | {"registers": "y"}).status_code == 303
    assert filed_for(app, case) == "C-3"


def test_what_is_signed_is_moved_by_an_amendment(
    app: Flask,
    desk: Browser,
    clinician: User,
    case: Case,
    path: str,
    good: dict[str, str],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    sign(app, clinician, case)
    page = desk.get(path).text
    assert "This case is signed. Moving it signs an amendment" in page
    assert desk.post(path, good | {"shown": shown(page)}).status_code == 303
    with app.app_context():
        first, second = db.session.query(Review).order_by(Review.version)
        assert (second.version, second.reason) == (2, "A-1 → B-2: wrong file")
        for kept in ("decision", "finding_id", "comment", "assessment_id"):
            assert getattr(second, kept) == getattr(first, kept)
        current = db.session.query(Assessment).filter_by(case_id=case.id, superseded_at=None).one()
        assert current.settled_at is not None  # it does not wait again
    assert len(record("review.amended")) == 1
    page = desk.get(f"/cases/{case.id}").text
    assert "Version 2 of the decision says so." in page
    assert "Signed on an earlier answer" in page


def test_what_is_signed_meanwhile_is_shown_and_asked_about(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str, good: dict[str, str]
) -> None:
    sign(app, clinician, case)
    answer = desk.post(path, good)
    assert answer.status_code == 409
    assert "On record now: version 1 by User" in answer.text
    assert "You entered: B-2" in answer.text
    assert filed_for(app, case) == "A-1"
    assert desk.post(path, good | {"shown": shown(answer.text)}).status_code == 303
    assert filed_for(app, case) == "B-2"


def test_a_stale_form_shows_both_patients_and_asks_again(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    desk.post(path, good)
    stale = good | {"identifier": "C-3", "registers": "y"}
    answer = desk.post(path, stale)
    assert answer.status_code == 409
    assert "On record now: filed for B-2. You entered: C-3." in answer.text
    assert filed_for(app, case) == "B-2"
    with app.app_context():
        assert db.session.query(Patient).filter_by(identifier="C-3").count() == 0
    assert desk.post(path, stale | {"shown": shown(answer.text)}).status_code == 303
    assert filed_for(app, case) == "C-3"


def test_images_that_somebody_else_has_too_are_asked_about(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str, good: dict[str, str]
) -> None:
    with app.app_context():
        picture = clinic.picture()
        twice = clinic.send(clinician, identifier="D-4", pictures=[picture])
        clinic.send(clinician, identifier="E-5", pictures=[picture], confirm_duplicates=True)
    there, form = f"/cases/{twice.id}/patient", good | {"shown": f"{twice.patient_id} 0"}
    answer = desk.post(there, form)
    assert answer.status_code == 409
    assert "already filed for another patient: E-5" in answer.text
    assert "another patient: D-4" not in answer.text  # that is the case itself
    assert desk.post(there, form | {"confirm_duplicates": "y"}).status_code == 303
    assert filed_for(app, twice) == "B-2"


def test_a_void_case_stays_where_it_is(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str, good: dict[str, str]
) -> None:
    sign(app, clinician, case, Decision.VOID, "sent by mistake")
    assert f'href="{path}"' not in desk.get(f"/cases/{case.id}").text
    answer = desk.post(path, good | {"shown": f"{case.patient_id} 1"})
    assert (answer.status_code, "This case is void." in answer.text) == (409, True)
    assert filed_for(app, case) == "A-1"


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ({"identifier": " "}, 422),
        ({"identifier": "x" * 65}, 422),
        ({"reason": " \n"}, 422),
        ({"reason": "\x00"}, 422),
        ({"reason": "x" * 1001}, 422),
        ({"shown": ""}, 422),
        ({"shown": "1 x"}, 422),
        ({"shown": "999999999 0"}, 409),
        ({"identifier": "A-1"}, 409),
    ],
)
def test_what_cannot_be_is_said_on_the_form(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str], bad: Any, status: int
) -> None:
    answer = desk.post(path, good | bad)
    assert answer.status_code == status
    assert "error-summary" in answer.text
    assert filed_for(app, case) == "A-1"


def test_who_is_not_signed_in_is_asked_to(
    app: Flask, nobody: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert nobody.post(path, good).location.startswith("/sign-in")
    assert filed_for(app, case) == "A-1"


def test_an_administrator_may_not(
    app: Flask, office: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert office.post(path, good).status_code == 403
    assert filed_for(app, case) == "A-1"


def test_what_is_of_others_is_not_there(
    app: Flask, stranger: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert stranger.post(path, good).status_code == 404
    assert filed_for(app, case) == "A-1"


def test_a_patient_of_another_site_is_nobody_here(
    app: Flask, desk: Browser, people: Any, path: str, good: dict[str, str]
) -> None:
    with app.app_context():
        clinic.send(people.clinician(), identifier="Z-9")
    answer = desk.post(path, good | {"identifier": "Z-9"})
    assert "knows nobody by the identifier Z-9" in answer.text


def test_a_form_of_another_site_is_refused(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert desk.client.post(path, data=good).status_code == 400
    assert filed_for(app, case) == "A-1"
