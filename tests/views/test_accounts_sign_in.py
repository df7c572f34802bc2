"""GET and POST /sign-in."""

import datetime as dt
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import PASSWORD, Browser, People
from webapp.accounts import services, throttling
from webapp.accounts.models import SignInFailure, UserSession
from webapp.audit import AuditEvent
from webapp.db import db, now, transaction
from webapp.permissions import Role

Browse = Callable[[], Browser]


def test_a_clinician_signs_in_and_gets_to_work(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse()
    assert browser.get("/sign-in").status_code == 200
    answer = browser.post("/sign-in", {"username": user.username, "password": PASSWORD})
    assert (answer.status_code, answer.location) == (303, "/")
    assert browser.get("/account").status_code == 200
    with app.app_context():
        event = db.session.scalars(sa.select(AuditEvent)).one()
        assert (event.action, event.actor_id) == ("account.signed_in", user.id)
        assert event.remote_address == "127.0.0.1"


def test_the_cookie_is_closed_to_scripts_and_other_sites(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    answer = browse().post("/sign-in", {"username": user.username, "password": PASSWORD})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("firstlook_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_signing_in_leaves_the_former_session_behind(
    app: Flask, people: People, browse: Browse
) -> None:
    """A token planted in the browser beforehand is worth nothing afterwards."""
    with app.app_context():
        user = people.clinician()
    browser = browse()
    planted = browser.csrf_token()
    browser.sign_in(user)
    answer = browser.client.post("/session", data={"csrf_token": planted})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/cases?page=2", "/cases?page=2"),
        ("//elsewhere.example", "/"),
        ("https://elsewhere.example/", "/"),
        ("/\\elsewhere.example", "/"),
        ("/\t/elsewhere.example", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_it_leads_back_to_own_pages_only(
    app: Flask, people: People, browse: Browse, target: str, location: str
) -> None:
    with app.app_context():
        user = people.clinician()
    answer = browse().post(
        "/sign-in",
        {"username": user.username, "password": PASSWORD},
        query_string={"next": target},
    )
    assert (answer.status_code, answer.location) == (303, location)


def test_who_is_signed_in_goes_on(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    assert browse().sign_in(user).get("/sign-in").status_code == 303


def test_a_one_time_password_must_be_changed_first(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.user(Role.ADMINISTRATOR, password_is_one_time=True)
    browser = browse().sign_in(user)
    for path in ("/", "/users", "/cases"):
        answer = browser.get(path)
        assert (answer.status_code, answer.location) == (303, "/account")
    assert browser.post("/sites", {"name": "Another"}).location == "/account"
    for path in ("/account", "/healthz", "/session"):
        assert browser.get(path).status_code == 200
    assert browser.post("/sign-out").location == "/sign-in"


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("username", ["user1", "nobody", "no\0body"])
def test_a_wrong_password_and_an_unknown_name_look_alike(
    app: Flask, people: People, browse: Browse, username: str
) -> None:
    with app.app_context():
        people.clinician()
    answer = browse().post("/sign-in", {"username": username, "password": "not the password"})
    assert answer.status_code == 422
    assert "The user name or the password is wrong." in answer.text
    with app.app_context():
        assert db.session.scalars(sa.select(AuditEvent.action)).all() == ["account.sign_in_refused"]
        assert db.session.scalar(sa.select(UserSession)) is None


def test_a_disabled_user_is_refused(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
        services.disable_user(actor=None, user=user)
    answer = browse().post("/sign-in", {"username": user.username, "password": PASSWORD})
    assert answer.status_code == 422


def test_too_many_failures_are_told_when_to_come_back(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse()
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        browser.post("/sign-in", {"username": user.username, "password": "not the password"})
    answer = browser.post("/sign-in", {"username": user.username, "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 900
    assert "Too many attempts. Try again in 15 minutes." in answer.text
    with app.app_context(), transaction():
        almost = now() - throttling.FAILURE_WINDOW + dt.timedelta(seconds=30)
        db.session.execute(sa.update(SignInFailure).values(failed_at=almost))
    answer = browser.post("/sign-in", {"username": user.username, "password": PASSWORD})
    assert "Too many attempts. Try again in 1 minute." in answer.text


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"username": "user1"},
        {"username": "", "password": PASSWORD},
        {"username": "x" * 81, "password": PASSWORD},
        {"username": "user1", "password": "x" * 201},
    ],
)
def test_bad_input_is_refused(browse: Browse, data: dict[str, str]) -> None:
    assert browse().post("/sign-in", data).status_code == 422


def test_it_needs_the_csrf_token(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    data = {"username": user.username, "password": PASSWORD}
    assert browse().client.post("/sign-in", data=data).status_code == 400
