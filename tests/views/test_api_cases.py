"""GET /api/v1/cases."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.views.conftest import Program
from webapp.accounts.models import Site, User
from webapp.api.schemas import CaseQuery
from webapp.cases.models import Case
from webapp.db import db
from webapp.permissions import Scope
from webapp.triage import queries
from webapp.triage.worklist_forms import WorklistForm

PATH = "/api/v1/cases"


def test_it_has_the_cases_of_the_worklist_in_its_order(
    app: Flask, program: Program, clinician: User, case: Case
) -> None:
    with app.app_context():
        other = clinic.send(clinician, identifier="B-2")
        clinic.read(other, "grave")
    answer = program.get(PATH)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    page = answer.json
    assert [row["case"] for row in page.pop("cases")] == [other.id, case.id]
    assert "supports a decision and never makes one" in page.pop("disclaimer")
    assert page == {"page": 1, "has_next": False, "total": 2, "total_is_capped": False}
    first, second = answer.json["cases"]
    assert (first["patient"], first["finding"], first["probability"]) == ("B-2", "grave", 0.9)
    assert (first["priority"], first["state"], first["decision"]) == ("stat", "completed", None)
    assert (second["state"], second["finding"]) == ("scheduled", None)


def test_it_is_filtered_and_turned_as_the_worklist_is(
    app: Flask, program: Program, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 1)
    with app.app_context():
        clinic.read(clinic.send(clinician, identifier="A-1"))
        for identifier in ("A-2", "A-3", "B-1"):
            clinic.send(clinician, identifier=identifier)
    query = "identifier=A&state=scheduled&priority=routine&reading_task=test-task&sort=newest"
    pages = [program.get(f"{PATH}?{query}&page={number}").json for number in (1, 2)]
    assert [page["cases"][0]["patient"] for page in pages] == ["A-3", "A-2"]
    assert [page["has_next"] for page in pages] == [True, False]
    assert pages[0]["total"] == 2


def test_the_filters_are_those_of_the_worklist(app: Flask) -> None:
    with app.test_request_context():
        filters = set(WorklistForm(None, reading_tasks=[], reviewers=[])._fields)
    assert CaseQuery.model_fields.keys() - {"page"} == filters


def test_a_finding_that_the_model_held_back_is_not_told(
    app: Flask, program: Program, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "grave", abstained=True)
    (row,) = program.get(PATH).json["cases"]
    assert (row["state"], row["finding"], row["probability"]) == ("abstained", None, None)


def test_it_tells_what_is_worse_than_the_answer_and_over_its_mark(
    app: Flask, program: Program, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "calm", supported=("calm", "grave"))
    (row,) = program.get(f"{PATH}?finding=test-task/grave").json["cases"]
    assert (row["finding"], row["also_finding"], row["also_probability"]) == ("calm", "grave", 0.05)


def test_before_an_own_impression_it_tells_no_answer(
    app: Flask, program: Program, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "calm", supported=("grave",))
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    (row,) = program.get(PATH).json["cases"]
    assert (row["state"], row["own_impression_first"]) == ("ready", True)
    assert (row["finding"], row["probability"], row["report_status"]) == (None, None, None)
    assert (row["also_finding"], row["also_probability"]) == (None, None)
    assert row["priority"] == "stat"


@pytest.mark.parametrize(
    "query",
    ["state=cancelled", "page=0", "page=401", "page=x", "stat=failed", "show=open&show=all"],
)
def test_what_is_no_filter_is_refused(program: Program, query: str) -> None:
    answer = program.get(f"{PATH}?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, "bad_input")
    assert [error["field"] for error in answer.json["errors"]] == [query.partition("=")[0]]


def test_it_is_on_record_with_the_token_and_without_the_identifier(
    program: Program, clinician: User, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    program.get(f"{PATH}?identifier=A-")
    (event,) = record("case.exported")
    assert event["actor_id"] == clinician.id
    assert event["detail"] == {"count": 1, "by_identifier": True, "token_id": 1}


def test_who_may_not_is_told_so(programs_refused: Callable[[str, str, Scope], None]) -> None:
    programs_refused("get", PATH, Scope.CASES_READ)


def test_what_is_of_others_is_not_in_it(app: Flask, people: Any, case: Case) -> None:
    with app.app_context():
        stranger = Program(app.test_client(), clinic.token(people.clinician()))
    assert stranger.get(PATH).json["cases"] == []
