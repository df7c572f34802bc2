"""POST /cases/<case_id>/readings: an old case is read by the model that serves today."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import Site, User
from webapp.assessments.models import Assessment
from webapp.cases.models import Case
from webapp.db import db
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict


@pytest.fixture
def path(app: Flask, case: Case) -> str:
    """The case has an answer, and a newer model serves since."""
    with app.app_context():
        clinic.read(case, "grave")
        clinic.serve_newer()
    return f"/cases/{case.id}/readings"


def readings(app: Flask) -> list[tuple[str, str, bool]]:
    """By which version, how each reading stands, and whether it counts."""
    with app.app_context():
        return [
            (row.model_version.version, row.state.value, row.superseded_at is None)
            for row in db.session.query(Assessment).order_by(Assessment.id)
        ]


def sign(app: Flask, actor: User, case: Case, decision: Decision, reason: str = "") -> None:
    with app.app_context():
        signed = db.session.get_one(Case, case.id)
        reviews.sign(
            actor=db.session.get_one(User, actor.id),
            case=signed,
            verdict=Verdict(decision=decision, reason=reason),
            shown=basis(signed).mark,
            form_token=decision,
        )


def text(page: str) -> str:
    """The words of a page."""
    words = re.sub("<[^>]+>", " ", page.replace("\N{NO-BREAK SPACE}", " "))
    return " ".join(words.split())


UNTOUCHED = [("1.0.0", "completed", True)]


def test_both_answers_are_there_with_their_versions(
    app: Flask, desk: Browser, case: Case, path: str, record: Callable[..., list[dict[str, Any]]]
) -> None:
    page = desk.get(f"/cases/{case.id}").text
    assert f'action="{path}"' in page
    assert "answered by version 1.0.0 of the model. Version 2.0.0 serves today." in text(page)
    sent = desk.post(path)
    assert (sent.status_code, sent.location) == (303, f"/cases/{case.id}")
    assert readings(app) == [("1.0.0", "completed", False), ("2.0.0", "scheduled", True)]
    with app.app_context():
        clinic.read(case, "calm")
    page = desk.get(f"/cases/{case.id}").text
    answer, _, earlier = page.partition('id="history-title"')
    assert "Most likely: Calm, 90 %" in text(answer)
    assert "version 2.0.0" in answer
    assert "version 1.0.0 Read by model Grave 90 %" in text(earlier)
    assert f'action="{path}"' not in page
    (event,) = record("case.read_again")
    assert event["subject"] == ("Case", case.id)
    assert event["detail"] == {"assessment_id": 2, "version": "2.0.0"}


def test_what_is_signed_stays_with_the_answer_that_it_was_signed_on(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str
) -> None:
    sign(app, clinician, case, Decision.AGREE)
    before = desk.get(f"/cases/{case.id}").text
    assert "The signed decision and its report stay as they are" in before
    desk.post(path)
    with app.app_context():
        clinic.read(case, "calm")
    page = text(desk.get(f"/cases/{case.id}").text)
    assert "Final Agrees with the model: Grave" in page
    assert "Signed on an earlier answer, of version 1.0.0: Grave 90 %" in page
    assert "Agrees with the model: Grave Model, read again since: Calm" in text(
        desk.get("/cases?show=all").text
    )
    assert "A-1" not in desk.get("/cases").text.partition("<tbody>")[2]  # it does not wait again


def test_the_report_of_a_signed_case_does_not_change(
    app: Flask,
    desk: Browser,
    clinician: User,
    case: Case,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    def report(_case: Case, assessment: Assessment, *_: Any, **__: Any) -> bytes:
        told.append(assessment.model_version.version)
        return b"%PDF"

    monkeypatch.setattr("webapp.exports.views.report", report)
    sign(app, clinician, case, Decision.AGREE)
    desk.post(path)
    with app.app_context():
        clinic.read(case, "calm")
    desk.get(f"/cases/{case.id}/report.pdf")
    sign(app, clinician, case, Decision.UNCERTAIN, "the newer answer differs")
    desk.get(f"/cases/{case.id}/report.pdf")
    assert told == ["1.0.0", "2.0.0"]


def test_a_second_press_changes_nothing(app: Flask, desk: Browser, path: str) -> None:
    desk.post(path)
    before = readings(app)
    assert "still reading this case" in desk.post(path, follow_redirects=True).text
    assert readings(app) == before


def test_the_same_model_does_not_read_it_again(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        clinic.read(case)
    assert "history-title" not in desk.get(f"/cases/{case.id}").text
    sent = desk.post(f"/cases/{case.id}/readings", follow_redirects=True)
    assert "given this case already" in sent.text
    assert readings(app) == UNTOUCHED


def test_a_void_case_is_not_read_again(
    app: Flask, desk: Browser, clinician: User, case: Case, path: str
) -> None:
    sign(app, clinician, case, Decision.VOID, "sent by mistake")
    assert f'action="{path}"' not in desk.get(f"/cases/{case.id}").text
    assert "This case is void." in desk.post(path, follow_redirects=True).text
    assert readings(app) == UNTOUCHED


def test_where_an_own_impression_comes_first_it_does(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    with app.app_context():
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    assert "version 1.0.0" not in desk.get(f"/cases/{case.id}").text
    assert "your own impression" in desk.post(path, follow_redirects=True).text
    assert readings(app) == UNTOUCHED


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, path: str) -> None:
    assert nobody.post(path).location.startswith("/sign-in")
    assert readings(app) == UNTOUCHED


def test_an_administrator_may_not(app: Flask, office: Browser, path: str) -> None:
    assert office.post(path).status_code == 403
    assert readings(app) == UNTOUCHED


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, path: str) -> None:
    assert stranger.post(path).status_code == 404
    assert readings(app) == UNTOUCHED


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, path: str) -> None:
    assert desk.client.post(path).status_code == 400
    assert readings(app) == UNTOUCHED
