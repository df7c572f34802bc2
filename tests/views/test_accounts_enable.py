"""POST /users/<id>/enable."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts import queries, services
from webapp.accounts.models import User

Browse = Callable[[], Browser]
PATH = "/users/{}/enable"


@pytest.fixture
def admin(app: Flask, people: People) -> User:
    with app.app_context():
        return people.administrator()


@pytest.fixture
def clinician(app: Flask, people: People) -> User:
    with app.app_context():
        return people.clinician()


def test_it_lets_the_user_in_again(
    app: Flask, browse: Browse, admin: User, clinician: User
) -> None:
    with app.app_context():
        services.disable_user(actor=admin, user=queries.get_user(clinician.id))
    browser = browse().sign_in(admin)
    assert "ends all sessions" not in browser.get(f"/users/{clinician.id}").text
    answer = browser.post(PATH.format(clinician.id))
    assert (answer.status_code, answer.location) == (303, f"/users/{clinician.id}")
    browse().sign_in(clinician)


def test_who_is_not_there_is_not_found(browse: Browse, admin: User) -> None:
    assert browse().sign_in(admin).post(PATH.format(999)).status_code == 404


def test_nobody_is_sent_to_sign_in(
    app: Flask, browse: Browse, admin: User, clinician: User
) -> None:
    with app.app_context():
        services.disable_user(actor=None, user=queries.get_user(clinician.id))
    assert browse().post(PATH.format(clinician.id)).location == "/sign-in"
    with app.app_context():
        assert not queries.get_user(clinician.id).is_active


def test_a_clinician_may_not(
    app: Flask, people: People, browse: Browse, admin: User, clinician: User
) -> None:
    with app.app_context():
        services.disable_user(actor=None, user=queries.get_user(clinician.id))
    with app.app_context():
        other = people.clinician()
    assert browse().sign_in(other).post(PATH.format(clinician.id)).status_code == 403
    with app.app_context():
        assert not queries.get_user(clinician.id).is_active


def test_it_needs_the_csrf_token(app: Flask, browse: Browse, admin: User, clinician: User) -> None:
    with app.app_context():
        services.disable_user(actor=None, user=queries.get_user(clinician.id))
    browser = browse().sign_in(admin)
    assert browser.client.post(PATH.format(clinician.id)).status_code == 400
    with app.app_context():
        assert not queries.get_user(clinician.id).is_active
