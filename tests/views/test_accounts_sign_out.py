"""POST /sign-out."""

from collections.abc import Callable

import sqlalchemy as sa
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts.models import UserSession
from webapp.db import db

Browse = Callable[[], Browser]


def test_it_ends_this_session(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    here, elsewhere = browse().sign_in(user), browse().sign_in(user)
    stolen = here.client.get_cookie("firstlook_session")
    assert stolen is not None
    assert here.post("/sign-out").location == "/sign-in"
    assert here.get("/account").status_code == 303
    assert elsewhere.get("/account").status_code == 200
    here.client.set_cookie("firstlook_session", stolen.value)
    assert here.get("/account").status_code == 303


def test_a_link_does_not_sign_out(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    assert browser.get("/sign-out").status_code == 405
    assert browser.get("/account").status_code == 200


def test_nobody_is_sent_to_sign_in(nobody: Browser) -> None:
    assert nobody.post("/sign-out").location == "/sign-in"


def test_it_needs_the_csrf_token(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    assert browser.client.post("/sign-out").status_code == 400
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(UserSession)) == 1
