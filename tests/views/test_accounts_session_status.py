"""GET /session: how long the session lasts, and what makes it last."""

import datetime as dt
from collections.abc import Callable

import sqlalchemy as sa
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts.models import UserSession
from webapp.db import db, now

Browse = Callable[[], Browser]


def idle_for(app: Flask, **time: float) -> None:
    with app.app_context():
        moment = now() - dt.timedelta(**time)
        db.session.execute(sa.update(UserSession).values(last_active_at=moment))
        db.session.commit()


def test_it_counts_down_and_asking_does_not_renew(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    assert 890 < browser.get("/session").json["seconds_left"] <= 900
    idle_for(app, minutes=13)
    for _ in range(2):
        assert 110 < browser.get("/session").json["seconds_left"] <= 120
    idle_for(app, minutes=15)
    assert browser.get("/session").status_code == 401


def test_opening_a_page_renews(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    idle_for(app, minutes=14)
    assert browser.get("/account").status_code == 200
    assert browser.get("/session").json["seconds_left"] > 890


def test_a_page_after_the_end_leads_to_sign_in_and_back(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    idle_for(app, minutes=16)
    assert browser.get("/account?from=here").location == "/sign-in?next=/account"
    assert browser.get("/account").status_code == 303


def test_a_form_after_the_end_leads_back_to_its_page(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    data = {"csrf_token": browser.csrf_token()}
    idle_for(app, minutes=16)
    for referrer, location in (
        ("http://localhost/patients/7", "/sign-in?next=/patients/7"),
        ("http://elsewhere.example/patients/7", "/sign-in"),
    ):
        answer = browser.client.post("/sign-out", data=data, headers={"Referer": referrer})
        assert answer.location == location


def test_nobody_is_told_401(nobody: Browser) -> None:
    assert nobody.get("/session").status_code == 401
