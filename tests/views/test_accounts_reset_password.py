"""POST /users/<id>/reset-password."""

import re
from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts import queries
from webapp.accounts.models import User

Browse = Callable[[], Browser]
PATH = "/users/{}/reset-password"


@pytest.fixture
def admin(app: Flask, people: People) -> User:
    with app.app_context():
        return people.administrator()


@pytest.fixture
def clinician(app: Flask, people: People) -> User:
    with app.app_context():
        return people.clinician()


def test_it_shows_a_one_time_password_once(
    app: Flask, browse: Browse, admin: User, clinician: User
) -> None:
    theirs = browse().sign_in(clinician)
    browser = browse().sign_in(admin)
    answer = browser.post(PATH.format(clinician.id))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    [password] = re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", answer.text)
    assert password not in browser.get(f"/users/{clinician.id}").text
    assert theirs.get("/account").status_code == 303
    newcomer = browse().sign_in(clinician, password)
    assert newcomer.get("/cases").location == "/account"


def test_who_is_not_there_is_not_found(browse: Browse, admin: User) -> None:
    assert browse().sign_in(admin).post(PATH.format(999)).status_code == 404


def test_nobody_is_sent_to_sign_in(
    app: Flask, browse: Browse, admin: User, clinician: User
) -> None:
    assert browse().post(PATH.format(clinician.id)).location == "/sign-in"
    with app.app_context():
        assert not queries.get_user(clinician.id).password_is_one_time


def test_a_clinician_may_not(
    app: Flask, people: People, browse: Browse, admin: User, clinician: User
) -> None:
    with app.app_context():
        other = people.clinician()
    assert browse().sign_in(other).post(PATH.format(clinician.id)).status_code == 403
    with app.app_context():
        assert not queries.get_user(clinician.id).password_is_one_time


def test_it_needs_the_csrf_token(app: Flask, browse: Browse, admin: User, clinician: User) -> None:
    browser = browse().sign_in(admin)
    assert browser.client.post(PATH.format(clinician.id)).status_code == 400
    with app.app_context():
        assert not queries.get_user(clinician.id).password_is_one_time
