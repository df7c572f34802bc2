"""GET and POST /users/<id>."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts import queries
from webapp.accounts.models import User
from webapp.permissions import Role

Browse = Callable[[], Browser]


@pytest.fixture
def admin(app: Flask, people: People) -> User:
    with app.app_context():
        return people.administrator()


@pytest.fixture
def clinician(app: Flask, people: People) -> User:
    with app.app_context():
        return people.clinician(people.site("North wing"))


def test_it_changes_name_roles_and_sites(
    app: Flask, people: People, browse: Browse, admin: User, clinician: User
) -> None:
    with app.app_context():
        other = people.site("South wing")
    theirs = browse().sign_in(clinician)
    browser = browse().sign_in(admin)
    page = browser.get(f"/users/{clinician.id}").text
    assert clinician.full_name in page
    assert 'name="username"' not in page
    answer = browser.post(
        f"/users/{clinician.id}",
        {"full_name": "Other Name", "roles": ["administrator"], "site_ids": [str(other.id)]},
    )
    assert (answer.status_code, answer.location) == (303, "/users")
    with app.app_context():
        user = queries.get_user(clinician.id)
        assert user.full_name == "Other Name"
        assert user.roles == {Role.ADMINISTRATOR}
        assert user.site_ids == {other.id}
    assert theirs.get("/account").status_code == 303


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"full_name": ""}, "This is needed."),
        ({"roles": []}, "Choose at least one role."),
        ({"site_ids": []}, "Who sees patients belongs to at least one site."),
        ({"site_ids": ["77"]}, "is not a valid choice"),
    ],
)
def test_bad_input_is_refused(
    app: Flask,
    browse: Browse,
    admin: User,
    clinician: User,
    changes: dict[str, Any],
    sentence: str,
) -> None:
    data = {"full_name": "Other Name", "roles": ["clinician"], "site_ids": ["1"]} | changes
    answer = browse().sign_in(admin).post(f"/users/{clinician.id}", data)
    assert answer.status_code == 422
    assert sentence in answer.text
    with app.app_context():
        assert queries.get_user(clinician.id).full_name == clinician.full_name


def test_own_roles_stay(app: Flask, people: People, browse: Browse, admin: User) -> None:
    with app.app_context():
        people.administrator()
    data = {"full_name": "Other Name", "roles": ["administrator", "clinician"], "site_ids": []}
    answer = browse().sign_in(admin).post(f"/users/{admin.id}", data)
    assert answer.status_code == 422
    assert "You cannot change your own roles." in answer.text


def test_who_is_not_there_is_not_found(browse: Browse, admin: User) -> None:
    browser = browse().sign_in(admin)
    assert browser.get("/users/999").status_code == 404
    assert browser.post("/users/999", {}).status_code == 404


def test_nobody_is_sent_to_sign_in(nobody: Browser, clinician: User) -> None:
    path = f"/users/{clinician.id}"
    assert nobody.get(path).location == f"/sign-in?next={path}"
    assert nobody.post(path).location == "/sign-in"


def test_a_clinician_may_not(browse: Browse, clinician: User) -> None:
    browser = browse().sign_in(clinician)
    assert browser.get(f"/users/{clinician.id}").status_code == 403
    data = {"full_name": "Other", "roles": ["administrator"], "site_ids": ["1"]}
    assert browser.post(f"/users/{clinician.id}", data).status_code == 403


def test_it_needs_the_csrf_token(app: Flask, browse: Browse, admin: User, clinician: User) -> None:
    data = {"full_name": "Other Name", "roles": ["clinician"], "site_ids": ["1"]}
    browser = browse().sign_in(admin)
    assert browser.client.post(f"/users/{clinician.id}", data=data).status_code == 400
    with app.app_context():
        assert queries.get_user(clinician.id).full_name == clinician.full_name
