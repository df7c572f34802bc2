"""GET /allowances."""

from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts.models import Site, User
from webapp.db import db


def test_everyone_sees_how_long_cases_may_wait(app: Flask, desk: Browser) -> None:
    page = desk.get("/allowances").get_data(as_text=True)
    for part in ("All reading tasks", "72 h", "4 h", "1 h", "not at all", "as it came"):
        assert part in page, part
    assert "/allowances/change" not in page


def test_exceptions_and_changes_are_told_of_ones_own_sites(
    app: Flask, desk: Browser, office: Browser, clinician: User, people: People
) -> None:
    with app.app_context():
        own, other = db.session.get_one(Site, min(clinician.site_ids)), people.site("Elsewhere")
    form = {
        "stat_minutes": "0",
        "asap_minutes": "45",
        "urgent_minutes": "90",
        "routine_minutes": "180",
        "reason": "Few beds.",
        "shown": "0",
    }
    for site in (own, other):
        path = f"/allowances/change?reading_task_id=1&site_id={site.id}"
        assert office.post(path, form).status_code == 303
    page = desk.get("/allowances").get_data(as_text=True)
    assert f"Test-Task at {own.name}" in page
    for part in ("45 min", "90 min", "3 h", "Few beds."):
        assert part in page, part
    assert "Elsewhere" not in page
    assert "Test-Task at Elsewhere" in office.get("/allowances").get_data(as_text=True)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/allowances").location == "/sign-in?next=/allowances"
