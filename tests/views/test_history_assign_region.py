from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.db import db
from webapp.permissions import Role


@pytest.fixture
def lesion(app: Flask, clinician: User) -> Case:
    """A case of a lesion that nobody has named."""
    with app.app_context():
        task_id = clinic.serve("dermoscopy").reading_task_id
        case = clinic.send(clinician, identifier="A-1", reading_task_id=task_id)
        assert case.patient
        return case


def on_record(app: Flask, case: Case) -> str | None:
    with app.app_context():
        region = db.session.get_one(Case, case.id).region
        return region.label if region else None


def test_it_says_which_lesion_it_is(
    app: Flask, desk: Browser, lesion: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    page = desk.get(f"/cases/{lesion.id}").get_data(as_text=True)
    assert "not said" in page
    answer = desk.post(f"/cases/{lesion.id}/region", {"lesion": " left  arm", "shown": ""})
    assert (answer.status_code, answer.location) == (303, f"/cases/{lesion.id}")
    assert on_record(app, lesion) == "left arm"
    (event,) = record("case.region_named")
    page = desk.get(f"/cases/{lesion.id}").get_data(as_text=True)
    assert f'<a href="/regions/{event["detail"]["region_id"]}">left arm</a>' in page
    assert '<option value="left arm">' in page


def test_of_an_eye_the_side_is_chosen(app: Flask, desk: Browser, clinician: User) -> None:
    with app.app_context():
        task_id = clinic.serve("fundus").reading_task_id
        case = clinic.send(clinician, reading_task_id=task_id)
    assert desk.post(f"/cases/{case.id}/region", {"eye": "left", "shown": ""}).status_code == 303
    assert "Left eye" in desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert desk.post(f"/cases/{case.id}/region", {"eye": "third"}).status_code == 422
    assert on_record(app, case) == "left"


def test_what_a_stale_page_says_is_refused(app: Flask, desk: Browser, lesion: Case) -> None:
    desk.post(f"/cases/{lesion.id}/region", {"lesion": "arm", "shown": ""})
    for stale in ("", "x", "999"):
        desk.post(f"/cases/{lesion.id}/region", {"lesion": "leg", "shown": stale})
        assert on_record(app, lesion) == "arm"
    assert "otherwise meanwhile" in desk.get(f"/cases/{lesion.id}").get_data(as_text=True)


def test_what_cannot_be_is_refused(app: Flask, desk: Browser, lesion: Case, case: Case) -> None:
    path = f"/cases/{lesion.id}/region"
    assert desk.post(path, {"lesion": "x" * 61, "shown": ""}).status_code == 422
    assert desk.post(f"/cases/{case.id}/region", {"lesion": "x", "shown": ""}).status_code == 422
    assert desk.client.post(path, data={"lesion": "x", "shown": ""}).status_code == 400
    assert on_record(app, lesion) is None


def test_who_may_not_is_turned_away(
    app: Flask,
    browse: Callable[[], Browser],
    people: People,
    nobody: Browser,
    office: Browser,
    stranger: Browser,
    lesion: Case,
) -> None:
    with app.app_context():
        sites = [db.session.get_one(Site, lesion.site_id)]
        reader = browse().sign_in(people.user(Role.REVIEWER, sites=sites))
    path, said = f"/cases/{lesion.id}/region", {"lesion": "x", "shown": ""}
    assert nobody.post(path, said).location.startswith("/sign-in")
    assert office.post(path, said).status_code == 403
    assert reader.post(path, said).status_code == 403
    assert "Say which lesion" not in reader.get(f"/cases/{lesion.id}").get_data(as_text=True)
    assert stranger.post(path, said).status_code == 404
    assert on_record(app, lesion) is None
