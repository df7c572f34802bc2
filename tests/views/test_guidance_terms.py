"""GET /findings/<id>/terms."""

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.catalogue.queries import findings_by_code


@pytest.fixture
def path(app: Flask) -> str:
    with app.app_context():
        number = findings_by_code(clinic.serve().reading_task_id)["grave"].id
    return f"/findings/{number}/terms"


def test_the_form_begins_with_what_counts_today(
    app: Flask, people: People, office: Browser, path: str
) -> None:
    with app.app_context():
        site = people.site("North wing")
    page = office.get(path).get_data(as_text=True)
    assert '<option selected value="stat">' in page
    assert ">Look.</textarea>" in page.replace("\r\n", "").replace("\n", "")
    assert 'name="shown" type="hidden" value="1"' in page
    assert "none moves down" in page
    assert f"{path}?site_id={site.id}" in page
    at_site = office.get(f"{path}?site_id={site.id}").get_data(as_text=True)
    assert "At North wing" in at_site
    assert 'name="shown" type="hidden" value="0"' in at_site
    assert "as_everywhere" not in at_site


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, path: str) -> None:
    assert nobody.get(path).location.startswith("/sign-in")


def test_a_clinician_is_refused(desk: Browser, path: str) -> None:
    assert desk.get(path).status_code == 403


@pytest.mark.parametrize("query", ["site_id=999999", "site_id=x", "site_id=" + "9" * 30])
def test_a_site_that_is_not_there_is_never_everywhere(
    office: Browser, path: str, query: str
) -> None:
    assert office.get(f"{path}?{query}").status_code == 404


def test_a_finding_that_is_not_there(office: Browser) -> None:
    assert office.get("/findings/999999/terms").status_code == 404
