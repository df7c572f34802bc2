from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.cases.models import Case


@pytest.fixture
def lesion(app: Flask, clinician: User) -> Case:
    """A case that shows a lesion."""
    with app.app_context():
        task_id = clinic.serve("dermoscopy").reading_task_id
        case = clinic.send(clinician, identifier="A-1", region="arm", reading_task_id=task_id)
        assert case.patient
        return case


def ask(browser: Browser, question: Any, token: bool = True) -> Any:
    headers = {"Accept": "application/json"}
    if token:
        headers["X-CSRFToken"] = browser.csrf_token()
    return browser.client.post("/regions/known", json=question, headers=headers)


def about(case: Case, **changes: Any) -> dict[str, Any]:
    asked = {"site_id": case.site_id, "identifier": "A-1", "reading_task_id": case.reading_task_id}
    return asked | changes


def test_it_names_the_lesions_of_a_patient(
    desk: Browser, lesion: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    assert ask(desk, about(lesion)).json == {"labels": ["arm"]}
    assert ask(desk, about(lesion, site_id=None)).json == {"labels": ["arm"]}
    for other in ({"identifier": "A-2"}, {"identifier": "\ud800"}, {"reading_task_id": 999}):
        assert ask(desk, about(lesion, **other)).json == {"labels": []}
    events = record("region.suggested")
    assert [event["subject"] for event in events] == [("Patient", lesion.patient_id)] * 2


@pytest.mark.parametrize("question", [[], {}, {"site_id": "x"}, {"identifier": 1}])
def test_what_is_no_such_question_is_refused(desk: Browser, lesion: Case, question: Any) -> None:
    assert ask(desk, question).status_code == 422


def test_who_may_not_is_turned_away(
    nobody: Browser, office: Browser, stranger: Browser, desk: Browser, lesion: Case
) -> None:
    assert ask(nobody, about(lesion)).status_code == 401
    assert ask(office, about(lesion)).status_code == 403
    assert ask(stranger, about(lesion)).json == {"labels": []}
    assert ask(desk, about(lesion, site_id=10**9)).json == {"labels": ["arm"]}
    assert ask(desk, about(lesion), token=False).status_code == 400
