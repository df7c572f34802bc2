"""GET /findings/<id>."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.catalogue.queries import findings_by_code
from webapp.db import db


def number_of(app: Flask, code: str = "grave") -> int:
    with app.app_context():
        return findings_by_code(clinic.serve().reading_task_id)[code].id


def shown(browser: Browser, number: int) -> str:
    answer = browser.get(f"/findings/{number}")
    assert answer.status_code == 200
    return str(answer.get_data(as_text=True))


def test_it_says_what_a_finding_is_and_means(app: Flask, desk: Browser) -> None:
    page = shown(desk, number_of(app))
    for part in (
        "Grave",
        "grave it is",
        "Not a tumour",
        "Immediately",
        "not at all",
        "each model&#39;s own",
        "Look.",
        "as it came",
    ):
        assert part in page, part
    assert "/terms" not in page


def test_it_tells_what_was_changed_and_where(
    app: Flask, desk: Browser, office: Browser, clinician: User, people: People
) -> None:
    number = number_of(app, "watch")
    with app.app_context():
        own, other = db.session.get_one(Site, min(clinician.site_ids)), people.site("Elsewhere")
    form = {
        "malignancy": "none",
        "urgency": "asap",
        "mark": "12.5",
        "recommendation": "Look again.",
        "description": "watch it is",
        "reason": "It was needed.",
        "shown": "0",
    }
    for site in (own, other):
        answer = office.post(f"/findings/{number}/terms?site_id={site.id}", form)
        assert answer.status_code == 303, answer.get_data(as_text=True)
    page = shown(desk, number)
    for part in (f"At {own.name}", "As soon as possible", "Look again.", "It was needed.", "12.5"):
        assert part in page, part
    assert "Elsewhere" not in page
    assert f"/findings/{number}/terms" in shown(office, number)
    assert "Elsewhere" in shown(office, number)


def test_a_case_leads_there(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        clinic.read(case, "grave")
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert page.count(f'href="/findings/{number_of(app)}"') == 2
    assert "About this finding" in page


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser) -> None:
    assert nobody.get(f"/findings/{number_of(app)}").location.startswith("/sign-in")


def test_a_user_without_any_role_may_read_it(
    app: Flask, people: People, browse: Callable[[], Browser]
) -> None:
    number = number_of(app)
    with app.app_context():
        user = people.user()
    assert "grave it is" in shown(browse().sign_in(user), number)


@pytest.mark.parametrize("number", ["0", "999999", "9" * 30, "x"])
def test_a_number_that_no_finding_has_is_not_there(office: Browser, number: str) -> None:
    assert office.get(f"/findings/{number}").status_code == 404
