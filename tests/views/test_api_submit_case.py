"""POST /api/v1/cases."""

import io
from collections.abc import Callable
from inspect import getmembers
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from tests.conftest import People
from tests.dicoms import dicom
from tests.views.conftest import Program
from webapp import imaging, security
from webapp.accounts.models import User
from webapp.api.forms import PAGE_NAMES
from webapp.api.schemas import NewCase
from webapp.assessments.models import Assessment
from webapp.cases.models import Case, Image, Patient
from webapp.db import db, now
from webapp.permissions import Role, Scope
from webapp.triage.new_case_forms import NewCaseForm

PATH = "/api/v1/cases"
GOOD = {"reading_task": "test-task", "identifier": "B-1"}


def send(program: Program, fields: dict[str, Any], *pictures: bytes, **kwargs: Any) -> Any:
    images = [(io.BytesIO(data), f"{number}.png") for number, data in enumerate(pictures)]
    content = {"data": fields | {"images": images}, "content_type": "multipart/form-data"}
    return program.post(PATH, **content | kwargs)


def counts(app: Flask) -> tuple[int, ...]:
    with app.app_context():
        return tuple(
            db.session.scalars(sa.select(sa.func.count()).select_from(table)).one()
            for table in (Patient, Case, Image, Assessment)
        )


def test_a_case_is_filed_and_waits(
    app: Flask,
    program: Program,
    clinician: User,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    fields = GOOD | {"birth_year": "1980", "sex": "male", "priority": "urgent", "note": "seen"}
    answer = send(program, fields, clinic.picture(), clinic.picture())
    assert answer.status_code == 201, answer.text
    told = answer.json
    assert (told["state"], told["priority_requested"]) == ("scheduled", "urgent")
    with app.app_context():
        case = db.session.scalars(sa.select(Case)).one()
        assert (case.id, case.patient.identifier, case.note) == (told["case"], "B-1", "seen")
        assert case.age_at_acquisition_years == now().year - 1980
        assert [image.original_file_name for image in case.images] == ["0.png", "1.png"]
    (event,) = record("case.submitted")
    assert (event["actor_id"], event["detail"]["token_id"]) == (clinician.id, 1)


def test_what_a_dicom_file_tells_is_to_be_sent_or_confirmed(app: Flask, program: Program) -> None:
    answer = send(program, GOOD | {"birth_year": "1961"}, dicom())
    assert answer.status_code == 422
    details = [error["detail"] for error in answer.json["errors"]]
    assert "Patient identifier: the file says D-1; you entered B-1." in details
    assert "Check what the DICOM file tells: Sex: Female; Age when the images were taken: 59." in (
        details
    )
    assert counts(app) == (0, 0, 0, 0)
    assert send(program, GOOD | {"confirm_told": "true"}, dicom()).status_code == 201


def test_the_same_key_and_content_again_is_the_same_case(app: Flask, program: Program) -> None:
    data = clinic.picture()
    first, again = send(program, GOOD, data), send(program, GOOD, data)
    assert (again.status_code, again.json) == (201, first.json)
    other = send(program, GOOD, clinic.picture())
    assert (other.status_code, other.json["code"]) == (409, "form_used")
    assert counts(app)[1] == 1
    assert send(program, GOOD, clinic.picture(), key="key-2").status_code == 201


def test_keys_of_others_are_theirs(app: Flask, program: Program, people: People) -> None:
    data = clinic.picture()
    first = send(program, GOOD, data)
    with app.app_context():
        other = Program(app.test_client(), clinic.token(people.clinician()))
    assert send(other, GOOD, data).json["case"] != first.json["case"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reading_task": None}, "reading_task"),
        ({"identifier": ""}, "identifier"),
        ({"identifier": "x" * 65}, "identifier"),
        ({"birth_year": "abc"}, "birth_year"),
        ({"birth_year": "1066"}, "birth_year"),
        ({"age_at_acquisition_years": "131"}, "age_at_acquisition_years"),
        ({"sex": "x"}, "sex"),
        ({"priority": "now"}, "priority"),
        ({"note": "x" * 4001}, "note"),
        ({"notes": "misspelt"}, "notes"),
        ({"reading_task": "no such"}, "reading_task"),
        ({"site": "Elsewhere"}, "site"),
        ({"identifier": "\u200b"}, "identifier"),
        ({"birth_year": "2199"}, "birth_year"),
        ({"birth_year": "2000", "age_at_acquisition_years": "90"}, "age_at_acquisition_years"),
    ],
)
def test_what_is_not_as_the_document_says_is_refused_by_field(
    app: Flask, program: Program, changes: dict[str, str], field: str
) -> None:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not None}
    answer = send(program, fields, clinic.picture())
    assert (answer.status_code, answer.json["code"]) == (422, "bad_input")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert counts(app) == (0, 0, 0, 0)


