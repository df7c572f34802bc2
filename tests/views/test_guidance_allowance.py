"""GET /allowances/change."""

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser


def test_the_form_begins_with_what_counts_today(app: Flask, office: Browser) -> None:
    with app.app_context():
        task = clinic.serve().reading_task_id
    page = office.get(f"/allowances/change?reading_task_id={task}").get_data(as_text=True)
    assert 'value="4320"' in page
    assert 'name="shown" type="hidden" value="0"' in page
    general = office.get("/allowances/change").get_data(as_text=True)
    assert 'name="shown" type="hidden" value="1"' in general
    assert "as_everywhere" not in general


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/allowances/change").location.startswith("/sign-in")


def test_a_clinician_is_refused(desk: Browser) -> None:
    assert desk.get("/allowances/change").status_code == 403


@pytest.mark.parametrize(
    "query",
    ["reading_task_id=999999", "reading_task_id=x", "site_id=1", "reading_task_id=1&site_id=9"],
)
def test_a_place_that_is_not_there(app: Flask, office: Browser, query: str) -> None:
    with app.app_context():
        clinic.serve()
    assert office.get(f"/allowances/change?{query}").status_code == 404
