"""POST /cases/read-otherwise: have them read again, in one click."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic, promotions
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case
from webapp.db import db
from webapp.registry.models import ModelVersion

PATH = "/cases/read-otherwise"


def test_those_chosen_are_read_again(
    app: Flask,
    desk: Browser,
    stranger: Browser,
    clinician: User,
    administrator: User,
    approver: User,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        cases = [clinic.send(clinician) for _ in range(2)]
        for case in cases:
            clinic.read(case, "calm")
        promotions.promoted(administrator, approver, candidate)
        promotions.read_unseen(candidate, "grave", "grave")
    form = {"case": [str(case.id) for case in cases] + ["99", "x"]}
    assert stranger.post(PATH, form).status_code == 303
    assert record("case.read_again") == []
    answer = desk.post(PATH, form)
    assert (answer.status_code, answer.location) == (303, PATH)
    assert "2 cases are read by today" in desk.get(PATH).text
    assert len(record("case.read_again")) == 2
    with app.app_context():
        for case in cases:
            again = current_assessment(db.session.get_one(Case, case.id))
            assert again.model_version.version == "2.0.0"
    assert desk.post(PATH, form).status_code == 303  # they are being read
    assert len(record("case.read_again")) == 2


def test_an_administrator_may_not(office: Browser) -> None:
    assert office.post(PATH).status_code == 403


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.post(PATH).location == "/sign-in"


def test_a_form_of_another_site_is_refused(desk: Browser) -> None:
    assert desk.client.post(PATH).status_code == 400
