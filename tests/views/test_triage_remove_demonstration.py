"""POST /cases/demonstration/remove."""

from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User

PATH = "/cases/demonstration/remove"


def test_they_are_void_and_kept(app: Flask, desk: Browser, clinician: User) -> None:
    with app.app_context():
        clinic.bring_samples(clinic.serve())
    desk.post("/cases/demonstration")
    assert PATH in desk.get("/cases/1").get_data(as_text=True)
    answer = desk.post(PATH)
    assert (answer.status_code, answer.location) == (303, "/cases")
    page = desk.get("/cases?show=all").get_data(as_text=True)
    assert "2 demonstration cases are removed" in page
    assert page.count("case-row--void") == 2
    assert PATH not in desk.get("/cases/1").get_data(as_text=True)


def test_cases_of_other_sites_stay(
    app: Flask, desk: Browser, stranger: Browser, clinician: User
) -> None:
    with app.app_context():
        clinic.bring_samples(clinic.serve())
    desk.post("/cases/demonstration")
    stranger.post(PATH)
    assert PATH in desk.get("/cases/1").get_data(as_text=True)


def test_who_may_not_is_turned_away(nobody: Browser, office: Browser, desk: Browser) -> None:
    assert nobody.post(PATH).location == "/sign-in"
    assert office.post(PATH).status_code == 403
    assert desk.client.post(PATH).status_code == 400
