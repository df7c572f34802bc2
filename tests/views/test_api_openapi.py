"""GET /api/v1/openapi.json, and what the API answers to whatever the document allows."""

import re

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis.config import PositiveDataAcceptanceConfig, SchemathesisConfig
from schemathesis.schemas import BaseSchema

from tests import clinic
from tests.conftest import Browser
from tests.views.conftest import Program
from webapp.accounts import throttling
from webapp.accounts.models import User
from webapp.api.document import document
from webapp.api.views import blueprint

PATH = "/api/v1/openapi.json"


def described() -> BaseSchema:
    """The API by its document, of an application that has nothing else."""
    bare = Flask("described")
    bare.register_blueprint(blueprint)
    # What is as described can still contradict itself or the record.
    accepted = [*PositiveDataAcceptanceConfig().expected_statuses, "422"]
    checks = {"positive_data_acceptance": {"expected-statuses": accepted}}
    config = SchemathesisConfig.from_dict({"checks": checks, "seed": 1})
    return schemathesis.openapi.from_dict(document(bare), config=config)


DESCRIBED = described()


def test_anyone_may_read_it(nobody: Browser) -> None:
    answer = nobody.get(PATH)
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.json["openapi"].startswith("3.1")


def test_every_route_of_the_api_is_in_it_and_no_other(app: Flask, nobody: Browser) -> None:
    described = {
        (path, method.upper())
        for path, methods in nobody.get(PATH).json["paths"].items()
        for method in methods
    }
    routes = {
        (re.sub(r"<int:(\w+)>", r"{\1}", route.rule), method)
        for route in app.url_map.iter_rules()
        if route.rule.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert described == routes


def test_every_operation_but_the_document_names_the_scope_that_it_needs(nobody: Browser) -> None:
    operations = {
        operation["operationId"]: operation["security"]
        for methods in nobody.get(PATH).json["paths"].values()
        for operation in methods.values()
    }
    assert operations == {
        "openapi": [],
        "cases": [{"token": ["cases:read"]}],
        "submit_case": [{"token": ["cases:write"]}],
        "case_status": [{"token": ["cases:read"]}],
        "case_result": [{"token": ["cases:read"]}],
        "sign_review": [{"token": ["reviews:write"]}],
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("get", "/api/v1/nothing", 404), ("get", "/api/", 404), ("post", PATH, 405)],
)
def test_what_is_no_route_is_a_problem_and_no_page(
    nobody: Browser, method: str, path: str, status: int
) -> None:
    answer = getattr(nobody.client, method)(path, headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"


@pytest.fixture
def clinic_day(app: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case of each kind; and wrong tokens, of which many come, are told that they are wrong."""
    monkeypatch.setattr(throttling, "WRONG_TOKENS_PER_ADDRESS", 10**6)
    with app.app_context():
        clinic.read(clinic.send(clinician), "grave")
        clinic.read(clinic.send(clinician), abstained=True)
        clinic.fail(clinic.send(clinician))
        clinic.send(clinician)


@DESCRIBED.parametrize()
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.usefixtures("clinic_day")
def test_whatever_is_sent_is_answered_as_described(
    app: Flask, program: Program, case: schemathesis.Case
) -> None:
    case.operation.app = case.operation.schema.app = app
    if case.meta.generation.mode.is_positive:
        make_real(case, program)
    case.call_and_validate(headers={"Authorization": f"Bearer {program.secret}"})


def make_real(case: schemathesis.Case, program: Program) -> None:
    """What only looks right is refused at the door: ask for what is there, so that more is seen."""
    number = case.path_parameters.get("case_id")
    if isinstance(number, int):
        case.path_parameters["case_id"] = number = number % 8  # half of them are there
    if case.media_type == "multipart/form-data":
        case.body["reading_task"] = "test-task"
        case.body["images"] = [clinic.picture() for _ in case.body["images"]]
    if case.media_type == "application/json":
        told = program.get(f"/api/v1/cases/{number}/result").json
        case.body["basis"] = told.get("basis", "none")
