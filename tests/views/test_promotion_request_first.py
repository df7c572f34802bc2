"""POST /changes/<reading_task_id>/first: that a version serve a reading task that none serves."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic, promotions
from tests.conftest import Browser

PATH = "/changes/1/first"


def test_the_first_waits_for_somebody_else_and_the_ledger_says_it_was_not_compared(
    app: Flask,
    office: Browser,
    approval: Browser,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        version = {"version": str(promotions.first().id)}
    page = office.get("/changes/1").text
    assert f'action="{PATH}"' in page
    assert "/comparisons" not in page  # there is nothing to compare it with
    assert f'action="{PATH}"' not in approval.get("/changes/1").text
    for bad in ({"reason": "The first."}, version | {"reason": " "}):
        assert office.post(PATH, bad).status_code == 422
    answer = office.post(PATH, version | {"reason": "We have no other."})
    assert (answer.status_code, answer.location) == (303, "/changes/1")
    (event,) = record("promotion.requested")
    assert (event["detail"]["version"], event["detail"]["comparison_id"]) == ("1.0.0", None)
    assert "Version 1.0.0" in office.get("/changes").text
    assert office.post(PATH, version | {"reason": "Again."}).status_code == 409
    asked = approval.get("/changes/1").text
    assert "It was compared with nothing" in asked
    assert "We have no other." in asked
    approval.post("/promotion-requests/1/approve")
    page = approval.get("/changes/1").text
    assert "Version 1.0.0 serves from now on." in page
    assert "without a comparison: none served before" in page
    late = office.post(PATH, version | {"reason": "Again."})
    assert late.status_code == 409
    assert "Compare this one with it." in late.text


def test_what_is_not_there_is_not_found(office: Browser) -> None:
    assert office.post("/changes/99/first").status_code == 404


def test_an_approver_may_not(app: Flask, approval: Browser) -> None:
    with app.app_context():
        clinic.serve()
    assert approval.post(PATH).status_code == 403


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
