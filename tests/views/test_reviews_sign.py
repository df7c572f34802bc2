"""POST /cases/<case_id>/reviews."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import Site, User
from webapp.assessments import services as assessments
from webapp.cases.models import Case, Patient, Sex
from webapp.db import db
from webapp.reviews.models import Review

Record = Callable[..., list[dict[str, Any]]]


def hidden(page: str, action: str) -> dict[str, str]:
    """What the form of a page that posts there sends of itself."""
    form = page.partition(f'action="{action}"')[2].partition("</form>")[0]
    fields = re.findall(r'<input name="(form_token|shown)" type="hidden" value="([^"]*)"', form)
    return dict(fields)


def chosen(page: str) -> list[str]:
    return re.findall(r'type="radio" name="decision"[^>]*value="(\w+)"', page)


@pytest.fixture
def path(case: Case) -> str:
    return f"/cases/{case.id}/reviews"


@pytest.fixture
def read(app: Flask, case: Case) -> None:
    """The model finds the case to be grave."""
    with app.app_context():
        clinic.read(case, "grave")


def signed(app: Flask) -> list[tuple[int, str, str | None, str, str | None]]:
    with app.app_context():
        return [
            (r.version, r.decision, r.finding and r.finding.code, r.comment, r.reason)
            for r in db.session.query(Review).order_by(Review.version)
        ]


def opened(desk: Browser, case: Case) -> str:
    return str(desk.get(f"/cases/{case.id}").get_data(as_text=True))


@pytest.mark.usefixtures("read")
def test_agreeing_makes_the_report_final(
    app: Flask, desk: Browser, case: Case, path: str, record: Record
) -> None:
    page = opened(desk, case)
    assert "Preliminary" in page
    assert chosen(page) == ["agree", "override", "uncertain"]
    answer = desk.post(path, hidden(page, path) | {"decision": "agree", "comment": "seen\r\nit"})
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}")
    assert signed(app) == [(1, "agree", "grave", "seen\nit", None)]
    page = opened(desk, case)
    assert "Agrees with the model: Grave" in page
    assert "Final" in page
    assert "Agrees with the model: Grave" in desk.get("/cases?show=all").get_data(as_text=True)
    (event,) = record("review.signed")
    assert event["detail"]["version"] == 1


@pytest.mark.usefixtures("read")
def test_another_finding_of_the_reading_task_takes_the_models_place(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    page = opened(desk, case)
    options = dict(re.findall(r'<option value="(\d+)">(\w+)</option>', page))
    assert sorted(options.values()) == ["Calm", "Watch"]
    calm = next(number for number, name in options.items() if name == "Calm")
    form = hidden(page, path) | {"decision": "override", "finding": calm}
    assert desk.post(path, form).status_code == 303
    assert signed(app) == [(1, "override", "calm", "", None)]


@pytest.mark.parametrize("ending", ["abstained", "failed", "open"])
def test_without_an_answer_there_is_nothing_to_agree_with(
    app: Flask, desk: Browser, case: Case, path: str, ending: str
) -> None:
    with app.app_context():
        if ending == "abstained":
            clinic.read(case, abstained=True)
        elif ending == "failed":
            clinic.fail(case)
    page = opened(desk, case)
    assert chosen(page) == ["override", "uncertain"]
    answer = desk.post(path, hidden(page, path) | {"decision": "agree"})
    assert answer.status_code == 422
    assert "no answer of the model" in answer.get_data(as_text=True)
    assert desk.post(path, hidden(page, path) | {"decision": "uncertain"}).status_code == 303
    assert signed(app) == [(1, "uncertain", None, "", None)]


@pytest.mark.usefixtures("read")
def test_a_further_version_needs_a_reason_and_amends_the_report(
    app: Flask, desk: Browser, case: Case, path: str, record: Record
) -> None:
    desk.post(path, hidden(opened(desk, case), path) | {"decision": "agree", "comment": "first"})
    form = hidden(opened(desk, case), path) | {"decision": "uncertain"}
    answer = desk.post(path, form)
    assert answer.status_code == 422
    assert "Give the reason." in answer.get_data(as_text=True)
    assert desk.post(path, form | {"reason": "looked again"}).status_code == 303
    assert signed(app) == [
        (1, "agree", "grave", "first", None),
        (2, "uncertain", None, "", "looked again"),
    ]
    page = opened(desk, case)
    for words in ("Amended", "looked again", "first", "Agrees with the model: Grave"):
        assert words in page
    assert len(record("review.amended")) == 1


@pytest.mark.usefixtures("read")
def test_the_same_form_sent_twice_is_one_review(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    form = hidden(opened(desk, case), path) | {"decision": "agree"}
    assert [desk.post(path, form).status_code for _ in range(2)] == [303, 303]
    other = desk.post(path, form | {"decision": "uncertain"})
    assert other.status_code == 409
    assert "signed before, with other content" in other.get_data(as_text=True)
    assert len(signed(app)) == 1


@pytest.mark.usefixtures("read")
def test_a_form_that_another_decision_came_before_is_refused_with_both_shown(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    first, second = (hidden(opened(desk, case), path) for _ in range(2))
    desk.post(path, first | {"decision": "agree"})
    stale = second | {"decision": "uncertain", "comment": "hard to say"}
    answer = desk.post(path, stale)
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    assert "version 1 by User" in page
    assert "You entered: Uncertain (hard to say)." in page
    again = stale | hidden(page, path) | {"reason": "still"}
    assert desk.post(path, again).status_code == 303
    assert [version for version, *_ in signed(app)] == [1, 2]


def test_a_form_that_the_answer_came_after_is_refused_with_both_shown(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    form = hidden(opened(desk, case), path) | {"decision": "uncertain"}
    with app.app_context():
        clinic.read(case, "grave")
    answer = desk.post(path, form)
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    assert "Now: the model: Grave, 90" in page
    assert "You entered: Uncertain." in page
    assert signed(app) == []


@pytest.mark.usefixtures("read")
def test_a_form_that_another_reading_came_after_is_refused(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    form = hidden(opened(desk, case), path) | {"decision": "agree"}
    with app.app_context():
        db.session.get_one(Patient, case.patient_id).sex = Sex.MALE
        db.session.commit()
        assessments.schedule(case=db.session.get_one(Case, case.id))
    assert desk.post(path, form).status_code == 409
    assert signed(app) == []


@pytest.mark.usefixtures("read")
def test_a_signed_case_is_voided_by_an_amendment(
    app: Flask, desk: Browser, case: Case, path: str, record: Record
) -> None:
    desk.post(path, hidden(opened(desk, case), path) | {"decision": "agree"})
    page = opened(desk, case)
    assert chosen(page)[-1] == "void"
    form = hidden(page, path) | {"decision": "void", "reason": "another patient's"}
    assert desk.post(path, form).status_code == 303
    page = opened(desk, case)
    assert "<s>" in page
    assert "Cancelled" in page
    assert "case-row--void" in desk.get("/cases?show=all").get_data(as_text=True)
    assert len(record("case.voided")) == 1


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"decision": ""}, "Choose what you decide."),
        ({"decision": "x"}, "Choose what you decide."),
        ({"decision": "override", "finding": ""}, "Choose the finding."),
        ({"decision": "override", "finding": "999999"}, "Choose the finding."),
        ({"decision": "agree", "comment": "x" * 4001}, "At most 4000 characters."),
        ({"decision": "agree", "form_token": ""}, "Load this page again"),
        ({"decision": "agree", "form_token": "x" * 65}, "Load this page again"),
    ],
)
@pytest.mark.usefixtures("read")
def test_what_cannot_be_is_said_on_the_form(
    app: Flask, desk: Browser, case: Case, path: str, bad: dict[str, str], sentence: str
) -> None:
    answer = desk.post(path, hidden(opened(desk, case), path) | bad)
    assert answer.status_code == 422
    assert sentence in answer.get_data(as_text=True)
    assert signed(app) == []


def test_what_a_page_never_showed_is_not_signed(
    app: Flask, desk: Browser, case: Case, path: str
) -> None:
    form = {"decision": "uncertain", "form_token": "t", "shown": "nonsense"}
    assert desk.post(path, form).status_code == 409
    assert signed(app) == []


def test_a_colleague_of_the_site_may_amend(
    app: Flask, desk: Browser, browse: Callable[[], Browser], people: Any, case: Case, path: str
) -> None:
    desk.post(path, hidden(opened(desk, case), path) | {"decision": "uncertain"})
    with app.app_context():
        colleague = people.clinician(db.session.get_one(Site, case.site_id))
    theirs = browse().sign_in(colleague)
    form = hidden(opened(theirs, case), path) | {"decision": "uncertain", "reason": "me too"}
    assert theirs.post(path, form).status_code == 303
    with app.app_context():
        latest = db.session.query(Review).filter_by(version=2).one()
        assert latest.reviewer_id == db.session.get_one(User, colleague.id).id


GOOD = {"decision": "uncertain", "form_token": "t"}


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser, path: str) -> None:
    assert nobody.post(path, GOOD).location.startswith("/sign-in")
    assert signed(app) == []


def test_an_administrator_may_not(app: Flask, office: Browser, path: str) -> None:
    assert office.post(path, GOOD).status_code == 403
    assert signed(app) == []


def test_what_is_of_others_is_not_there(app: Flask, stranger: Browser, path: str) -> None:
    assert stranger.post(path, GOOD).status_code == 404
    assert signed(app) == []


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, path: str) -> None:
    assert desk.client.post(path, data=GOOD).status_code == 400
    assert signed(app) == []
