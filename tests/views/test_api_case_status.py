"""GET /api/v1/cases/<case_id>."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import People
from tests.views.conftest import Program
from webapp.accounts.models import Site
from webapp.cases.models import Case
from webapp.db import MAX_ID, db
from webapp.permissions import Scope


@pytest.fixture
def path(case: Case) -> str:
    return f"/api/v1/cases/{case.id}"


def test_it_tells_where_a_case_stands_and_nothing_of_the_patient(
    app: Flask, program: Program, case: Case, path: str
) -> None:
    before = program.get(path).json
    with app.app_context():
        clinic.read(case, "grave")
    answer = program.get(path)
    assert answer.status_code == 200
    assert (before["state"], before["priority"]) == ("scheduled", "routine")
    assert (answer.json["state"], answer.json["priority"]) == ("completed", "stat")
    assert set(answer.json) == {
        "case",
        "reading_task",
        "submitted_at",
        "priority_requested",
        "priority",
        "due_at",
        "state",
        "own_impression_first",
        "demonstration",
    }


def test_before_an_own_impression_it_does_not_tell_whether_there_is_an_answer(
    app: Flask, program: Program, case: Case, path: str
) -> None:
    with app.app_context():
        clinic.read(case, abstained=True)
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    told = program.get(path).json
    assert (told["state"], told["own_impression_first"]) == ("ready", True)


def test_who_may_not_is_told_so(
    path: str, programs_refused: Callable[[str, str, Scope], None]
) -> None:
    programs_refused("get", path, Scope.CASES_READ)


def test_what_is_of_others_is_not_there(app: Flask, people: People, path: str) -> None:
    with app.app_context():
        stranger = Program(app.test_client(), clinic.token(people.clinician()))
    answer = stranger.get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("number", [0, MAX_ID, MAX_ID + 1, "x"])
def test_what_is_not_there_is_a_problem_like_any_other(program: Program, number: Any) -> None:
    answer = program.get(f"/api/v1/cases/{number}")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
