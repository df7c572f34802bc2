"""POST /cases/<case_id>/particulars: what is said of a case is corrected."""

import datetime as dt
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
from webapp.cases.models import Case, CaseParticulars, FormerCase
from webapp.catalogue.models import Priority
from webapp.db import db, transaction
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision, Review
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict


@pytest.fixture
def path(app: Flask, case: Case) -> str:
    """The case of A-1, who was born in 1980, has an answer of a model that knows two places."""
    with app.app_context():
        clinic.serve(body_sites=["back", "face"])
        clinic.read(case, "grave")
    return f"/cases/{case.id}/particulars"


@pytest.fixture
def good(desk: Browser, path: str) -> dict[str, str]:
    return {
        "priority": "routine",
        "age_at_acquisition_years": "31",
        "body_site": "back",
        "note": "seen again",
        "reason": "wrong file",
        "shown": shown(desk.get(path).text),
    }


def shown(page: str) -> str:
    (value,) = re.findall(r'<input[^>]*name="shown"[^>]*value="([^"]*)"', page)
    return str(value)


def said(app: Flask, case: Case) -> CaseParticulars:
    with app.app_context():
        return CaseParticulars.of(db.session.get_one(Case, case.id))


def sign(app: Flask, actor: User, case: Case, decision: Decision = Decision.AGREE) -> None:
    with app.app_context():
        signed = db.session.get_one(Case, case.id)
        reviews.sign(
            actor=db.session.get_one(User, actor.id),
            case=signed,
            verdict=Verdict(decision=decision, comment="seen", reason="sent twice"),
            shown=basis(signed).mark,
            form_token=decision,
        )


