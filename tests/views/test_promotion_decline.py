"""POST /promotion-requests/<request_id>/decline: no, or never mind."""

from collections.abc import Callable

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.registry.models import ModelVersion

PATH = "/promotion-requests/1/decline"


def test_an_approver_declines(
    app: Flask, approval: Browser, administrator: User, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.asked(administrator, candidate)
    assert approval.post(PATH).location == "/changes/1"
    assert "The request is declined." in approval.get("/changes/1").text
    assert approval.post(PATH).status_code == 409


def test_who_asked_withdraws_and_no_other_administrator(
    app: Flask, office: Browser, nobody: Browser, administrator: User, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.asked(administrator, candidate)
    assert office.post(PATH).status_code == 403
    asker = nobody.sign_in(administrator)
    assert asker.post(PATH).status_code == 303
    assert "The request is withdrawn." in asker.get("/changes/1").text


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
