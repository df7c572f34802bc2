"""POST /users/<id>/enable."""

from collections.abc import Callable

from flask import Flask

from tests.conftest import Browser
from webapp.accounts import queries, services
from webapp.accounts.models import User

Browse = Callable[[], Browser]
PATH = "/users/{}/enable"


def disable(app: Flask, user: User) -> None:
    with app.app_context():
        services.disable_user(actor=None, user=queries.get_user(user.id))


def test_it_lets_the_user_in_again(
    app: Flask, browse: Browse, office: Browser, clinician: User
) -> None:
    disable(app, clinician)
    assert "ends all sessions" not in office.get(f"/users/{clinician.id}").text
    answer = office.post(PATH.format(clinician.id))
    assert (answer.status_code, answer.location) == (303, f"/users/{clinician.id}")
    browse().sign_in(clinician)


def test_who_is_not_there_is_not_found(office: Browser) -> None:
    assert office.post(PATH.format(999)).status_code == 404


def test_others_are_turned_away_and_nothing_is_done(
    app: Flask, turned_away: Callable[[str], None], clinician: User
) -> None:
    disable(app, clinician)
    turned_away(PATH.format(clinician.id))
    with app.app_context():
        assert not queries.get_user(clinician.id).is_active
