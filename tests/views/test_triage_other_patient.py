"""GET /cases/<case_id>/patient: the form to file a case for another patient."""

from collections.abc import Callable
from typing import Any

from tests.conftest import Browser
from webapp.cases.models import Case


def test_it_names_the_patient_and_asks_for_another(desk: Browser, case: Case) -> None:
    path = f"/cases/{case.id}/patient"
    assert f'href="{path}"' in desk.get(f"/cases/{case.id}").text
    page = desk.get(path).text
    assert "Filed for A-1" in page
    assert f'action="{path}"' in page
    assert f'value="{case.patient_id} 0"' in page
    assert "This case is signed" not in page


def test_opening_it_is_on_record(
    desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(f"/cases/{case.id}/patient")
    (look,) = record("case.opened")
    assert look["subject"] == ("Case", case.id)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, case: Case) -> None:
    assert nobody.get(f"/cases/{case.id}/patient").location.startswith("/sign-in")


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    assert office.get(f"/cases/{case.id}/patient").status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, case: Case) -> None:
    assert stranger.get(f"/cases/{case.id}/patient").status_code == 404
