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
