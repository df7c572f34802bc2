"""GET /cases/<case_id>/particulars: the form for what is said of a case."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.cases.models import Case


def test_it_is_filled_with_what_is_said(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        clinic.serve(body_sites=["back", "face"])
    page = desk.get(f"/cases/{case.id}/particulars").text
    assert f"Correct case {case.id}" in page
    assert 'name="age_at_acquisition_years"' in page
    assert '<option value="face">' in page
    assert f'href="/cases/{case.id}/particulars"' in desk.get(f"/cases/{case.id}").text


def test_what_the_reading_task_does_not_ask_for_is_not_asked(desk: Browser, case: Case) -> None:
    page = desk.get(f"/cases/{case.id}/particulars").text
    assert 'name="body_site"' not in page
    assert 'name="laterality"' not in page


def test_opening_it_is_on_record(
    desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(f"/cases/{case.id}/particulars")
    (look,) = record("case.opened")
    assert look["subject"] == ("Case", case.id)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, case: Case) -> None:
    answer = nobody.get(f"/cases/{case.id}/particulars")
    assert answer.location.startswith("/sign-in")


def test_an_administrator_may_not(office: Browser, case: Case) -> None:
    assert office.get(f"/cases/{case.id}/particulars").status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, case: Case) -> None:
    assert stranger.get(f"/cases/{case.id}/particulars").status_code == 404
