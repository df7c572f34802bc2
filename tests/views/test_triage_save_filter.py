from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.db import db
from webapp.triage import services
from webapp.triage.models import SavedFilter

FIELDS = {"name": "What failed", "state": "failed", "sort": "newest"}


def kept(app: Flask) -> list[tuple[int, str, dict[str, str]]]:
    with app.app_context():
        rows = db.session.query(SavedFilter).order_by(SavedFilter.id)
        return [(row.user_id, row.name, row.arguments) for row in rows]


def test_it_is_kept_and_offered(
    app: Flask, desk: Browser, clinician: User, record: Callable[..., list[dict[str, Any]]]
) -> None:
    assert "Save these filters" in desk.get("/cases?state=failed").get_data(as_text=True)
    answer = desk.post("/cases/filters", FIELDS)
    assert (answer.status_code, answer.location) == (
        303,
        "/cases?state=failed&show=open&sort=newest",
    )
    arguments = {"state": "failed", "show": "open", "sort": "newest"}
    assert kept(app) == [(clinician.id, "What failed", arguments)]
    page = desk.get("/cases").get_data(as_text=True)
    assert '<a href="/cases?state=failed&amp;show=open&amp;sort=newest">What failed</a>' in page
    assert 'aria-current="true">What failed' in desk.get(answer.location).get_data(as_text=True)
    (event,) = record("filter.saved")
    assert event["actor_id"] == clinician.id
    assert event["detail"] == {}


def test_a_name_that_is_used_again_is_given_to_the_new_ones(app: Flask, desk: Browser) -> None:
    desk.post("/cases/filters", FIELDS)
    desk.post("/cases/filters", FIELDS | {"state": "abstained"})
    assert [arguments["state"] for _, _, arguments in kept(app)] == ["abstained"]


def test_no_patient_is_kept_and_nothing_that_cannot_be_used(app: Flask, desk: Browser) -> None:
    extra = {"identifier": "A-1", "priority": "9" * 500, "reading_task": "test-task", "page": "2"}
    desk.post("/cases/filters", FIELDS | extra)
    ((_, _, arguments),) = kept(app)
    assert arguments == {
        "state": "failed",
        "reading_task": "test-task",
        "show": "open",
        "sort": "newest",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "Give the filters a name"), ("  ", "Give the filters a name"), ("x" * 41, "At most 40")],
)
def test_a_name_that_cannot_be_used_is_explained(
    app: Flask, desk: Browser, name: str, words: str
) -> None:
    answer = desk.post("/cases/filters", FIELDS | {"name": name})
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert words in page
    assert '<option selected value="failed">' in page
    assert kept(app) == []


def test_there_is_a_limit(app: Flask, desk: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_SAVED_FILTERS", 1)
    desk.post("/cases/filters", FIELDS)
    answer = desk.post("/cases/filters", FIELDS | {"name": "One more"})
    assert answer.status_code == 422
    assert "1 filters already" in answer.get_data(as_text=True)
    assert len(kept(app)) == 1


def test_each_has_their_own(desk: Browser, stranger: Browser) -> None:
    desk.post("/cases/filters", FIELDS)
    assert "What failed" not in stranger.get("/cases").get_data(as_text=True)


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, clinician: User) -> None:
    assert nobody.post("/cases/filters", FIELDS).location.startswith("/sign-in")
    assert kept(app) == []


def test_an_administrator_may_not(app: Flask, office: Browser, clinician: User) -> None:
    assert office.post("/cases/filters", FIELDS).status_code == 403
    assert kept(app) == []


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser) -> None:
    assert desk.client.post("/cases/filters", data=FIELDS).status_code == 400
    assert kept(app) == []
