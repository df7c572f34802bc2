"""GET /changes: every reading task, what serves it, and what might."""

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.registry.models import ModelVersion


def test_it_says_what_serves_and_what_waits(
    app: Flask, office: Browser, administrator: User, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.asked(administrator, candidate)
    page = office.get("/changes").text
    assert 'href="/changes/1"' in page
    assert "Version 1.0.0" in page
    assert "2.0.0" in page
    assert "Passed" in page
    assert "Waits for a decision" in page


def test_an_approver_begins_here(approval: Browser) -> None:
    assert approval.get("/").location == "/changes"
    assert "No model is installed" in approval.get("/changes").text


def test_who_may_not_is_turned_away(desk: Browser, nobody: Browser) -> None:
    assert desk.get("/changes").status_code == 403
    assert nobody.get("/changes").location.startswith("/sign-in")
