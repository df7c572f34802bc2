"""POST /cases/<case_id>/impression, and what is kept back before it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from tests.views.conftest import ON_RECORD
from webapp.accounts import services as accounts
from webapp.accounts.models import Site
from webapp.assessments.models import Assessment
from webapp.cases.models import Case
from webapp.db import db
from webapp.reviews.models import Impression, Review

GRAVE = "Grave"


@pytest.fixture
def path(app: Flask, case: Case) -> str:
    """The site asks for an own impression first, and the model finds the case to be grave."""
    with app.app_context():
        site = db.session.get_one(Site, case.site_id)
        accounts.ask_own_impression_first(actor=None, site=site, is_asked=True)
        clinic.read(case, "grave")
    return f"/cases/{case.id}/impression"


def answer(page: str) -> str:
    """A page but for the form and the filter that name all findings."""
    before, _, rest = re.sub(r"<select.*?</select>", "", page, flags=re.DOTALL).partition(
        'id="impression-title"'
    )
    return before + rest.partition("</form>")[2]


def saved(app: Flask) -> list[str | None]:
    with app.app_context():
        return [i.finding and i.finding.code for i in db.session.query(Impression)]


def finding_id(app: Flask, code: str) -> int:
    with app.app_context():
        findings = db.session.query(Assessment).one().model_version.reading_task.findings
        return next(finding.id for finding in findings if finding.code == code)


def test_the_answer_is_shown_once_an_impression_is_kept(
    app: Flask,
    desk: Browser,
    case: Case,
    path: str,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    pages = [f"/cases/{case.id}", f"/cases/{case.id}/status", "/cases"]
    pages += [f"/patients/{case.patient_id}", f"/cases/rows?ids={case.id}"]
    for page in pages:
        text = answer(desk.get(page).text)
        for word in (
            GRAVE,
            "90\N{NO-BREAK SPACE}%",
            "decision-panel",
            "bars__item",
            "SHA-256",
            "no answer",
        ):
            assert word not in text, (page, word)
        assert "Immediately" in text, page
    sent = desk.post(path, {"impression": finding_id(app, "calm")})
    assert (sent.status_code, sent.location) == (303, f"/cases/{case.id}")
    assert saved(app) == ["calm"]
    for page in pages:
        assert GRAVE in desk.get(page).text, page
    page = desk.get(f"/cases/{case.id}").text
    assert "Own impression of User" in page
    assert "<strong>Calm</strong>" in page
    assert len(record("impression.saved")) == 1


def test_an_abstention_is_not_told_either(app: Flask, desk: Browser, clinician: Any) -> None:
    with app.app_context():
        case = clinic.send(clinician, pictures=[clinic.picture() for _ in range(2)])
        site = db.session.get_one(Site, case.site_id)
        accounts.ask_own_impression_first(actor=None, site=site, is_asked=True)
        clinic.read(case, "grave", abstained=True)
    for page in (f"/cases/{case.id}", f"/cases/{case.id}/status", "/cases"):
        text = answer(desk.get(page).text)
        assert "abstained</span>" not in text, page
        assert "no answer" not in text.lower(), page
        assert GRAVE not in text, page


def test_nothing_is_decided_before_it(app: Flask, desk: Browser, case: Case, path: str) -> None:
    for kind in ("reviews", "void", "outcomes"):
        sent = desk.post(f"/cases/{case.id}/{kind}", {"decision": "agree", "form_token": "t"})
        assert sent.status_code == 303, kind
        assert GRAVE not in answer(desk.get(f"/cases/{case.id}").text)
    with app.app_context():
        assert db.session.query(Review).count() == 0


def test_what_is_kept_stays_as_it_is(app: Flask, desk: Browser, path: str) -> None:
    for _ in range(2):
        assert desk.post(path, {"impression": "uncertain"}).status_code == 303
    again = desk.post(path, {"impression": finding_id(app, "grave")}, follow_redirects=True)
    assert "You saved another impression of this case before." in again.text
    assert saved(app) == [None]


def test_what_is_signed_is_read_by_colleagues(
    app: Flask,
    desk: Browser,
    browse: Callable[[], Browser],
    people: Any,
    case: Case,
    path: str,
) -> None:
    desk.post(path, {"impression": "uncertain"})
    with app.app_context():
        colleague = people.clinician(db.session.get_one(Site, case.site_id))
        assessment_id = db.session.query(Assessment).one().id
    theirs = browse().sign_in(colleague)
    assert GRAVE not in answer(theirs.get(f"/cases/{case.id}").text)
    shown = f"{assessment_id} completed 0 {ON_RECORD}"
    signed = {"decision": "agree", "form_token": "t", "shown": shown}
    assert desk.post(f"/cases/{case.id}/reviews", signed).status_code == 303
    assert GRAVE in theirs.get(f"/cases/{case.id}").text


@pytest.mark.parametrize("bad", ["", "x", "999999"])
def test_what_cannot_be_is_said_on_the_form(app: Flask, desk: Browser, path: str, bad: str) -> None:
    sent = desk.post(path, {"impression": bad})
    assert sent.status_code == 422
    assert "error-summary" in sent.text
    assert saved(app) == []


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, path: str) -> None:
    assert nobody.post(path, {"impression": "uncertain"}).location.startswith("/sign-in")


def test_an_administrator_may_not(office: Browser, path: str) -> None:
    assert office.post(path, {"impression": "uncertain"}).status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, path: str) -> None:
    assert stranger.post(path, {"impression": "uncertain"}).status_code == 404


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, path: str) -> None:
    assert desk.client.post(path, data={"impression": "uncertain"}).status_code == 400
    assert saved(app) == []
