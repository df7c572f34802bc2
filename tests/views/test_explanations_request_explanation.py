from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.assessments.models import AssessedImage
from webapp.cases.models import Case
from webapp.db import db
from webapp.explanations.models import Explanation


def path(read: AssessedImage) -> str:
    return f"/assessed-images/{read.id}/explanations"


def asked(app: Flask) -> list[int]:
    """The findings that were asked about."""
    with app.app_context():
        return [row.finding_id for row in db.session.query(Explanation)]


def test_it_is_asked_for_from_the_page_and_then_shown_there(
    app: Flask,
    desk: Browser,
    case: Case,
    read: AssessedImage,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert f'action="{path(read)}"' in page
    assert "Show where the model looked" in page
    assert "does not show that the answer is right" in page
    answer = desk.post(path(read))
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}#explanation-1")
    assert asked(app) == [read.finding_id]
    assert "is being made" in desk.get(f"/cases/{case.id}").get_data(as_text=True)
    (event,) = record("explanation.requested")
    assert event["detail"] == {"case_id": case.id}


def test_another_finding_can_be_asked_about(app: Flask, desk: Browser, read: AssessedImage) -> None:
    other = read.predictions[-1].finding_id
    assert desk.post(path(read), {"finding": other}).status_code == 303
    assert asked(app) == [other]


def test_a_second_press_changes_nothing(app: Flask, desk: Browser, read: AssessedImage) -> None:
    for _ in range(2):
        assert desk.post(path(read)).status_code == 303
    assert asked(app) == [read.finding_id]


@pytest.mark.parametrize("finding", ["0", "-1", "grave", "99999999999", "\N{SUPERSCRIPT TWO}"])
def test_an_unknown_finding_is_refused(
    app: Flask, desk: Browser, read: AssessedImage, finding: str
) -> None:
    assert desk.post(path(read), {"finding": finding}).status_code == 422
    assert asked(app) == []


def test_what_was_held_back_is_not_explained(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        read = clinic.read(case, "grave", abstained=True).images[0]
    assert desk.post(path(read)).status_code == 409
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "Show where the model looked" not in page


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, read: AssessedImage) -> None:
    assert nobody.post(path(read)).location.startswith("/sign-in")
    assert asked(app) == []


def test_an_administrator_may_not(app: Flask, office: Browser, read: AssessedImage) -> None:
    assert office.post(path(read)).status_code == 403
    assert asked(app) == []


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, read: AssessedImage) -> None:
    assert stranger.post(path(read)).status_code == 404
    assert asked(app) == []


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, read: AssessedImage) -> None:
    assert desk.client.post(path(read)).status_code == 400
    assert asked(app) == []
