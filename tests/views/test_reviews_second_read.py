"""POST /cases/<case_id>/second-reads, and the queue of disagreements that it fills."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts import services as accounts
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.db import db
from webapp.permissions import Role
from webapp.reviews import queries, services
from webapp.reviews.models import Decision, SecondRead
from webapp.reviews.services import Verdict


def decide(app: Flask, case: Case, actor: User, decision: Decision, token: str) -> None:
    with app.app_context():
        case = db.session.get_one(Case, case.id)
        services.sign(
            actor=db.session.get_one(User, actor.id),
            case=case,
            verdict=Verdict(decision=decision, reason="why"),
            shown=queries.basis(case).mark,
            form_token=token,
        )


@pytest.fixture
def path(app: Flask, case: Case, clinician: User) -> str:
    """The model finds the case to be grave, and the clinician agrees."""
    with app.app_context():
        clinic.read(case, "grave")
    decide(app, case, clinician, Decision.AGREE, "first")
    return f"/cases/{case.id}/second-reads"


@pytest.fixture
def reader(app: Flask, people: People, case: Case) -> User:
    with app.app_context():
        return people.user(Role.REVIEWER, sites=[db.session.get_one(Site, case.site_id)])


@pytest.fixture
def lectern(browse: Callable[[], Browser], reader: User) -> Browser:
    """The second reader's browser."""
    return browse().sign_in(reader)


GOOD = {"reading": "uncertain", "reading_comment": "not so sure", "form_token": "t", "shown": "1"}


def said(app: Flask) -> list[tuple[int, str]]:
    with app.app_context():
        return [(s.review.version, s.comment) for s in db.session.query(SecondRead)]


def test_a_difference_is_in_the_queue_until_the_decision_is_amended(
    app: Flask,
    desk: Browser,
    lectern: Browser,
    clinician: User,
    case: Case,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    assert f'href="/cases/{case.id}"' in lectern.get("/second-reads").text
    assert "No disagreements" in desk.get("/second-reads").text
    answer = lectern.post(path, GOOD)
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}")
    page = lectern.get(f"/cases/{case.id}").text
    assert "differs" in page
    assert "not so sure" in page
    for browser in (desk, lectern):
        assert "Agrees with the model: Grave" in browser.get("/second-reads").text
    decide(app, case, clinician, Decision.UNCERTAIN, "second")
    assert "No disagreements" in desk.get("/second-reads").text
    assert len(record("review.second_read")) == 1


def test_a_case_that_only_demonstrates_waits_for_no_second_reader(
    app: Flask, desk: Browser, lectern: Browser, case: Case, path: str
) -> None:
    with app.app_context():
        db.session.get_one(Case, case.id).is_demonstration = True
        db.session.commit()
    assert f'href="/cases/{case.id}"' not in lectern.get("/second-reads").text
    assert lectern.post(path, GOOD).status_code == 303
    assert "No disagreements" in desk.get("/second-reads").text


def test_a_queue_that_is_longer_than_its_page_says_so(
    app: Flask, lectern: Browser, clinician: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "QUEUE_LENGTH", 1)
    assert "More wait" not in lectern.get("/second-reads").text
    with app.app_context():
        other = clinic.send(clinician)
        clinic.read(other, "grave")
    decide(app, other, clinician, Decision.AGREE, "other")
    page = lectern.get("/second-reads").text
    assert page.count("These are the first 1. More wait") == 1
    assert f'href="/cases/{other.id}"' not in page
    for form in (path, f"/cases/{other.id}/second-reads"):
        assert lectern.post(form, GOOD).status_code == 303
    page = lectern.get("/second-reads").text
    assert page.count("These are the first 1. More wait") == 1
    assert f'href="/cases/{other.id}"' not in page


def test_what_may_not_be_told_takes_no_place_in_the_queue(
    app: Flask,
    lectern: Browser,
    browse: Callable[[], Browser],
    people: People,
    clinician: User,
    case: Case,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "QUEUE_LENGTH", 1)
    with app.app_context():
        others = [clinic.send(clinician) for _ in range(2)]
        for other in others:
            clinic.read(other, "grave")
    for other in others:
        decide(app, other, clinician, Decision.AGREE, f"of {other.id}")
    with app.app_context():
        site = db.session.get_one(Site, case.site_id)
        site.own_impression_first = True
        second = people.user(Role.REVIEWER, sites=[site])
    for form in (path, f"/cases/{others[0].id}/second-reads"):
        assert lectern.post(form, GOOD).status_code == 303
    colleague = browse().sign_in(second)
    assert colleague.post(f"/cases/{other.id}/second-reads", GOOD).status_code == 303
    # They have not read the first two, which stand before theirs.
    assert f'href="/cases/{other.id}"' in colleague.get("/second-reads").text


