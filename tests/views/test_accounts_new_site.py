"""POST /sites."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts import queries
from webapp.accounts.models import User

Browse = Callable[[], Browser]


@pytest.fixture
def admin(app: Flask, people: People) -> User:
    with app.app_context():
        people.site("North wing")
        return people.administrator()


def site_names(app: Flask) -> list[str]:
    with app.app_context():
        return [site.name for site in queries.all_sites()]


def test_it_adds_a_site(app: Flask, browse: Browse, admin: User) -> None:
    browser = browse().sign_in(admin)
    answer = browser.post("/sites", {"name": "South wing"})
    assert (answer.status_code, answer.location) == (303, "/users")
    assert "South wing" in browser.get("/users").text
    assert site_names(app) == ["North wing", "South wing"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("North wing", "There is a site of this name already."),
        ("", "This is needed."),
        ("x" * 121, "Field cannot be longer than 120 characters."),
    ],
)
def test_bad_input_is_refused(
    app: Flask, browse: Browse, admin: User, name: str, sentence: str
) -> None:
    answer = browse().sign_in(admin).post("/sites", {"name": name})
    assert answer.status_code == 422
    assert sentence in answer.text
    assert site_names(app) == ["North wing"]


def test_nobody_is_sent_to_sign_in(nobody: Browser) -> None:
    assert nobody.post("/sites", {"name": "South wing"}).location == "/sign-in"


def test_a_clinician_may_not(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician(people.site("North wing"))
    assert browse().sign_in(user).post("/sites", {"name": "South wing"}).status_code == 403
    assert site_names(app) == ["North wing"]


def test_it_needs_the_csrf_token(app: Flask, browse: Browse, admin: User) -> None:
    answer = browse().sign_in(admin).client.post("/sites", data={"name": "South wing"})
    assert answer.status_code == 400
    assert site_names(app) == ["North wing"]
