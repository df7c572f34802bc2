"""GET /ledger: which version served when, and which one served a case then."""

import datetime as dt

import pytest
from flask import Flask

from tests import clinic, promotions
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.registry.models import ModelVersion


def test_it_answers_which_version_served_a_case_at_a_moment(
    app: Flask,
    office: Browser,
    clinician: User,
    administrator: User,
    approver: User,
    candidate: ModelVersion,
) -> None:
    with app.app_context():
        case = clinic.send(clinician)
        clinic.read(case)
        line = promotions.promoted(administrator, approver, candidate)
    page = office.get("/ledger").text
    assert "in place of 1.0.0" in page
    assert approver.full_name in page
    page = office.get(f"/ledger?case={case.id}").text
    facts = page.partition("Served its reading task")[2].partition("</dl>")[0]
    assert "Version 2.0.0" in facts.partition("Its answer was of")[0]
    assert "Version 1.0.0" in facts.partition("Its answer was of")[2]
    before = line.serves_from - dt.timedelta(days=1)
    page = office.get(f"/ledger?case={case.id}&at={before:%Y-%m-%dT%H:%M}").text
    assert "it had none yet" in page


@pytest.mark.parametrize("wrong", ["case=", "case=x", "case=99", "case=0", "case=1&at=yesterday"])
def test_what_cannot_be_looked_up_is_said(office: Browser, wrong: str) -> None:
    answer = office.get(f"/ledger?{wrong}")
    assert answer.status_code == 422
    assert "This cannot be answered yet" in answer.text


def test_others_may_not(desk: Browser, nobody: Browser) -> None:
    assert desk.get("/ledger").status_code == 403
    assert nobody.get("/ledger").location == "/sign-in?next=/ledger"
