"""POST /cases/demonstration, and `flask demo`."""

from dataclasses import replace

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User

PATH = "/cases/demonstration"


@pytest.fixture
def samples(app: Flask, clinician: User) -> None:
    with app.app_context():
        clinic.bring_samples(clinic.serve())


def test_they_are_added_and_marked(desk: Browser, samples: None) -> None:
    assert "Add demonstration cases" in desk.get("/cases").get_data(as_text=True)
    answer = desk.post(PATH)
    assert (answer.status_code, answer.location) == (303, "/cases")
    page = desk.get("/cases").get_data(as_text=True)
    assert "2 demonstration cases are added" in page
    assert page.count(">Demonstration<") == 2
    assert "Add demonstration cases" not in page
    assert "This case shows how Firstlook works" in desk.get("/cases/1").get_data(as_text=True)
    assert desk.get("/cases.csv").get_data(as_text=True).count(",yes") == 2
    desk.post(PATH)
    assert "There are demonstration cases already" in desk.get("/cases").get_data(as_text=True)


def test_without_pictures_it_says_so(desk: Browser) -> None:
    desk.post(PATH)
    assert "brought sample pictures" in desk.get("/cases").get_data(as_text=True)


def test_never_where_it_is_used_in_earnest(app: Flask, desk: Browser, samples: None) -> None:
    app.config["FIRSTLOOK"] = replace(app.config["FIRSTLOOK"], trusted_proxies=1)
    assert "Add demonstration cases" not in desk.get("/cases").get_data(as_text=True)
    assert desk.post(PATH).status_code == 404


def test_the_command_line_adds_and_removes_them(app: Flask, clinician: User, samples: None) -> None:
    runner = app.test_cli_runner()
    added = runner.invoke(args=["demo", "add", "--user", clinician.username])
    assert "2 demonstration cases are added" in added.output
    again = runner.invoke(args=["demo", "add", "--user", clinician.username])
    assert "refused: demonstration there" in again.output
    removed = runner.invoke(args=["demo", "remove", "--user", clinician.username])
    assert "2 demonstration cases are removed" in removed.output
    assert "there is no user" in runner.invoke(args=["demo", "add", "--user", "who"]).output


def test_who_may_not_is_turned_away(nobody: Browser, office: Browser, desk: Browser) -> None:
    assert nobody.post(PATH).location == "/sign-in"
    assert office.post(PATH).status_code == 403
    assert desk.client.post(PATH).status_code == 400
