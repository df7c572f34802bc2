"""GET /api/v1/cases/<case_id>/result."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from tests.conftest import People
from tests.views.conftest import Program
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.catalogue.queries import findings_by_code, latest_terms
from webapp.catalogue.services import Meaning
from webapp.db import db
from webapp.guidance.services import change_finding
from webapp.permissions import Scope
from webapp.registry.models import ModelVersion
from webapp.reviews import services as reviews


@pytest.fixture
def path(case: Case) -> str:
    return f"/api/v1/cases/{case.id}/result"


def test_it_tells_what_the_model_says_and_how_it_came_about(
    app: Flask, program: Program, case: Case, path: str
) -> None:
    with app.app_context():
        clinic.read(case, "grave")
    answer = program.get(path)
    assert answer.status_code == 200
    told = answer.json
    assert (told["case"], told["patient"], told["state"]) == (case.id, "A-1", "completed")
    assert told["answer"] == {
        "finding": "grave",
        "name": "Grave",
        "malignancy": "none",
        "urgency": "stat",
        "recommendation": "Look.",
        "probability": 0.9,
        "also_finding": None,
        "also_probability": None,
    }
    (image,) = told["images"]
    said = {prediction["finding"]: prediction["probability"] for prediction in image["predictions"]}
    assert said == {"grave": 0.9, "watch": 0.05, "calm": 0.05}
    assert (told["model"]["licence"], told["model"]["engine"]) == ("CC0-1.0", "test")
    assert told["review"] is None
    assert "never makes one" in told["disclaimer"]


def test_it_tells_what_is_worse_than_the_answer_and_over_its_mark(
    app: Flask, program: Program, case: Case, path: str
) -> None:
    with app.app_context():
        clinic.read(case, "calm", supported=("calm", "grave"))
    told = program.get(path).json["answer"]
    assert (told["finding"], told["also_finding"], told["also_probability"]) == (
        "calm",
        "grave",
        0.05,
    )


def test_what_stays_possible_is_told_with_how_often_that_holds(
    app: Flask, program: Program, case: Case, path: str
) -> None:
    assert program.get(path).json["images"][0]["possible"] is None
    with app.app_context():
        version = db.session.scalars(sa.select(ModelVersion)).one()
        version.manifest = version.manifest | {
            "conformal_coverage": 0.9,
            "conformal": {"watch": {"threshold": 0.04}, "calm": {"threshold": 0.06}},
        }
        db.session.commit()
        clinic.read(case, "grave")
    told = program.get(path).json
    assert told["images"][0]["possible"] == ["grave", "watch"]
    assert told["model"]["coverage"] == 0.9


def test_an_answer_is_told_as_it_was_given(
    app: Flask, program: Program, people: People, case: Case, path: str
) -> None:
    with app.app_context():
        clinic.read(case, "grave")
        terms = latest_terms(findings_by_code(case.reading_task_id)["grave"].id, None)
        assert terms is not None
        change_finding(
            actor=people.administrator(),
            finding=terms.finding,
            site=None,
            meaning=replace(Meaning.of(terms), recommendation="Run."),
            reason="For tests.",
            shown=1,
        )
    assert program.get(path).json["answer"]["recommendation"] == "Look."


def test_before_it_is_read_there_is_no_answer(program: Program, path: str) -> None:
    told = program.get(path).json
    assert (told["state"], told["answer"], told["completed_at"]) == ("scheduled", None, None)


def test_where_the_model_held_its_answer_back_none_is_told(
    app: Flask, program: Program, case: Case, path: str
) -> None:
    with app.app_context():
        clinic.read(case, "grave", reasons=["blurred"])
    told = program.get(path).json
    assert (told["state"], told["answer"]) == ("abstained", None)
    (image,) = told["images"]
    assert (image["finding"], image["abstention_reason"]) == (None, "blurred")


def test_before_an_own_impression_it_is_refused(
    app: Flask,
    program: Program,
    case: Case,
    clinician: User,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        clinic.read(case, "grave")
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    answer = program.get(path)
    assert (answer.status_code, answer.json["code"]) == (409, "impression_first")
    assert "grave" not in answer.text.lower()
    assert record("result.exported") == []
    with app.app_context():
        again = db.session.get_one(Case, case.id)
        reader = db.session.get_one(User, clinician.id)
        reviews.save_impression(actor=reader, case=again, finding_id=None)
    assert program.get(path).json["answer"]["finding"] == "grave"


def test_it_is_on_record(
    program: Program,
    clinician: User,
    case: Case,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    program.get(path)
    (event,) = record("result.exported")
    assert (event["actor_id"], event["subject"]) == (clinician.id, ("Case", case.id))
    assert event["detail"] == {"patient_id": case.patient_id, "version": 0, "token_id": 1}


def test_who_may_not_is_told_so(
    path: str, programs_refused: Callable[[str, str, Scope], None]
) -> None:
    programs_refused("get", path, Scope.CASES_READ)


def test_what_is_of_others_is_not_there(app: Flask, people: People, path: str) -> None:
    with app.app_context():
        stranger = Program(app.test_client(), clinic.token(people.clinician()))
    assert stranger.get(path).status_code == 404
