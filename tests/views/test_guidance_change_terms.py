"""POST /findings/<id>/terms."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.catalogue.models import FindingTerms
from webapp.catalogue.queries import findings_by_code, latest_terms

FORM = {
    "malignancy": "malignant",
    "urgency": "asap",
    "mark": "20",
    "recommendation": "Look again.",
    "description": "watch it is",
    "about": "",
    "reason": "As decided.",
    "shown": "1",
}


@pytest.fixture
def number(app: Flask) -> int:
    with app.app_context():
        return findings_by_code(clinic.serve().reading_task_id)["watch"].id


def terms(app: Flask, number: int, site_id: int | None = None) -> FindingTerms | None:
    with app.app_context():
        return latest_terms(number, site_id)


def test_a_change_is_saved_and_waiting_cases_move_up(
    app: Flask,
    office: Browser,
    desk: Browser,
    clinician: User,
    number: int,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        case = clinic.send(clinician)
        clinic.read(case, "watch")
    answer = office.post(f"/findings/{number}/terms", FORM)
    assert (answer.status_code, answer.location) == (303, f"/findings/{number}")
    assert "1 waiting case moved up" in office.get(answer.location).get_data(as_text=True)
    saved = terms(app, number)
    assert saved is not None
    assert (saved.version, saved.mark, saved.about) == (2, 0.2, None)
    (event,) = record("finding.changed")
    assert event["detail"]["new"]["malignancy"] == "malignant"
    assert event["subject"] == ("Finding", number)
    audit = office.get("/audit?action=finding.changed").get_data(as_text=True)
    assert "urgency routine, recommendation Look., mark none" in audit
    shown = desk.get("/cases").get_data(as_text=True)
    assert "Watch, more urgent since a change of the catalogue" in shown
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "Look.<" in page  # as the answer was given
    assert "Look again." not in page
    assert "Watch, more urgent since a change of the catalogue" in page


def test_a_site_gets_its_own_and_gives_it_up(
    app: Flask, people: People, office: Browser, number: int
) -> None:
    with app.app_context():
        site = people.site()
    path = f"/findings/{number}/terms?site_id={site.id}"
    assert office.post(path, FORM | {"shown": "0"}).status_code == 303
    assert "as_everywhere" in office.get(path).get_data(as_text=True)
    assert office.post(path, FORM | {"as_everywhere": "1"}).status_code == 303
    latest = terms(app, number, site.id)
    assert latest is not None
    assert (latest.version, latest.is_own) == (2, False)


def test_a_stale_form_is_refused_with_both_versions_shown(
    app: Flask, office: Browser, number: int
) -> None:
    path = f"/findings/{number}/terms"
    office.post(path, FORM)
    answer = office.post(path, FORM | {"recommendation": "Look thrice.", "mark": "30"})
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    for part in ("changed since", "Look again.", "Look thrice.", "20", "30"):
        assert part in page, part
    assert 'name="shown" type="hidden" value="2"' in page
    again = FORM | {"recommendation": "Look thrice.", "shown": "2"}
    assert office.post(path, again).status_code == 303


def test_the_same_again_changes_nothing(app: Flask, office: Browser, number: int) -> None:
    for _ in range(2):
        assert office.post(f"/findings/{number}/terms", FORM).status_code == 303
    saved = terms(app, number)
    assert saved is not None
    assert saved.version == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": ""},
        {"reason": "x" * 1001},
        {"recommendation": " "},
        {"description": ""},
        {"mark": "many"},
        {"mark": "0"},
        {"mark": "101"},
        {"mark": "nan"},
        {"urgency": "later"},
        {"malignancy": "perhaps"},
        {"shown": ""},
        {"shown": "-1"},
        {"about": "x" * 6001},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    app: Flask, office: Browser, number: int, wrong: dict[str, str]
) -> None:
    assert office.post(f"/findings/{number}/terms", FORM | wrong).status_code == 422
    saved = terms(app, number)
    assert saved is not None
    assert saved.version == 1


def test_a_site_that_is_not_there_is_never_everywhere(office: Browser, number: int) -> None:
    assert office.post(f"/findings/{number}/terms?site_id=999999", FORM).status_code == 404


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None], number: int) -> None:
    turned_away(f"/findings/{number}/terms")
