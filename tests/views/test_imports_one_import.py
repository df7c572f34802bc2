import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic, imports
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.imports.models import Import


@pytest.fixture
def checked(app: Flask, clinician: User) -> Import:
    """An import of three rows: one good, one with a warning, one that is left out."""
    theirs = clinic.picture()
    with app.app_context():
        clinic.send(clinician, identifier="A-9", pictures=[theirs])
        return imports.checked(
            clinician,
            [
                {"file": "a.png", "identifier": "I-1"},
                {"file": "b.png", "identifier": "I-2"},
                {"file": "c.png", "identifier": "I-3"},
            ],
            files={"a.png": clinic.picture(), "b.png": theirs, "d.png": b""},
        )


def test_it_says_what_can_be_filed_and_what_stands_against_the_rest(
    desk: Browser, checked: Import, clinician: User, record: Callable[..., list[dict[str, Any]]]
) -> None:
    page = desk.get(f"/imports/{checked.id}").get_data(as_text=True)
    for words in (
        "2 rows can be filed.",
        "1 row is left out",
        "Nothing is filed yet.",
        "The archive has no file c.png.",
        "The image is already filed for another patient: A-9, case 1.",
        "1 file of the archive is named by no row",
        "d.png",
        "File 2 cases",
    ):
        assert words in page
    assert re.search(r"Without a decision it is forgotten <time[^>]*>in 7 days</time>", page)
    (event,) = record("import.opened")
    assert (event["actor_id"], event["subject"]) == (clinician.id, ("Import", checked.id))
    assert event["detail"] == {"duplicates_shown": 1}


def test_a_row_cannot_write_into_the_page(app: Flask, desk: Browser, clinician: User) -> None:
    name = "<script>alert(1)</script>"
    with app.app_context():
        subject = imports.checked(clinician, [{"file": name, "identifier": name}], files={})
    page = desk.get(f"/imports/{subject.id}").get_data(as_text=True)
    assert name not in page
    assert "&lt;script&gt;" in page


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, checked: Import) -> None:
    assert nobody.get(f"/imports/{checked.id}").location.startswith("/sign-in")


def test_an_administrator_may_not(office: Browser, checked: Import) -> None:
    assert office.get(f"/imports/{checked.id}").status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, checked: Import) -> None:
    assert stranger.get(f"/imports/{checked.id}").status_code == 404
    assert stranger.get("/imports/99").status_code == 404
