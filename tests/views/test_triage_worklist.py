import csv
import datetime as dt
import html
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import Site, User
from webapp.assessments import services as assessments
from webapp.cases.models import Case
from webapp.catalogue.models import Priority
from webapp.db import db
from webapp.registry.models import ModelVersion
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict
from webapp.triage import queries


def shown(browser: Browser, query: str = "") -> str:
    answer = browser.get(f"/cases{query}")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_it_shows_the_cases_and_how_they_stand(app: Flask, desk: Browser, case: Case) -> None:
    page = shown(desk)
    assert "A-1" in page
    assert f"/cases/{case.id}" in page
    assert f"/images/{case.images[0].id}/thumbnail" in page
    assert "Waiting" in page
    with app.app_context():
        clinic.read(case, "grave")
    page = shown(desk)
    assert "Grave" in page
    assert "Waiting</" not in page.partition("<tbody>")[2]


def test_a_partial_answer_is_marked_and_reading_is_the_models(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        case = clinic.send(clinician, pictures=[clinic.picture() for _ in range(3)])
        clinic.read(case, "grave", abstained=[False, True, True])
    page = shown(desk)
    assert "2 of 3 images without an answer" in page
    assert "Read by model" in page


def test_what_cannot_wait_is_on_top(app: Flask, desk: Browser, clinician: User, case: Case) -> None:
    with app.app_context():
        clinic.send(clinician, identifier="B-1", priority=Priority.STAT)
        clinic.send(clinician, identifier="C-1", priority=Priority.STAT)
    rows = shown(desk).partition("<tbody>")[2]
    assert rows.index("B-1") < rows.index("C-1") < rows.index("A-1")


def due_cell(page: str) -> str:
    """What the first row says of when it is due, without markup."""
    cell = re.search(r'<td class="case-row__due".*?</td>', page, re.DOTALL)
    assert cell
    return " ".join(re.sub("<[^>]+>", " ", cell.group()).replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.mark.parametrize(
    ("read", "words"),
    [
        ({}, "Routine As requested: due in 3 days"),
        ({"finding": "grave"}, "Immediately Overdue Grave 90 %: due just now"),
        (
            {"finding": "calm", "supported": ("calm", "grave")},
            "Immediately Overdue Grave 5 %, over its 4 % mark: due just now",
        ),
        (
            {"abstained": True, "supported": ("grave",)},
            "Immediately Overdue Grave 5 %, over its 4 % mark, in an image without an answer:"
            " due just now",
        ),
        ({"abstained": True}, "Urgent Without an answer: due in 4 hours"),
    ],
    ids=["calm", "grave", "over its mark", "over its mark, abstained", "abstained"],
)
def test_it_says_why_a_case_is_due_when_it_is(
    app: Flask, desk: Browser, case: Case, read: dict[str, Any], words: str
) -> None:
    with app.app_context():
        version = db.session.query(ModelVersion).one()
        points = {"operating_points": {"grave": {"threshold": 0.04}}}
        version.manifest = version.manifest | points
        db.session.commit()
        clinic.read(case, **read)
    assert due_cell(shown(desk)) == words


def test_what_is_due_is_marked_as_overdue_later(app: Flask, desk: Browser, case: Case) -> None:
    assert due_cell(shown(desk)) == "Routine As requested: due in 3 days"
    with app.app_context():
        clinic.let_wait(case, dt.timedelta(hours=74))
    assert due_cell(shown(desk)) == "Routine Overdue As requested: due 2 hours ago"


def test_a_case_that_failed_and_waits_again_says_so(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        assessment = clinic.fail(case)
    assert due_cell(shown(desk)) == "Urgent Without an answer: due in 4 hours"
    with app.app_context():
        actor = db.session.query(User).order_by(User.id).first()
        assessments.retry(actor=actor, assessment=db.session.merge(assessment))
    assert due_cell(shown(desk)) == "Urgent Kept from an earlier reading: due in 4 hours"


def test_it_counts_what_waits_by_priority(
    app: Flask, desk: Browser, clinician: User, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        for _ in range(2):
            clinic.send(clinician, priority=Priority.ASAP)
        clinic.send(people.clinician(), priority=Priority.ASAP)
        clinic.read(clinic.send(clinician), abstained=True)

    def counts(query: str = "") -> dict[str, str]:
        found = re.findall(
            r'href="/cases\?priority=(\w+)".*?urgency__count"[^>]*>(.*?)</span> ',
            shown(desk, query),
            re.S,
        )
        return {priority: re.sub("<[^>]+>", "", count) for priority, count in found}

    assert counts() == {"stat": "0", "asap": "2", "urgent": "1", "routine": "0"}
    assert counts("?priority=stat") == counts()
    assert 'aria-current="true"' in shown(desk, "?priority=asap").partition("<nav class=")[2]
    monkeypatch.setattr(queries, "COUNT_CAP", 1)
    assert counts()["asap"].startswith("1+")


def test_it_asks_for_news_only_while_something_is_open(
    app: Flask, desk: Browser, case: Case
) -> None:
    assert f'hx-get="/cases/rows?ids={case.id}"' in shown(desk)
    with app.app_context():
        clinic.read(case)
    assert "hx-get" not in shown(desk)


def test_an_empty_worklist_says_what_to_do(desk: Browser) -> None:
    assert "/cases/new" in shown(desk).partition("<main")[2]


def test_filters_and_order_come_from_the_address(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        clinic.send(clinician, identifier="B-1", priority=Priority.STAT)
    assert "A-1" not in shown(desk, "?identifier=B")
    assert "B-1" not in shown(desk, "?priority=routine").partition("<tbody>")[2]
    assert "A-1" not in shown(desk, "?state=failed")
    by_age = shown(desk, "?sort=oldest").partition("<tbody>")[2]
    assert by_age.index("A-1") < by_age.index("B-1")


@pytest.mark.parametrize(
    "query",
    [
        "?page=0",
        "?page=-1",
        "?page=x",
        "?page=99999999999999999999",
        "?state=nonsense",
        "?sort=id;drop",
        "?priority=9&reading_task=none",
        "?identifier=%00%ff",
        "?identifier=" + "x" * 500,
        "?identifier=%F4%8F%BF%BF",
        "?state=completed&state=failed",
        "?finding=x&reviewer=x&status=x&first_day=x&last_day=2026-02-30",
        "?first_day=0001-01-01&last_day=9999-12-31",
    ],
)
def test_what_cannot_be_used_is_left_out(desk: Browser, query: str) -> None:
    shown(desk, query)


def test_pages_keep_the_filters(
    app: Flask, desk: Browser, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 1)
    with app.app_context():
        first = clinic.send(clinician, identifier="A-1")
        clinic.send(clinician, identifier="A-2")
    page = shown(desk, "?identifier=A&sort=newest")
    assert "A-2" in page
    assert "page=2" in page
    second = shown(desk, "?identifier=A&sort=newest&page=2")
    assert f"/cases/{first.id}" in second
    assert "identifier=A" in second


def test_from_the_last_page_the_list_can_be_gone_on_with(
    app: Flask, desk: Browser, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 2)
    with app.app_context():
        cases = [clinic.send(clinician, identifier=f"A-{number}") for number in range(6)]

    def numbers(page: str) -> list[int]:
        return [int(number) for number in re.findall(r'id="case-link-(\d+)"', page)]

    pages = [shown(desk, f"?identifier=A&page={number}") for number in (1, 2, 3)]
    assert not any("last page that can be turned to" in page for page in pages)
    monkeypatch.setattr(queries, "MAX_PAGE_NUMBER", 2)
    first, last = (shown(desk, f"?identifier=A&page={number}") for number in (1, 2))
    assert "last page that can be turned to" not in first
    assert "last page that can be turned to" in last
    (link,) = re.findall(r'href="/cases([^"]*behind=[^"]*)"', last)
    page = shown(desk, html.unescape(link))
    assert numbers(first) + numbers(last) + numbers(page) == [case.id for case in cases]
    assert "To the beginning of the list" in page
    assert "last page that can be turned to" not in page
    assert "identifier=A" in html.unescape(link)
    monkeypatch.setattr(queries, "PAGE_SIZE", 1)
    page = shown(desk, html.unescape(link))
    assert f"behind={cases[3].id}" in re.findall(r'rel="next" href="([^"]*)"', page)[0]


def test_what_cannot_be_gone_on_behind_is_left_out(desk: Browser, case: Case) -> None:
    for behind in ("x", "-1", "99999999999", "999"):
        page = shown(desk, f"?behind={behind}")
        assert f"/cases/{case.id}" in page
        assert "To the beginning of the list" not in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("identifier=A-1", ["identifier"]),
        ("state=scheduled", ["state"]),
        ("priority=routine", ["priority"]),
        ("reading_task=test-task", ["reading_task_id"]),
        ("finding=test-task/grave", ["finding_id"]),
        ("status=final", ["scope", "status"]),
        ("reviewer={reviewer}", ["scope", "reviewer_id"]),
        ("first_day=2020-01-01&last_day=2099-01-01", ["first_day", "last_day"]),
        ("show=all", ["scope"]),
    ],
)
def test_a_search_is_on_record_without_what_was_searched(
    desk: Browser,
    clinician: User,
    case: Case,
    record: Callable[..., list[dict[str, Any]]],
    query: str,
    names: list[str],
) -> None:
    for unsearched in ("", "?sort=newest", "?page=1", "?state=nonsense"):
        shown(desk, unsearched)
    assert record("case.searched") == []
    page = shown(desk, "?" + query.format(reviewer=clinician.username))
    (event,) = record("case.searched")
    assert event["actor_id"] == clinician.id
    assert event["detail"] == {
        "filters": names,
        "length": 3 if "identifier" in names else 0,
        "count": int("A-1" in page.partition("<tbody>")[2]),
        "count_is_capped": False,
    }


def test_a_page_takes_the_same_few_statements(
    app: Flask, desk: Browser, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        for _ in range(6):
            clinic.read(clinic.send(clinician))
    counts = []
    for size in (1, 6):
        monkeypatch.setattr(queries, "PAGE_SIZE", size)
        with app.app_context():
            counts.append(clinic.count_statements(lambda: shown(desk)))
    assert counts[0] == counts[1]


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    answer = nobody.get("/cases?identifier=A-1")
    assert answer.status_code == 303
    assert answer.location == "/sign-in?next=/cases"  # no identifier in yet another address


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    answer = office.get("/cases")
    assert answer.status_code == 403
    assert "A-1" not in answer.get_data(as_text=True)


def test_a_stranger_sees_their_own_site_only(
    app: Flask, stranger: Browser, people: People, case: Case
) -> None:
    assert "A-1" not in shown(stranger)
    assert "A-1" not in shown(stranger, "?identifier=A-1").partition("<tbody>")[2]


def test_what_is_decided_waits_no_longer(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    """It is listed among all; what one has taken is listed apart."""
    with app.app_context():
        clinic.read(case, "grave")
        taken = clinic.send(clinician, identifier="T-1")
        actor = db.session.get_one(User, clinician.id)
        taken = db.session.get_one(Case, taken.id)
        reviews.assign(actor=actor, case=taken, to=actor, shown_id=None)
        decided = db.session.get_one(Case, case.id)
        reviews.sign(
            actor=actor,
            case=decided,
            verdict=Verdict(decision=Decision.AGREE),
            shown=basis(decided).mark,
            form_token="once",
        )
        other = clinic.send(clinician, identifier="O-1")

    def listed(show: str) -> set[int]:
        page = desk.get(f"/cases?show={show}").get_data(as_text=True)
        return {int(number) for number in re.findall(r'href="/cases/(\d+)"', page)}

    assert listed("open") == {taken.id, other.id}
    assert listed("mine") == {taken.id}
    assert listed("all") == {case.id, taken.id, other.id}
    with app.app_context():
        counts = queries.counts_by_priority(actor=db.session.get_one(User, clinician.id))
    assert sum(count.number for count in counts.values()) == 2


def test_a_finding_over_its_mark_that_is_worse_than_the_answer_stands_beside_it(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "calm", supported=("calm", "grave"))
        harmless = clinic.send(clinician, identifier="B-2")
        clinic.read(harmless, "grave", supported=("calm", "grave"))
    pages = ["/cases", f"/cases/rows?ids={case.id}", f"/patients/{case.patient_id}"]
    pages += [f"/cases/{case.id}", f"/cases/{case.id}/status"]
    for page in pages:
        words = in_words(desk.get(page).text)
        assert "Also over its mark: Grave" in words, page
        assert words.count("Calm 90 % Also over its mark: Grave 5 %") == (page in pages[:3]), page
    announced = "Calm, 90\N{NO-BREAK SPACE}%. Also over its mark: Grave, 5\N{NO-BREAK SPACE}%"
    assert f'data-announce="{announced}"' in desk.get(f"/cases/{case.id}/status").text
    assert "Also over its mark" not in in_words(desk.get(f"/patients/{harmless.patient_id}").text)
    with app.app_context():
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    for page in pages:
        words = in_words(desk.get(page).text)
        assert "over its mark" not in words, page
        assert "Grave" not in words.replace("Grave </option>", ""), page


def in_words(page: str) -> str:
    """What a page says, but for what is to be chosen on it."""
    said = re.sub(r"<select.*?</select>|<fieldset.*?</fieldset>", "", page, flags=re.DOTALL)
    return " ".join(re.sub("<[^>]+>", " ", said).replace("\N{NO-BREAK SPACE}", " ").split())


def test_before_an_own_impression_no_state_tells_how_a_reading_ended(
    app: Flask, desk: Browser, clinician: User
) -> None:
    """What was answered, held back and failed is listed, counted and marked alike."""
    with app.app_context():
        db.session.get_one(User, clinician.id).sites[0].own_impression_first = True
        db.session.commit()
        clinic.send(clinician, identifier="W-0")
        clinic.read(clinic.send(clinician, identifier="C-1"), "watch")
        held = clinic.send(clinician, identifier="H-2")
        clinic.read(held, abstained=True)
        clinic.fail(clinic.send(clinician, identifier="F-3"))

    def listed(state: str) -> dict[str, str]:
        """The state of each case that is shown, by its patient."""
        page = shown(desk, f"?state={state}")
        found = re.findall(
            r'class="case-row__link"[^>]*>([^<]+)</a>.*?class="case-row__state".*?</span>([^<]+)<',
            page,
            re.DOTALL,
        )
        assert f"{len(found)} case" in page or not found
        return dict(found)

    ready = dict.fromkeys(("C-1", "H-2", "F-3"), "Ready for you")
    assert listed("completed") == ready
    assert listed("abstained") == listed("failed") == {}
    assert listed("scheduled") == {"W-0": "Waiting"}
    assert listed("") == ready | {"W-0": "Waiting"}
    table = csv.DictReader(io.StringIO(desk.get("/cases.csv").text.lstrip("\ufeff")))
    assert {row["state"] for row in table} == {"ready", "scheduled"}
    with app.app_context():
        actor = db.session.get_one(User, clinician.id)
        saved = db.session.get_one(Case, held.id)
        reviews.save_impression(actor=actor, case=saved, finding_id=None)
    assert listed("abstained") == {"H-2": "Model abstained"}
    assert sorted(listed("completed")) == ["C-1", "F-3"]


def test_where_everything_is_decided_it_says_so(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        assessment = clinic.read(case)
        assessment.settled_at = assessment.completed_at
        db.session.commit()
    page = desk.get("/cases").get_data(as_text=True)
    assert "Nothing waits" in page
    assert "Add demonstration cases" not in page


def test_what_was_decided_is_found_among_all(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    """Who looks for what only a decided case can be is not shown the undecided ones."""
    with app.app_context():
        clinic.read(case, "grave")
        actor, decided = db.session.get_one(User, clinician.id), db.session.get_one(Case, case.id)
        reviews.sign(
            actor=actor,
            case=decided,
            verdict=Verdict(decision=Decision.AGREE),
            shown=basis(decided).mark,
            form_token="once",
        )
    page = shown(desk)
    assert "A-1" not in page
    assert '<details class="filters__more">' in page
    assert '<optgroup label="Test-Task">' in page
    query = f"?reviewer={clinician.username}"
    page = shown(desk, query)
    assert "A-1" in page
    assert '<details class="filters__more" open>' in page
    assert '<option selected value="all">' in page
    assert "A-1" in shown(desk, "?status=final")
    assert "A-1" in shown(desk, "?show=all&finding=test-task/grave")
    assert "A-1" not in shown(desk, "?show=all&finding=test-task/calm")
    table = desk.get(f"/cases.csv{query}").get_data(as_text=True)
    assert "A-1" in table
