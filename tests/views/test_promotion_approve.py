"""POST /promotion-requests/<request_id>/approve: by a second person."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic, promotions
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.assessments.queries import current_assessment
from webapp.permissions import Role
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion

PATH = "/promotion-requests/1/approve"


def test_a_second_person_lets_it_serve(
    app: Flask,
    approval: Browser,
    administrator: User,
    clinician: User,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        promotions.asked(administrator, candidate)
    answer = approval.post(PATH)
    assert (answer.status_code, answer.location) == (303, "/changes/1")
    assert "Version 2.0.0 serves from now on." in approval.get("/changes/1").text
    with app.app_context():
        case = clinic.send(clinician)
        assert current_assessment(case).model_version.version == "2.0.0"
    *_, event = record("model.promoted")
    assert (event["detail"]["version"], event["detail"]["former"]) == ("2.0.0", "1.0.0")
    assert approval.post(PATH).status_code == 409


def test_nobody_approves_their_own(
    app: Flask, people: People, nobody: Browser, candidate: ModelVersion
) -> None:
    with app.app_context():
        both = people.user(Role.ADMINISTRATOR, Role.APPROVER)
        promotions.asked(both, candidate)
    answer = nobody.sign_in(both).post(PATH)
    assert answer.status_code == 409
    assert "it takes a second person" in answer.text
    with app.app_context():
        assert champion(1).version == "1.0.0"


def test_the_first_of_two_is_shown_and_the_second_lets_it_serve(
    app: Flask,
    approval: Browser,
    people: People,
    nobody: Browser,
    administrator: User,
    approver: User,
    candidate: ModelVersion,
) -> None:
    with app.app_context():
        promotions.plan(administrator, candidate, approvals_needed=2)
        promotions.asked(administrator, candidate)
        second = people.user(Role.APPROVER)
    assert "two people have to approve" in approval.get("/changes/1").text
    assert approval.post(PATH).location == "/changes/1"
    page = approval.get("/changes/1").text
    assert f"Approved by {approver.full_name}" in page
    assert "One more person has to approve." in page
    assert PATH not in page
    answer = approval.post(PATH)
    assert answer.status_code == 409
    assert "It takes one more person." in answer.text
    with app.app_context():
        assert champion(1).version == "1.0.0"
    other = nobody.sign_in(second)
    assert PATH in other.get("/changes/1").text
    assert other.post(PATH).location == "/changes/1"
    assert "Version 2.0.0 serves from now on." in other.get("/changes/1").text
    names = f"{administrator.full_name}, {approver.full_name}, {second.full_name}"
    assert names in other.get("/ledger").text
    assert f"{approver.full_name} → {second.full_name}" in other.get("/comparisons/1").text


def test_who_is_not_named_may_not(
    app: Flask,
    approval: Browser,
    people: People,
    administrator: User,
    candidate: ModelVersion,
) -> None:
    with app.app_context():
        named = people.user(Role.APPROVER)
        promotions.plan(administrator, candidate, approvers=(named.username,))
        promotions.asked(administrator, candidate)
    page = approval.get("/changes/1").text
    assert f"these may still approve: {named.full_name}." in page
    assert "The plan for changes names others who approve." in page
    assert PATH not in page
    answer = approval.post(PATH)
    assert answer.status_code == 409
    with app.app_context():
        assert champion(1).version == "1.0.0"


def test_a_request_that_nobody_can_approve_says_so(
    app: Flask, office: Browser, administrator: User, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.asked(administrator, candidate)
    assert "Fewer people may approve this than have to" in office.get("/changes/1").text


def test_an_administrator_may_not(
    app: Flask, office: Browser, administrator: User, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.asked(administrator, candidate)
    assert office.post(PATH).status_code == 403


def test_what_is_not_there_is_not_found(approval: Browser) -> None:
    assert approval.post(PATH).status_code == 404


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
