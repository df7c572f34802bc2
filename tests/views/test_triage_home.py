from collections.abc import Callable

from flask import Flask

from tests.conftest import Browser, People
from webapp.permissions import Role


def test_a_clinician_begins_at_the_worklist(desk: Browser) -> None:
    assert desk.get("/").location == "/cases"


def test_an_administrator_begins_at_the_users(office: Browser) -> None:
    assert office.get("/").location == "/users"


def test_who_is_both_begins_at_the_worklist(
    app: Flask, people: People, browse: Callable[[], Browser]
) -> None:
    with app.app_context():
        both = people.user(Role.CLINICIAN, Role.ADMINISTRATOR, sites=[people.site()])
    assert browse().sign_in(both).get("/").location == "/cases"


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    answer = nobody.get("/")
    assert answer.status_code == 303
    assert answer.location.startswith("/sign-in")