def test_images_are_held_to_the_limits_of_the_form(
    app: Flask, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(program, GOOD).json["errors"][0]["field"] == "images"
    too_many = [b"x"] * (imaging.MAX_IMAGES + 1)
    assert send(program, GOOD, *too_many).json["errors"][0]["field"] == "images"
    large = b"\xff\xd8\xff" + bytes(imaging.MAX_BYTES)
    answer = send(program, GOOD, clinic.picture(), b"just text", large)
    assert (answer.status_code, answer.json["code"]) == (422, "bad_input")
    text, size, _how_many = (error["detail"] for error in answer.json["errors"])
    assert "1.png: This is not a JPEG, PNG" in text
    assert "2.png: The file is larger than 25 MB." in size
    monkeypatch.setattr(security, "UPLOAD_BYTES_MAX", 1000)
    assert send(program, GOOD, large).status_code == 413
    assert counts(app) == (0, 0, 0, 0)


def test_what_is_on_record_stands_against_it(
    app: Flask,
    program: Program,
    clinician: User,
    case: Case,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    answer = send(program, GOOD | {"identifier": "A-1", "birth_year": "1979"}, clinic.picture())
    assert (answer.status_code, answer.json["code"]) == (409, "patient_differs")
    data = clinic.picture()
    with app.app_context():
        clinic.send(clinician, identifier="A-9", pictures=[data])
    answer = send(program, GOOD, data)
    assert (answer.status_code, answer.json["code"]) == (409, "filed_elsewhere")
    assert "A-9" in answer.json["errors"][0]["detail"]
    assert len(record("duplicates.shown")) == 1
    assert send(program, GOOD | {"confirm_duplicates": "true"}, data).status_code == 201


def test_it_asks_for_what_the_form_of_the_page_asks_for() -> None:
    asked = {name for name, field in getmembers(NewCaseForm) if hasattr(field, "_formfield")}
    names = {PAGE_NAMES.get(name, name) for name in NewCase.model_fields}
    assert names == asked - {"form_token"}


def test_one_of_several_sites_is_named(app: Flask, people: People, clinician: User) -> None:
    with app.app_context():
        sites = [people.site("North"), people.site("South")]
        user = people.user(Role.CLINICIAN, sites=sites)
        both = Program(app.test_client(), clinic.token(user))
    data = clinic.picture()
    assert [error["field"] for error in send(both, GOOD, data).json["errors"]] == ["site"]
    answer = send(both, GOOD | {"site": "South"}, data)
    with app.app_context():
        assert db.session.get_one(Case, answer.json["case"]).site.name == "South"


def test_the_place_on_the_body_is_one_that_the_model_knows(app: Flask, program: Program) -> None:
    with app.app_context():
        clinic.serve("dermoscopy", body_sites=["hand"])
    fields = GOOD | {"reading_task": "dermoscopy"}
    assert send(program, fields | {"body_site": "moon"}, clinic.picture()).status_code == 422
    answer = send(program, fields | {"body_site": "hand"}, clinic.picture())
    with app.app_context():
        assert db.session.get_one(Case, answer.json["case"]).body_site == "hand"


def test_it_is_a_form_with_a_key(app: Flask, program: Program) -> None:
    assert program.post(PATH, json=GOOD).status_code == 415
    answer = send(program, GOOD, clinic.picture(), key="two words")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert counts(app) == (0, 0, 0, 0)


def test_who_may_not_is_told_so(
    app: Flask, programs_refused: Callable[[str, str, Scope], None]
) -> None:
    programs_refused("post", PATH, Scope.CASES_WRITE)
    assert counts(app) == (0, 0, 0, 0)
