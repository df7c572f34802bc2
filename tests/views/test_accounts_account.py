"""GET and POST /account."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import PASSWORD, Browser, People
from webapp.accounts import throttling
from webapp.permissions import Role

Browse = Callable[[], Browser]
NEW = "another good one"


def passwords(
    current: str = PASSWORD, new: str = NEW, repeated: str | None = None
) -> dict[str, str]:
    return {
        "current_password": current,
        "new_password": new,
        "repeated_password": new if repeated is None else repeated,
    }


def test_it_shows_who_one_is(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        site = people.site("North wing")
        user = people.clinician(site)
    page = browse().sign_in(user).get("/account").text
    for text in (user.username, user.full_name, "Clinician", "North wing"):
        assert text in page


def test_changing_the_password_keeps_this_session_only(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    here, elsewhere = browse().sign_in(user), browse().sign_in(user)
    before = here.client.get_cookie("firstlook_session")
    answer = here.post("/account", passwords())
    assert (answer.status_code, answer.location) == (303, "/account")
    assert "Your password was changed." in here.get("/account").text
    assert elsewhere.get("/account").status_code == 303
    here.client.set_cookie("firstlook_session", before.value)
    assert here.get("/account").status_code == 303
    browse().sign_in(user, NEW)


def test_after_a_one_time_password_one_goes_to_work(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.user(Role.ADMINISTRATOR, password_is_one_time=True)
    browser = browse().sign_in(user)
    assert browser.post("/account", passwords()).location == "/"
    assert browser.get("/users").status_code == 200


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (passwords(current="not the password"), "This is not your present password."),
        (passwords(new="too short"), "Use at least 12 characters."),
        (passwords(new="password1234"), "Many people use this password."),
        (passwords(new=PASSWORD), "Choose another password than the present one."),
        (passwords(repeated="something else"), "The two new passwords differ."),
        ({}, "This is needed."),
    ],
)
def test_bad_input_is_refused(
    app: Flask, people: People, browse: Browse, data: dict[str, str], sentence: str
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    answer = browser.post("/account", data)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert NEW not in answer.text
    browse().sign_in(user)


def test_all_that_is_wrong_is_told_at_once(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.user(Role.CLINICIAN, password_is_one_time=True, username="aaaa")
    browser = browse().sign_in(user)
    data = passwords(current="not the password", new="aaaa", repeated="something else")
    page = browser.post("/account", data).text
    for sentence in (
        "This is not your present password.",
        "Use at least 12 characters.",
        "Many people use this password.",
        "The password must not be the user name.",
        "The two new passwords differ.",
    ):
        assert f"<p>{sentence}" in page
    page = browser.post("/account", passwords(new=PASSWORD, repeated="")).text
    assert "<p>Choose another password than the present one." in page
    assert "<p>This is needed." in page
    assert "This is not your present password." not in page


def test_a_right_password_in_a_form_with_other_errors_is_no_guess(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS + 1):
        assert browser.post("/account", passwords(new="too short")).status_code == 422
    assert browser.post("/account", passwords()).status_code == 303


def test_guessing_in_a_form_with_other_errors_is_throttled(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    wrong = passwords(current="not the password", new="too short")
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        assert browser.post("/account", wrong).status_code == 422
    assert browser.post("/account", wrong).status_code == 429


def test_guessing_is_throttled(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        browser.post("/account", passwords(current="not the password"))
    answer = browser.post("/account", passwords())
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_nobody_is_sent_to_sign_in(nobody: Browser) -> None:
    assert nobody.get("/account").location == "/sign-in?next=/account"
    assert nobody.post("/account", passwords()).location == "/sign-in"


def test_it_needs_the_csrf_token(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    assert browser.client.post("/account", data=passwords()).status_code == 400
    browse().sign_in(user)
