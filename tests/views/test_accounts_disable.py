"""POST /users/<id>/disable."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import PASSWORD, Browser, People
from webapp.accounts import queries
from webapp.accounts.models import User

Browse = Callable[[], Browser]
PATH = "/users/{}/disable"


@pytest.fixture
def admin(app: Flask, people: People) -> User:
    with app.app_context():
        return people.administrator()


@pytest.fixture
def clinician(app: Flask, people: People) -> User:
    with app.app_context():
        return people.clinician()


def test_it_ends_sessions_and_keeps_the_user_out(
    app: Flask, browse: Browse, admin: User, clinician: User
) -> None:
    theirs = browse().sign_in(clinician)
    answer = browse().sign_in(admin).post(PATH.format(clinician.id))
    assert (answer.status_code, answer.location) == (303, f"/users/{clinician.id}")
    assert theirs.get("/account").status_code == 303
    data = {"username": clinician.username, "password": PASSWORD}
    assert browse().post("/sign-in", data).status_code == 422


def test_ones_own_account_stays(app: Flask, people: People, browse: Browse, admin: User) -> None:
    with app.app_context():
        people.administrator()
    browser = browse().sign_in(admin)
    answer = browser.post(PATH.format(admin.id))
    assert "You cannot disable your own account." in browser.get(answer.location).text


def test_who_is_not_there_is_not_found(browse: Browse, admin: User) -> None:
    assert browse().sign_in(admin).post(PATH.format(999)).status_code == 404


def test_nobody_is_sent_to_sign_in(
    app: Flask, browse: Browse, admin: User, clinician: User
) -> None:
    assert browse().post(PATH.format(clinician.id)).location == "/sign-in"
    with app.app_context():
        assert queries.get_user(clinician.id).is_active


def test_a_clinician_may_not(
    app: Flask, people: People, browse: Browse, admin: User, clinician: User
) -> None:
    with app.app_context():
        other = people.clinician()
    assert browse().sign_in(other).post(PATH.format(clinician.id)).status_code == 403
    with app.app_context():
        assert queries.get_user(clinician.id).is_active


def test_it_needs_the_csrf_token(app: Flask, browse: Browse, admin: User, clinician: User) -> None:
    browser = browse().sign_in(admin)
    assert browser.client.post(PATH.format(clinician.id)).status_code == 400
    with app.app_context():
        assert queries.get_user(clinician.id).is_active
