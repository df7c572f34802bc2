from flask import Flask

from tests import clinic, imports
from tests.conftest import Browser
from webapp.accounts.models import User


def test_it_tells_how_a_table_is_made_and_what_was_sent(
    app: Flask, desk: Browser, clinician: User, stranger: Browser
) -> None:
    with app.app_context():
        clinic.serve("dermoscopy", body_sites=["hand", "foot"])
        begun = imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}])
    page = desk.get("/imports").get_data(as_text=True)
    for word in ("test-task", "dermoscopy", "hand, foot", "/imports/example.csv", "cases.csv"):
        assert word in page
    assert f'href="/imports/{begun.id}"' in page
    assert f'href="/imports/{begun.id}"' not in stranger.get("/imports").get_data(as_text=True)
    assert 'href="/imports"' in desk.get("/cases/new").get_data(as_text=True)


def test_without_a_model_nothing_can_be_sent(app: Flask, stranger: Browser) -> None:
    assert "No model is installed" in stranger.get("/imports").get_data(as_text=True)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/imports").location == "/sign-in?next=/imports"


def test_an_administrator_may_not(office: Browser) -> None:
    assert office.get("/imports").status_code == 403