def test_the_same_again_is_one_reading_and_another_is_refused(
    app: Flask, lectern: Browser, path: str
) -> None:
    assert [lectern.post(path, GOOD).status_code for _ in range(2)] == [303, 303]
    answer = lectern.post(path, GOOD | {"reading_comment": "another"})
    assert answer.status_code == 409
    assert "You read this decision before." in answer.text
    assert said(app) == [(1, "not so sure")]


def test_a_reading_of_a_version_that_was_amended_is_refused_with_both_shown(
    app: Flask, lectern: Browser, clinician: User, case: Case, path: str
) -> None:
    decide(app, case, clinician, Decision.UNCERTAIN, "second")
    answer = lectern.post(path, GOOD)
    assert answer.status_code == 409
    assert "Now: version 2 by" in answer.text
    assert "You entered: Uncertain." in answer.text
    assert said(app) == []


def test_nobody_reads_their_own_decision_again_or_what_is_void(
    app: Flask, lectern: Browser, clinician: User, reader: User, case: Case, path: str
) -> None:
    with app.app_context():
        accounts.update_user(
            actor=None,
            user=db.session.get_one(User, reader.id),
            roles=[Role.CLINICIAN, Role.REVIEWER],
        )
    lectern.sign_in(reader)
    decide(app, case, reader, Decision.UNCERTAIN, "own")
    assert "You signed this decision yourself" in lectern.post(path, GOOD | {"shown": "2"}).text
    decide(app, case, clinician, Decision.VOID, "void")
    assert "no signed decision" in lectern.post(path, GOOD | {"shown": "3"}).text
    assert said(app) == []


def test_where_an_own_impression_comes_first_the_second_reader_is_told_nothing(
    app: Flask, lectern: Browser, case: Case, path: str
) -> None:
    with app.app_context():
        site = db.session.get_one(Site, case.site_id)
        accounts.ask_own_impression_first(actor=None, site=site, is_asked=True)
    for page in ("/cases", f"/cases/{case.id}/status", "/second-reads"):
        text = re.sub(r"<select.*?</select>", "", lectern.get(page).text, flags=re.DOTALL)
        assert "Grave" not in text, page  # but for the filter, which names all findings
    page = lectern.get(f"/cases/{case.id}").text
    assert "decision-panel" not in page
    assert "impression-title" not in page
    assert lectern.post(path, GOOD).status_code == 303
    assert "Agrees with the model: Grave" in lectern.get(f"/cases/{case.id}").text


def test_a_second_reader_sends_and_signs_nothing(lectern: Browser, case: Case, path: str) -> None:
    for forbidden in ("reviews", "void", "outcomes", "assignment", "impression", "retry"):
        assert lectern.post(f"/cases/{case.id}/{forbidden}").status_code == 403, forbidden
    assert 'href="/cases/new"' not in lectern.get("/cases").text
    assert lectern.get(f"/patients/{case.patient_id}").status_code == 200


@pytest.mark.parametrize(
    "bad", [{"reading": ""}, {"reading": "999999"}, {"reading_comment": "x" * 4001}]
)
def test_what_cannot_be_is_said_on_the_form(
    app: Flask, lectern: Browser, path: str, bad: dict[str, str]
) -> None:
    answer = lectern.post(path, GOOD | bad)
    assert answer.status_code == 422
    assert "error-summary" in answer.text
    assert said(app) == []


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, path: str) -> None:
    assert nobody.post(path, GOOD).location.startswith("/sign-in")


def test_a_clinician_or_an_administrator_may_not(desk: Browser, office: Browser, path: str) -> None:
    assert desk.post(path, GOOD).status_code == office.post(path, GOOD).status_code == 403


def test_what_is_of_others_is_not_there(
    app: Flask, browse: Callable[[], Browser], people: People, path: str
) -> None:
    with app.app_context():
        other = people.user(Role.REVIEWER, sites=[people.site()])
    theirs = browse().sign_in(other)
    assert theirs.post(path, GOOD).status_code == 404
    assert "A-1" not in theirs.get("/second-reads").text


def test_a_form_of_another_site_is_refused(app: Flask, lectern: Browser, path: str) -> None:
    assert lectern.client.post(path, data=GOOD).status_code == 400
    assert said(app) == []
