"""POST /api/v1/cases/<case_id>/reviews."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import People
from tests.views.conftest import Program
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.db import db
from webapp.permissions import Scope
from webapp.reviews.models import Review


@pytest.fixture
def path(case: Case) -> str:
    return f"/api/v1/cases/{case.id}/reviews"


@pytest.fixture
def basis(app: Flask, program: Program, case: Case) -> str:
    """What a program names that has seen that the model finds the case to be grave."""
    with app.app_context():
        clinic.read(case, "grave")
    return str(program.get(f"/api/v1/cases/{case.id}/result").json["basis"])


def signed(app: Flask) -> list[tuple[int, str, str | None, str, str | None]]:
    with app.app_context():
        return [
            (r.version, r.decision, r.finding and r.finding.code, r.comment, r.reason)
            for r in db.session.query(Review).order_by(Review.version)
        ]


def test_agreeing_is_signed_in_the_users_name(
    app: Flask,
    program: Program,
    case: Case,
    clinician: User,
    path: str,
    basis: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    answer = program.post(path, json={"basis": basis, "decision": "agree", "comment": "seen"})
    assert answer.status_code == 201, answer.text
    assert answer.json.pop("signed_at")
    assert answer.json | {"signed_at": ""} == {
        "version": 1,
        "status": "final",
        "decision": "agree",
        "finding": "grave",
        "comment": "seen",
        "reason": None,
        "reviewer": clinician.full_name,
        "signed_at": "",
    }
    assert signed(app) == [(1, "agree", "grave", "seen", None)]
    (event,) = record("review.signed")
    assert (event["actor_id"], event["detail"]["token_id"]) == (clinician.id, 1)
    result = program.get(f"/api/v1/cases/{case.id}/result").json
    assert result["review"]["decision"] == "agree"
    (row,) = program.get("/api/v1/cases?show=all").json["cases"]
    assert (row["decision"], row["report_status"]) == ("agree", "final")


def test_the_same_key_and_content_again_is_the_same_decision(
    app: Flask, program: Program, path: str, basis: str
) -> None:
    content = {"basis": basis, "decision": "override", "finding": "calm"}
    first, again = program.post(path, json=content), program.post(path, json=content)
    assert (again.status_code, again.json) == (201, first.json)
    other = program.post(path, json={"basis": basis, "decision": "uncertain"})
    assert (other.status_code, other.json["code"]) == (409, "form_used")
    assert signed(app) == [(1, "override", "calm", "", None)]


def test_a_further_version_is_on_what_there_is_now_and_has_a_reason(
    app: Flask, program: Program, case: Case, path: str, basis: str
) -> None:
    program.post(path, json={"basis": basis, "decision": "agree"})
    again = {"basis": basis, "decision": "uncertain"}
    stale = program.post(path, key="key-2", json=again)
    assert (stale.status_code, stale.json["code"]) == (409, "changed")
    again["basis"] = program.get(f"/api/v1/cases/{case.id}/result").json["basis"]
    blank = program.post(path, key="key-2", json=again)
    assert (blank.status_code, blank.json["code"]) == (422, "reason_needed")
    answer = program.post(path, key="key-2", json=again | {"reason": "looked again"})
    assert (answer.json["version"], answer.json["status"]) == (2, "amended")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"decision": "void", "reason": "x"}, "bad_input"),
        ({"decision": "agree", "comment": "x" * 4001}, "bad_input"),
        ({"decision": "agree", "sign": True}, "bad_input"),
        ({"decision": "agree", "finding": "calm"}, "finding_not_needed"),
        ({"decision": "override"}, "finding_needed"),
        ({"decision": "override", "finding": "no such"}, "finding_needed"),
        ({"decision": "override", "finding": "grave"}, "finding_needed"),
    ],
)
def test_what_cannot_be_is_refused(
    app: Flask, program: Program, path: str, basis: str, content: dict[str, Any], code: str
) -> None:
    answer = program.post(path, json={"basis": basis} | content)
    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert signed(app) == []


def test_what_is_no_json_with_a_key_is_refused(
    app: Flask, program: Program, path: str, basis: str
) -> None:
    content = {"basis": basis, "decision": "agree"}
    assert program.post(path, data=content).status_code == 415
    assert program.post(path, data=b"{", content_type="application/json").status_code == 422
    assert program.post(path, key="", json=content).status_code == 422
    assert signed(app) == []


def test_without_an_answer_there_is_nothing_to_agree_with(
    app: Flask, program: Program, case: Case, path: str
) -> None:
    with app.app_context():
        clinic.read(case, abstained=True)
    basis = program.get(f"/api/v1/cases/{case.id}/result").json["basis"]
    answer = program.post(path, json={"basis": basis, "decision": "agree"})
    assert (answer.status_code, answer.json["code"]) == (422, "no_answer")


def test_before_an_own_impression_nothing_is_signed(
    app: Flask, program: Program, case: Case, path: str, basis: str
) -> None:
    with app.app_context():
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    answer = program.post(path, json={"basis": basis, "decision": "agree"})
    assert (answer.status_code, answer.json["code"]) == (409, "impression_first")
    assert signed(app) == []


def test_who_may_not_is_told_so(
    app: Flask, path: str, programs_refused: Callable[[str, str, Scope], None]
) -> None:
    programs_refused("post", path, Scope.REVIEWS_WRITE)
    assert signed(app) == []


def test_what_is_of_others_is_not_there(app: Flask, people: People, path: str, basis: str) -> None:
    with app.app_context():
        stranger = Program(app.test_client(), clinic.token(people.clinician()))
    content = {"basis": basis, "decision": "agree"}
    assert stranger.post(path, json=content).status_code == 404
    assert signed(app) == []
