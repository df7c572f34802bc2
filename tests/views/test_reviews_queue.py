"""GET /second-reads; what fills it is tried with the second readings."""

from collections.abc import Callable
from typing import Any

from tests.conftest import Browser
from webapp.accounts.models import User


def test_an_empty_queue_says_what_it_is_for(desk: Browser) -> None:
    page = desk.get("/second-reads")
    assert page.status_code == 200
    assert "A case appears here when a second reader sees something else" in page.text
    assert "waiting-title" not in page.text


def test_opening_it_is_on_record(
    desk: Browser, clinician: User, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get("/second-reads")
    (look,) = record("second_reads.opened")
    assert (look["actor_id"], look["detail"]) == (clinician.id, {"count": 0})


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/second-reads").location.startswith("/sign-in")


def test_an_administrator_sees_no_patients(office: Browser) -> None:
    assert office.get("/second-reads").status_code == 403
