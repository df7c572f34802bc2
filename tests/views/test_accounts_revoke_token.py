"""POST /account/tokens/<token_id>/revoke."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from tests.views.conftest import Program
from webapp.accounts.models import ApiToken, User
from webapp.db import db


@pytest.fixture
def path(app: Flask, program: Program) -> str:
    """Where the token of the program is revoked."""
    with app.app_context():
        return f"/account/tokens/{db.session.scalars(sa.select(ApiToken.id)).one()}/revoke"


def is_live(program: Program) -> bool:
    return bool(program.get("/api/v1/cases").status_code == 200)


def test_what_uses_it_is_refused_from_then_on(
    desk: Browser,
    program: Program,
    clinician: User,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    assert is_live(program)
    assert path in desk.get("/account").text
    answer = desk.post(path)
    assert (answer.status_code, answer.location) == (303, "/account")
    assert not is_live(program)
    page = desk.get("/account").text
    assert "The access token is revoked." in page
    assert path not in page
    (event,) = record("token.revoked")
    assert event["actor_id"] == clinician.id
    assert desk.post(path).status_code == 404


def test_one_that_has_expired_is_marked(app: Flask, desk: Browser, clinician: User) -> None:
    with app.app_context():
        secret = clinic.token(clinician)
        token = db.session.scalars(sa.select(ApiToken)).one()
        token.expires_at = token.created_at + (token.expires_at - token.created_at) / 100
        db.session.commit()
    assert not is_live(Program(app.test_client(), secret))
    assert "Expired" in desk.get("/account").text


def test_those_of_others_are_not_there(stranger: Browser, program: Program, path: str) -> None:
    assert stranger.post(path).status_code == 404
    assert is_live(program)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, program: Program, path: str) -> None:
    assert nobody.post(path).location == "/sign-in"
    assert is_live(program)


def test_it_needs_the_csrf_token(desk: Browser, program: Program, path: str) -> None:
    assert desk.client.post(path).status_code == 400
    assert is_live(program)
