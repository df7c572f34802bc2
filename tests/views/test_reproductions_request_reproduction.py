"""POST /assessments/<assessment_id>/reproductions: the same input, read once more."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp.accounts.models import Site
from webapp.assessments.models import AssessedImage
from webapp.cases.models import Case
from webapp.db import db
from webapp.reproductions.models import Reproduction


@pytest.fixture
def path(read: AssessedImage) -> str:
    return f"/assessments/{read.assessment_id}/reproductions"


def asked(app: Flask) -> int:
    with app.app_context():
        return db.session.query(Reproduction).count()


def test_it_is_asked_for_from_the_page_and_then_shown_there(
    app: Flask,
    desk: Browser,
    case: Case,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    page = desk.get(f"/cases/{case.id}").text
    assert f'action="{path}"' in page
    assert "it is no new answer" in page
    answer = desk.post(path)
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}#reproduction-1")
    page = desk.get(f"/cases/{case.id}").text
    assert 'hx-get="/reproductions/1/status"' in page
    assert f'action="{path}"' not in page
    (event,) = record("reproduction.requested")
    assert event["detail"] == {"assessment_id": 1, "case_id": case.id}


def test_a_second_press_changes_nothing(app: Flask, desk: Browser, path: str) -> None:
    for _ in range(2):
        assert desk.post(path).status_code == 303
    assert asked(app) == 1


def test_it_neither_moves_the_case_nor_counts_as_its_answer(desk: Browser, path: str) -> None:
    before = desk.get("/cases").text.partition("<tbody>")[2].partition("</tbody>")[0]
    desk.post(path)
    after = desk.get("/cases").text.partition("<tbody>")[2].partition("</tbody>")[0]
    assert after == before


def test_what_has_no_answer_is_not_read_again(app: Flask, desk: Browser, case: Case) -> None:
    assert "reproductions" not in desk.get(f"/cases/{case.id}").text
    assert desk.post("/assessments/1/reproductions").status_code == 409
    assert asked(app) == 0


def test_before_an_own_impression_it_is_not_there(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    with app.app_context():
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    assert desk.post(path).status_code == 404
    assert asked(app) == 0


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, path: str) -> None:
    assert nobody.post(path).location.startswith("/sign-in")
    assert asked(app) == 0


def test_an_administrator_may_not(app: Flask, office: Browser, path: str) -> None:
    assert office.post(path).status_code == 403
    assert asked(app) == 0


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, path: str) -> None:
    assert stranger.post(path).status_code == 404
    assert asked(app) == 0


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, path: str) -> None:
    assert desk.client.post(path).status_code == 400
    assert asked(app) == 0
