"""POST /cases/<case_id>/void."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from tests.views.conftest import ON_RECORD
from webapp.cases.models import Case
from webapp.db import db
from webapp.reviews.models import Review

GOOD = {"reason": "of another patient", "form_token": "t", "shown": f"1 open 0 {ON_RECORD}"}


@pytest.fixture
def path(case: Case) -> str:
    return f"/cases/{case.id}/void"


def reasons(app: Flask) -> list[str | None]:
    with app.app_context():
        return [review.reason for review in db.session.query(Review).order_by(Review.version)]


def test_the_case_is_kept_and_shown_struck(
    app: Flask,
    desk: Browser,
    case: Case,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    answer = desk.post(path, GOOD)
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}")
    assert reasons(app) == ["of another patient"]
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "<s>" in page
    assert "of another patient" in page
    assert "case-row--void" in desk.get("/cases?show=all").get_data(as_text=True)
    assert len(record("case.voided")) == 1


def test_the_same_form_sent_twice_voids_once(app: Flask, desk: Browser, path: str) -> None:
    assert [desk.post(path, GOOD).status_code for _ in range(2)] == [303, 303]
    assert len(reasons(app)) == 1


def test_what_is_signed_is_not_voided_here(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    signed = {"decision": "uncertain", "form_token": "s", "shown": f"1 open 0 {ON_RECORD}"}
    desk.post(f"/cases/{case.id}/reviews", signed)
    answer = desk.post(path, GOOD | {"shown": f"1 open 1 {ON_RECORD}"})
    assert answer.status_code == 409
    assert "It can be voided by an amendment." in answer.get_data(as_text=True)
    assert reasons(app) == [None]


def test_a_stale_form_is_refused_with_both_shown(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    with app.app_context():
        clinic.read(case, "grave")
    answer = desk.post(path, GOOD)
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    assert "Now: the model: Grave" in page
    assert "You entered: void (of another patient)." in page
    assert reasons(app) == []


@pytest.mark.parametrize(
    "bad", [{"reason": " "}, {"reason": "x" * 4001}, {"form_token": ""}, {"form_token": "x" * 65}]
)
def test_what_cannot_be_is_said_on_the_form(
    app: Flask, desk: Browser, path: str, bad: dict[str, str]
) -> None:
    answer = desk.post(path, GOOD | bad)
    assert answer.status_code == 422
    assert "error-summary" in answer.get_data(as_text=True)
    assert reasons(app) == []


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, path: str) -> None:
    assert nobody.post(path, GOOD).location.startswith("/sign-in")
    assert reasons(app) == []


def test_an_administrator_may_not(app: Flask, office: Browser, path: str) -> None:
    assert office.post(path, GOOD).status_code == 403
    assert reasons(app) == []


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, path: str) -> None:
    assert stranger.post(path, GOOD).status_code == 404
    assert reasons(app) == []


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, path: str) -> None:
    assert desk.client.post(path, data=GOOD).status_code == 400
    assert reasons(app) == []
