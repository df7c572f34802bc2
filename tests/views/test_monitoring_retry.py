"""POST /work/retry: failed work is done again, by those who see no patients."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.assessments.models import Assessment, State
from webapp.db import db
from webapp.permissions import Role


@pytest.fixture
def failed(app: Flask, clinician: User) -> int:
    with app.app_context():
        return clinic.fail(clinic.send(clinician)).id


def state(app: Flask, number: int) -> State:
    with app.app_context():
        return db.session.get_one(Assessment, number).state


def test_it_is_done_again_and_on_record(
    app: Flask, office: Browser, failed: int, record: Callable[..., list[dict[str, Any]]]
) -> None:
    answer = office.post("/work/retry", {"kind": "assessment", "work_id": failed})
    assert (answer.status_code, answer.location) == (303, "/work#assessment")
    assert state(app, failed) is State.SCHEDULED
    assert "It is done again." in office.get("/work").text
    (event,) = record("assessment.retried")
    assert event["subject"] == ("Assessment", failed)


def test_a_second_press_says_so(app: Flask, office: Browser, failed: int) -> None:
    for _ in range(2):
        office.post("/work/retry", {"kind": "assessment", "work_id": failed})
    assert "This has not failed" in office.get("/work").text


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"kind": "assessment", "work_id": "1e3"}, 422),
        ({"kind": "assessment", "work_id": "-1"}, 422),
        ({"kind": "assessment", "work_id": str(2**40)}, 422),
        ({"kind": "assessment"}, 422),
        ({"kind": "assessment", "work_id": "999"}, 404),
        ({"kind": "user", "work_id": "1"}, 404),
    ],
)
def test_what_is_no_work_is_refused(
    app: Flask, office: Browser, failed: int, sent: dict[str, str], status: int
) -> None:
    assert office.post("/work/retry", sent).status_code == status
    assert state(app, failed) is State.FAILED


def test_others_may_not(app: Flask, turned_away: Callable[[str], None], failed: int) -> None:
    turned_away("/work/retry")
    assert state(app, failed) is State.FAILED


def test_an_approver_may_not(app: Flask, nobody: Browser, people: People, failed: int) -> None:
    with app.app_context():
        nobody.sign_in(people.user(Role.APPROVER))
    sent = {"kind": "assessment", "work_id": failed}
    assert nobody.post("/work/retry", sent).status_code == 403
    assert state(app, failed) is State.FAILED
