"""POST /comparisons/<comparison_id>/request: that a candidate serve."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.registry.models import ModelVersion

PATH = "/comparisons/1/request"


def test_it_waits_for_somebody_else(
    app: Flask,
    office: Browser,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        promotions.compared(candidate)
    assert office.post(PATH, {"reason": " "}).status_code == 422
    answer = office.post(PATH, {"reason": "It finds more."})
    assert (answer.status_code, answer.location) == (303, "/changes/1")
    assert "waits for a decision" in office.get("/changes/1").text
    (event,) = record("promotion.requested")
    assert event["detail"]["version"] == "2.0.0"
    again = office.post(PATH, {"reason": "Again."})
    assert again.status_code == 409
    assert "A request for this reading task is open." in again.text


def test_one_that_did_not_pass_is_refused(
    app: Flask, office: Browser, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.compared(candidate, low=-0.2)
    answer = office.post(PATH, {"reason": "Please."})
    assert answer.status_code == 409
    assert "Only a version that has passed" in answer.text


def test_an_approver_may_not(approval: Browser) -> None:
    assert approval.post(PATH).status_code == 403


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
