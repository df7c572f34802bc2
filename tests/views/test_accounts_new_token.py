"""GET and POST /account/tokens/new."""

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from tests.conftest import PASSWORD, Browser
from tests.views.conftest import Program
from webapp.accounts import throttling
from webapp.accounts.models import ApiToken, User
from webapp.accounts.queries import token_hash
from webapp.accounts.tokens import TOKENS_MAX
from webapp.db import db, now

PATH = "/account/tokens/new"
GOOD = {
    "name": "Ward system",
    "scopes": ["cases:read", "cases:write"],
    "days": "30",
    "current_password": PASSWORD,
}


def tokens(app: Flask) -> list[ApiToken]:
    with app.app_context():
        return list(db.session.scalars(sa.select(ApiToken)))


def test_a_token_is_made_and_shown_once(
    app: Flask, desk: Browser, clinician: User, record: Callable[..., list[dict[str, Any]]]
) -> None:
    page = desk.get(PATH).text
    for words in ("Read cases", "Send cases", "Sign decisions", "365 days"):
        assert words in page
    shown = desk.post(PATH, GOOD).text
    (secret,) = re.findall(r'<output class="secret">(firstlook_[\w-]{43})</output>', shown)
    (token,) = tokens(app)
    assert token.token_sha256 == token_hash(secret)
    assert (token.user_id, token.name) == (clinician.id, "Ward system")
    assert token.scopes == ["cases:read", "cases:write"]
    assert abs(token.expires_at - now() - dt.timedelta(days=30)) < dt.timedelta(minutes=1)
    account = desk.get("/account").text
    assert "Ward system" in account
    assert "never used" in account
    assert secret not in account
    assert Program(app.test_client(), secret).get("/api/v1/cases").status_code == 200
    assert "last used" in desk.get("/account").text
    (event,) = record("token.created")
    assert (event["actor_id"], event["subject"]) == (clinician.id, ("ApiToken", token.id))
    assert secret not in str(event)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "This is needed."),
        ({"name": " "}, "Give a name"),
        ({"name": "x" * 81}, "longer than 80"),
        ({"scopes": []}, "Choose what the token allows"),
        ({"scopes": ["users:write"]}, "nvalid"),
        ({"days": "366"}, "Not a valid choice"),
        ({"current_password": ""}, "This is needed."),
        ({"current_password": "not the password"}, "This is not your present password."),
    ],
)
def test_bad_input_is_refused(
    app: Flask, desk: Browser, changes: dict[str, Any], sentence: str
) -> None:
    answer = desk.post(PATH, GOOD | changes)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert tokens(app) == []


def test_guessing_the_password_is_throttled(app: Flask, desk: Browser) -> None:
    wrong = GOOD | {"current_password": "not the password"}
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        assert desk.post(PATH, wrong).status_code == 422
    assert desk.post(PATH, GOOD).status_code == 429
    assert tokens(app) == []


def test_there_are_not_endlessly_many(app: Flask, desk: Browser, clinician: User) -> None:
    with app.app_context():
        for _ in range(TOKENS_MAX):
            clinic.token(clinician)
    answer = desk.post(PATH, GOOD)
    assert answer.status_code == 422
    assert "You have 20 access tokens already." in answer.text


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser) -> None:
    assert nobody.get(PATH).location == f"/sign-in?next={PATH}"
    assert nobody.post(PATH, GOOD).location == "/sign-in"


def test_an_administrator_sees_no_patients_and_needs_none(app: Flask, office: Browser) -> None:
    assert office.get(PATH).status_code == 403
    assert office.post(PATH, GOOD).status_code == 403
    assert "Access tokens" not in office.get("/account").text
    assert tokens(app) == []


def test_it_needs_the_csrf_token_even_with_an_access_token(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        secret = clinic.token(clinician)
    headers = {"Authorization": f"Bearer {secret}"}
    assert desk.client.post(PATH, data=GOOD, headers=headers).status_code == 400
    assert len(tokens(app)) == 1


def test_a_page_is_not_opened_with_an_access_token(
    app: Flask, nobody: Browser, clinician: User
) -> None:
    with app.app_context():
        secret = clinic.token(clinician)
    answer = nobody.get("/cases", headers={"Authorization": f"Bearer {secret}"})
    assert answer.location == "/sign-in?next=/cases"
