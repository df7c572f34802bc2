"""POST /cases/<case_id>/outcomes."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp.cases.models import Case
from webapp.catalogue.models import Finding
from webapp.db import db, now
from webapp.reviews.models import Outcome

GOOD = {
    "source": "histology",
    "found_on": "2026-01-31",
    "note": "report 12",
    "form_token": "t",
    "shown": "0",
}


@pytest.fixture
def path(case: Case) -> str:
    return f"/cases/{case.id}/outcomes"


@pytest.fixture
def good(app: Flask, case: Case) -> dict[str, str]:
    """A form that says: grave."""
    with app.app_context():
        grave = db.session.query(Finding).filter_by(code="grave").one()
        return GOOD | {"outcome": str(grave.id)}


def recorded(app: Flask) -> list[tuple[int, str | None, str]]:
    with app.app_context():
        outcomes = db.session.query(Outcome).order_by(Outcome.version)
        return [(o.version, o.finding and o.finding.code, o.source) for o in outcomes]


def test_it_is_kept_beside_the_decision_and_corrected_by_a_new_version(
    app: Flask,
    desk: Browser,
    case: Case,
    path: str,
    good: dict[str, str],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    answer = desk.post(path, good)
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}")
    assert "Grave, Histology, 31 Jan 2026" in desk.get(f"/cases/{case.id}").text
    other = good | {"outcome": "none", "source": "other", "form_token": "u", "shown": "1"}
    assert desk.post(path, other).status_code == 303
    page = desk.get(f"/cases/{case.id}").text
    assert "Grave, Histology" in page
    assert "none of the findings" in page
    assert recorded(app) == [(1, "grave", "histology"), (2, None, "other")]
    assert [event["detail"]["version"] for event in record("outcome.recorded")] == [1, 2]


def test_the_same_form_sent_twice_is_one_outcome(
    app: Flask, desk: Browser, path: str, good: dict[str, str]
) -> None:
    assert [desk.post(path, good).status_code for _ in range(2)] == [303, 303]
    assert desk.post(path, good | {"note": "another"}).status_code == 409
    assert len(recorded(app)) == 1


def test_a_stale_form_is_refused_with_both_shown(
    app: Flask, desk: Browser, path: str, good: dict[str, str]
) -> None:
    desk.post(path, good)
    answer = desk.post(path, good | {"form_token": "u", "outcome": "none"})
    assert answer.status_code == 409
    assert "Now: Grave, Histology, 31 Jan 2026." in answer.text
    assert "You entered: None of these; see the note, Histology" in answer.text
    assert len(recorded(app)) == 1


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"outcome": ""}, "Choose the finding."),
        ({"outcome": "999999"}, "Not a valid choice."),
        ({"source": "x"}, "Choose the source."),
        ({"found_on": ""}, "Enter the day."),
        ({"found_on": "x"}, "Not a valid date value."),
        (
            {"found_on": (now() + dt.timedelta(days=3)).date().isoformat()},
            "This day has not come yet.",
        ),
        ({"source": "other", "note": " "}, "Say it in the note."),
        ({"outcome": "none", "note": ""}, "Say it in the note."),
        ({"note": "x" * 4001}, "At most 4000 characters."),
    ],
)
def test_what_cannot_be_is_said_on_the_form(
    app: Flask,
    desk: Browser,
    path: str,
    good: dict[str, str],
    bad: dict[str, str],
    sentence: str,
) -> None:
    answer = desk.post(path, good | bad)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert recorded(app) == []


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, path: str, good: dict[str, str]) -> None:
    assert nobody.post(path, good).location.startswith("/sign-in")


def test_an_administrator_may_not(office: Browser, path: str, good: dict[str, str]) -> None:
    assert office.post(path, good).status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, path: str, good: dict[str, str]) -> None:
    assert stranger.post(path, good).status_code == 404


def test_a_form_of_another_site_is_refused(
    app: Flask, desk: Browser, path: str, good: dict[str, str]
) -> None:
    assert desk.client.post(path, data=good).status_code == 400
    assert recorded(app) == []