def test_it_is_changed_and_what_was_said_is_kept(
    app: Flask,
    desk: Browser,
    case: Case,
    path: str,
    good: dict[str, str],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    sent = desk.post(path, good)
    assert (sent.status_code, sent.location) == (303, f"/cases/{case.id}")
    now_said = said(app, case)
    assert (now_said.age_at_acquisition_years, now_said.body_site) == (31, "back")
    assert now_said.note == "seen again"
    page = desk.get(f"/cases/{case.id}").text
    assert "What is said of the case is on record. 1 case is read again." in page
    assert "Age at acquisition: from the birth year → 31" in page
    assert "Body site: unknown → back" in page
    assert "wrong file" in page
    with app.app_context():
        former = db.session.query(FormerCase).one()
        assert (former.body_site, former.note, former.age_is_derived) == (None, "a note", True)
        with pytest.raises(DatabaseError, match="kept as they were"), transaction():
            db.session.delete(former)
        with pytest.raises(DatabaseError, match="kept as they were"), transaction():
            former.note = "[erased]"
    (event,) = record("case.corrected")
    assert event["subject"] == ("Case", case.id)
    assert event["detail"] == {"changed": ["age_at_acquisition_years", "body_site", "note"]}


def test_it_is_read_with_what_is_said_now(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    desk.post(path, good)
    with app.app_context():
        old, new = db.session.query(Assessment).filter_by(case_id=case.id).order_by(Assessment.id)
        assert old.superseded_at is not None
        assert old.metadata_fed["raw"]["localization"] is None
        assert new.metadata_fed["raw"] == {"age": 31, "sex": None, "localization": "back"}


def test_an_age_that_is_taken_away_follows_from_the_birth_year_again(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    desk.post(path, good)
    again = good | {"age_at_acquisition_years": "", "shown": shown(desk.get(path).text)}
    assert desk.post(path, again).status_code == 303
    with app.app_context():
        kept = db.session.get_one(Case, case.id)
        assert kept.age_is_derived
        assert kept.age_at_acquisition_years == kept.submitted_at.year - 1980


def test_an_answer_stands_where_its_model_is_told_nothing_of_it(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    note_only = good | {"age_at_acquisition_years": "", "body_site": ""}
    desk.post(path, note_only)
    assert "read again" not in desk.get(f"/cases/{case.id}").text
    with app.app_context():
        assert db.session.query(Assessment).filter_by(case_id=case.id).count() == 1


def test_a_higher_priority_moves_it_up_at_once(
    app: Flask, desk: Browser, clinician: User, good: dict[str, str]
) -> None:
    with app.app_context():
        calm = clinic.send(clinician, identifier="C-3")
        clinic.read(calm, "calm")
    path = f"/cases/{calm.id}/particulars"
    page = desk.get(path).text
    unchanged = {"age_at_acquisition_years": "", "body_site": "", "note": ""}
    sent = good | unchanged | {"priority": "stat", "shown": shown(page)}
    assert desk.post(path, sent).status_code == 303
    with app.app_context():
        (waiting,) = db.session.query(Assessment).filter_by(case_id=calm.id)
        assert waiting.priority is Priority.STAT
        assert waiting.due_at - waiting.case.submitted_at == dt.timedelta()


def test_a_lower_priority_cannot_be_had(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    desk.post(path, good | {"priority": "urgent"})
    page = desk.get(path).text
    assert 'value="routine"' not in page
    answer = desk.post(path, good | {"priority": "routine", "shown": shown(page)})
    assert answer.status_code == 422
    assert said(app, case).priority is Priority.URGENT


def test_what_is_signed_is_corrected_by_an_amendment(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str, good: dict[str, str]
) -> None:
    sign(app, clinician, case)
    page = desk.get(path).text
    assert "This case is signed. Correcting it signs an amendment" in page
    assert desk.post(path, good | {"shown": shown(page)}).status_code == 303
    with app.app_context():
        first, second = db.session.query(Review).order_by(Review.version)
        assert (second.version, second.reason) == (2, "wrong file")
        for kept in ("decision", "finding_id", "comment", "assessment_id"):
            assert getattr(second, kept) == getattr(first, kept)
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
    assert said(app, case).body_site is None
    assert desk.post(path, good | {"shown": shown(answer.text)}).status_code == 303
    assert said(app, case).body_site == "back"


def test_a_decision_on_what_was_said_before_is_refused(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str, good: dict[str, str]
) -> None:
    with app.app_context():
        mark = basis(db.session.get_one(Case, case.id)).mark
    desk.post(path, good | {"age_at_acquisition_years": "", "body_site": ""})  # not read again
    with app.app_context():
        assert basis(db.session.get_one(Case, case.id)).mark != mark


def test_a_stale_form_shows_both_versions_and_asks_again(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    desk.post(path, good)
    stale = good | {"body_site": "face"}
    answer = desk.post(path, stale)
    assert answer.status_code == 409
    assert "Body site: back" in answer.text
    assert "Body site: face" in answer.text
    assert said(app, case).body_site == "back"
    assert desk.post(path, stale | {"shown": shown(answer.text)}).status_code == 303
    assert said(app, case).body_site == "face"


def test_a_void_case_stays_as_it_is(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str, good: dict[str, str]
) -> None:
    sign(app, clinician, case, Decision.VOID)
    assert f'href="{path}"' not in desk.get(f"/cases/{case.id}").text
    answer = desk.post(path, good | {"shown": good["shown"].replace(" 0", " 1")})
    assert (answer.status_code, "This case is void." in answer.text) == (409, True)
    assert said(app, case).body_site is None


def test_nothing_is_recorded_where_nothing_changes(
    app: Flask, desk: Browser, path: str, good: dict[str, str]
) -> None:
    same = good | {"age_at_acquisition_years": "", "body_site": "", "note": "a note "}
    assert desk.post(path, same).status_code == 303
    with app.app_context():
        assert db.session.query(FormerCase).count() == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"age_at_acquisition_years": "old"},
        {"age_at_acquisition_years": "131"},
        {"age_at_acquisition_years": "-1"},
        {"age_at_acquisition_years": "100"},  # of somebody who was born in 1980
        {"body_site": "moon"},
        {"priority": "soon"},
        {"note": "x" * 4001},
        {"reason": " \n"},
        {"reason": "\x00"},
        {"reason": "x" * 1001},
        {"shown": ""},
        {"shown": "0123456789abcdef x"},
    ],
)
def test_what_cannot_be_is_said_on_the_form(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str], bad: dict[str, str]
) -> None:
    answer = desk.post(path, good | bad)
    assert answer.status_code == 422
    assert "error-summary" in answer.text
    assert said(app, case).body_site is None


def test_who_is_not_signed_in_is_asked_to(
    app: Flask, nobody: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert nobody.post(path, good).location.startswith("/sign-in")
    assert said(app, case).body_site is None


def test_an_administrator_may_not(
    app: Flask, office: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert office.post(path, good).status_code == 403
    assert said(app, case).body_site is None


def test_what_is_of_others_is_not_there(
    app: Flask, stranger: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert stranger.post(path, good).status_code == 404
    assert said(app, case).body_site is None


def test_a_form_of_another_site_is_refused(
    app: Flask, desk: Browser, case: Case, path: str, good: dict[str, str]
) -> None:
    assert desk.client.post(path, data=good).status_code == 400
    assert said(app, case).body_site is None
