"""POST /users/<id>/reset-password."""

import re
from collections.abc import Callable

from flask import Flask

from tests.conftest import Browser
from webapp.accounts import queries
from webapp.accounts.models import User

Browse = Callable[[], Browser]
PATH = "/users/{}/reset-password"


def test_it_shows_a_one_time_password_once(
    browse: Browse, office: Browser, clinician: User
) -> None:
    theirs = browse().sign_in(clinician)
    answer = office.post(PATH.format(clinician.id))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    [password] = re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", answer.text)
    assert password not in office.get(f"/users/{clinician.id}").text
    assert theirs.get("/account").status_code == 303
    newcomer = browse().sign_in(clinician, password)
    assert newcomer.get("/cases").location == "/account"


def test_who_is_not_there_is_not_found(office: Browser) -> None:
    assert office.post(PATH.format(999)).status_code == 404


def test_others_are_turned_away_and_nothing_is_done(
    app: Flask, turned_away: Callable[[str], None], clinician: User
) -> None:
    turned_away(PATH.format(clinician.id))
    with app.app_context():
        assert not queries.get_user(clinician.id).password_is_one_time
