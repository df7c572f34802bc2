"""GET /changes/<reading_task_id>: the versions of a reading task, and its ledger."""

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.registry.models import ModelVersion


def test_it_offers_what_each_may_do(
    app: Flask,
    office: Browser,
    approval: Browser,
    administrator: User,
    candidate: ModelVersion,
) -> None:
    assert f'action="/models/{candidate.id}/comparisons"' in office.get("/changes/1").text
    with app.app_context():
        promotions.asked(administrator, candidate)
    page = approval.get("/changes/1").text
    assert 'action="/promotion-requests/1/approve"' in page
    assert "It finds more." in page
    assert '/comparisons"' not in page  # an administrator compares
    assert "/rollback" not in page  # nothing served before
    assert "/approve" not in office.get("/changes/1").text


def test_who_asked_is_told_that_it_takes_another(
    app: Flask, administrator: User, nobody: Browser, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.asked(administrator, candidate)
    page = nobody.sign_in(administrator).get("/changes/1").text
    assert "it takes a second person" in page
    assert "Withdraw" in page


def test_what_is_not_there_is_not_found(office: Browser) -> None:
    assert office.get("/changes/99").status_code == 404


def test_a_clinician_may_not(desk: Browser, candidate: ModelVersion) -> None:
    assert desk.get("/changes/1").status_code == 403
