"""GET and POST /users/new."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts import queries
from webapp.accounts.models import User
from webapp.audit import AuditEvent
from webapp.db import db
from webapp.permissions import Role

# What a library will take no longer is mended before its next release.
pytestmark = pytest.mark.filterwarnings("error::DeprecationWarning")

Browse = Callable[[], Browser]


def fields(**changes: Any) -> dict[str, Any]:
    """What the form sends; the first site has number 1."""
    data = {
        "username": "New.One",
        "full_name": "New One",
        "roles": ["clinician", "administrator"],
        "site_ids": ["1"],
    }
    return data | changes


@pytest.fixture
def admin(app: Flask, people: People) -> User:
    with app.app_context():
        people.site("North wing")
        return people.administrator()


def test_the_only_site_is_chosen_already(
    app: Flask, admin: User, people: People, browse: Browse
) -> None:
    office = browse().sign_in(admin)
    chosen = re.compile(r'<input[^>]*name="site_ids"[^>]* checked')
    with app.app_context():
        only = len(queries.all_sites()) == 1
    assert only
    assert chosen.search(office.get("/users/new").text)
    with app.app_context():
        people.site("South wing")
    assert not chosen.search(office.get("/users/new").text)


def test_it_adds_a_user_and_shows_the_password_once(
    app: Flask, admin: User, browse: Browse
) -> None:
    browser = browse().sign_in(admin)
    assert "North wing" in browser.get("/users/new").text
    answer = browser.post("/users/new", fields())
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    [password] = re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", answer.text)
    with app.app_context():
        user = queries.user_named("new.one")
        assert user is not None
        assert user.roles == {Role.CLINICIAN, Role.ADMINISTRATOR}
        assert [site.name for site in user.sites] == ["North wing"]
        event = db.session.scalars(sa.select(AuditEvent).order_by(AuditEvent.id.desc())).first()
        assert event is not None
        assert (event.action, event.actor_id, event.subject_id) == (
            "user.created",
            admin.id,
            user.id,
        )
    newcomer = browse().sign_in(user, password)
    assert newcomer.get("/").location == "/account"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"username": "user1"}, "There is a user of this name already."),
        ({"username": "with space"}, "Use 2 to 80 letters"),
        ({"username": ""}, "This is needed."),
        ({"full_name": " "}, "Give a name of at most 120 characters."),
        ({"roles": []}, "Choose at least one role."),
        ({"roles": ["owner"]}, "Invalid Choice"),
        ({"site_ids": []}, "Who sees patients belongs to at least one site."),
        ({"site_ids": ["77"]}, "is not a valid choice"),
        ({"site_ids": ["x"]}, "Invalid Choice"),
    ],
)
def test_bad_input_is_refused(
    app: Flask, admin: User, browse: Browse, changes: dict[str, Any], sentence: str
) -> None:
    answer = browse().sign_in(admin).post("/users/new", fields(**changes))
    assert answer.status_code == 422
    assert sentence.lower() in answer.text.lower()
    with app.app_context():
        assert len(queries.all_users()) == 1


def test_nobody_is_sent_to_sign_in(nobody: Browser) -> None:
    assert nobody.get("/users/new").location == "/sign-in?next=/users/new"
    assert nobody.post("/users/new", fields()).location == "/sign-in"


def test_a_clinician_may_not(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    assert browser.get("/users/new").status_code == 403
    assert browser.post("/users/new", fields()).status_code == 403


def test_it_needs_the_csrf_token(app: Flask, admin: User, browse: Browse) -> None:
    assert browse().sign_in(admin).client.post("/users/new", data=fields()).status_code == 400
    with app.app_context():
        assert len(queries.all_users()) == 1
