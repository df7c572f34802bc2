"""POST /users/<id>/disable."""

from collections.abc import Callable

from flask import Flask

from tests.conftest import PASSWORD, Browser, People
from webapp.accounts import queries
from webapp.accounts.models import User

Browse = Callable[[], Browser]
PATH = "/users/{}/disable"


def test_it_ends_sessions_and_keeps_the_user_out(
    browse: Browse, office: Browser, clinician: User
) -> None:
    theirs = browse().sign_in(clinician)
    answer = office.post(PATH.format(clinician.id))
    assert (answer.status_code, answer.location) == (303, f"/users/{clinician.id}")
    assert theirs.get("/account").status_code == 303
    data = {"username": clinician.username, "password": PASSWORD}
    assert browse().post("/sign-in", data).status_code == 422


def test_ones_own_account_stays(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        admin, _other = people.administrator(), people.administrator()
    browser = browse().sign_in(admin)
    answer = browser.post(PATH.format(admin.id))
    assert "You cannot disable your own account." in browser.get(answer.location).text


def test_who_is_not_there_is_not_found(office: Browser) -> None:
    assert office.post(PATH.format(999)).status_code == 404


def test_others_are_turned_away_and_nothing_is_done(
    app: Flask, turned_away: Callable[[str], None], clinician: User
) -> None:
    turned_away(PATH.format(clinician.id))
    with app.app_context():
        assert queries.get_user(clinician.id).is_active
