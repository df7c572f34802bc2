"""POST /cases/<case_id>/assignment."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.db import db


@pytest.fixture
def path(case: Case) -> str:
    return f"/cases/{case.id}/assignment"


@pytest.fixture
def colleague(app: Flask, people: People, case: Case) -> User:
    with app.app_context():
        return people.clinician(db.session.get_one(Site, case.site_id))


def holder(app: Flask, case: Case) -> int | None:
    with app.app_context():
        return db.session.get_one(Case, case.id).assigned_to_id


def test_a_case_is_taken_handed_over_and_released(
    app: Flask,
    desk: Browser,
    browse: Callable[[], Browser],
    clinician: User,
    colleague: User,
    case: Case,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    assert "Nobody has taken this case." in desk.get(f"/cases/{case.id}").text
    answer = desk.post(path, {"to": clinician.id, "shown": ""})
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}")
    page = desk.get(f"/cases/{case.id}").text
    assert "You have taken this case." in page
    assert f'<option value="{colleague.id}">{colleague.full_name}</option>' in page
    desk.post(path, {"to": colleague.id, "shown": clinician.id})
    assert holder(app, case) == colleague.id
    theirs = browse().sign_in(colleague)
    theirs.post(path, {"to": "", "shown": colleague.id})
    assert holder(app, case) is None
    events = record("case.taken", "case.handed_over", "case.released")
    assert [(e["action"], e["detail"]["to_user_id"]) for e in events] == [
        ("case.taken", clinician.id),
        ("case.handed_over", colleague.id),
        ("case.released", None),
    ]


def test_a_case_is_not_handed_over_to_oneself(
    desk: Browser, clinician: User, colleague: User, case: Case
) -> None:
    """Taking it is a button of its own."""
    page = desk.get(f"/cases/{case.id}").text
    assert f">{colleague.full_name}</option>" in page
    assert f">{clinician.full_name}</option>" not in page


def test_of_two_who_take_a_case_the_second_is_told(
    app: Flask,
    desk: Browser,
    browse: Callable[[], Browser],
    clinician: User,
    colleague: User,
    case: Case,
    path: str,
) -> None:
    theirs = browse().sign_in(colleague)
    theirs.post(path, {"to": colleague.id, "shown": ""})
    answer = desk.post(path, {"to": clinician.id, "shown": ""}, follow_redirects=True)
    assert "taken or released this case meanwhile" in answer.text
    assert f"Taken by {colleague.full_name}." in answer.text
    assert holder(app, case) == colleague.id
    desk.post(path, {"to": clinician.id, "shown": colleague.id})
    assert holder(app, case) == clinician.id


def test_pressing_twice_is_one_taking(
    desk: Browser,
    clinician: User,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    for _ in range(2):
        assert desk.post(path, {"to": clinician.id, "shown": ""}).status_code == 303
    assert len(record("case.taken")) == 1


def test_only_colleagues_of_the_site_can_have_it(
    app: Flask, desk: Browser, people: People, case: Case, path: str
) -> None:
    with app.app_context():
        others = [people.clinician().id, people.administrator().id]
    for to in (*others, 999_999, "x"):
        assert desk.post(path, {"to": to, "shown": ""}).status_code == 422
    assert holder(app, case) is None


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, path: str) -> None:
    assert nobody.post(path, {"to": "1"}).location.startswith("/sign-in")


def test_an_administrator_may_not(office: Browser, path: str) -> None:
    assert office.post(path, {"to": "1"}).status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, path: str) -> None:
    assert stranger.post(path, {"to": "1"}).status_code == 404


def test_a_form_of_another_site_is_refused(desk: Browser, path: str) -> None:
    assert desk.client.post(path, data={"to": "1"}).status_code == 400
