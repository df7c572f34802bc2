"""POST /allowances/change."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.catalogue.queries import latest_allowance

FORM = {
    "stat_minutes": "0",
    "asap_minutes": "30",
    "urgent_minutes": "120",
    "routine_minutes": "1440",
    "reason": "As decided.",
    "shown": "1",
}
PATH = "/allowances/change"


def version(app: Flask) -> int:
    with app.app_context():
        latest = latest_allowance(None, None)
        assert latest is not None
        return latest.version


def test_a_change_is_saved_and_waiting_cases_move_up(
    app: Flask, office: Browser, clinician: User, record: Callable[..., list[dict[str, Any]]]
) -> None:
    with app.app_context():
        clinic.send(clinician)
    answer = office.post(PATH, FORM)
    assert (answer.status_code, answer.location) == (303, "/allowances")
    page = office.get("/allowances").get_data(as_text=True)
    for part in ("1 waiting case moved up", "30 min", "24 h", "As decided."):
        assert part in page, part
    (event,) = record("allowance.changed")
    assert event["detail"]["old"] == {"routine": 4320, "urgent": 240, "asap": 60}
    assert event["detail"]["new"] == {"routine": 1440, "urgent": 120, "asap": 30}


def test_a_reading_task_gets_its_own_and_gives_it_up(app: Flask, office: Browser) -> None:
    with app.app_context():
        task = clinic.serve().reading_task_id
    path = f"{PATH}?reading_task_id={task}"
    assert office.post(path, FORM | {"shown": "0"}).status_code == 303
    assert "as_everywhere" in office.get(path).get_data(as_text=True)
    assert office.post(path, FORM | {"as_everywhere": "1"}).status_code == 303
    with app.app_context():
        latest = latest_allowance(task, None)
        assert latest is not None
        assert (latest.version, latest.is_own) == (2, False)


def test_a_stale_form_is_refused_with_both_versions_shown(app: Flask, office: Browser) -> None:
    office.post(PATH, FORM)
    answer = office.post(PATH, FORM | {"asap_minutes": "20"})
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    for part in ("changed since", "30 min", "20 min"):
        assert part in page, part
    assert office.post(PATH, FORM | {"asap_minutes": "20", "shown": "2"}).status_code == 303


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": ""},
        {"asap_minutes": ""},
        {"asap_minutes": "soon"},
        {"asap_minutes": "-1"},
        {"routine_minutes": "9999999"},
        {"asap_minutes": "240"},
        {"shown": "x"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(app: Flask, office: Browser, wrong: dict[str, str]) -> None:
    assert office.post(PATH, FORM | wrong).status_code == 422
    assert version(app) == 1


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
