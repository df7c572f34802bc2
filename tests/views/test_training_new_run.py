"""`/training/new`: recipes to choose from, and the form that is made from one."""

from flask import Flask

from tests import trainings
from tests.conftest import Browser
from webapp.accounts.models import User


def test_it_offers_recipes_and_the_form_of_one(
    app: Flask, clinician: User, office: Browser
) -> None:
    with app.app_context():
        trainings.recipe()
        trainings.snapshot(note="Autumn")
    page = office.get("/training/new").text
    assert "/training/new?recipe=small" in page
    form = office.get("/training/new?recipe=small").text
    assert 'name="training-epochs" required type="text" value="4"' in form
    assert 'value="127 127.5 127"' in form
    assert "What epochs does. Recipe: 4" in form
    assert '<option selected value="bicubic">' in form
    assert "Autumn" in form
    for decided in ("version", "data-split", "network-init", "serves", "reading_task"):
        assert f'name="{decided}"' not in form


def test_a_recipe_without_a_snapshot_says_what_is_missing(
    app: Flask, clinician: User, office: Browser
) -> None:
    with app.app_context():
        trainings.recipe()
    assert "there is none yet" in office.get("/training/new").text
    assert "There is no snapshot to learn from" in office.get("/training/new?recipe=small").text


def test_it_says_so_where_the_trainer_was_never_started(office: Browser) -> None:
    assert "No recipe is known yet" in office.get("/training/new").text
    assert office.get("/training/new?recipe=unknown").status_code == 404


def test_who_may_not_is_refused(nobody: Browser, desk: Browser) -> None:
    assert nobody.get("/training/new").location.startswith("/sign-in")
    assert desk.get("/training/new").status_code == 403
