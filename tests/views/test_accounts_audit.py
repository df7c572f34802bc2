"""GET /audit."""

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp import audit
from webapp.accounts import queries, record
from webapp.accounts.models import User
from webapp.cases.models import Case, Patient
from webapp.db import db, now, transaction
from webapp.jobs import QUEUES

# What a library will take no longer is mended before its next release.
pytestmark = pytest.mark.filterwarnings("error::DeprecationWarning")

Look = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def administrator(app: Flask, people: People) -> User:
    with app.app_context():
        return people.administrator()


@pytest.fixture
def reader(browse: Callable[[], Browser], administrator: User) -> Browser:
    """The browser of an administrator whose name is known."""
    return browse().sign_in(administrator)


def shown(browser: Browser, query: str = "") -> str:
    answer = browser.get(f"/audit{query}")
    assert answer.status_code == 200
    return str(answer.get_data(as_text=True))


def rows(page: str) -> list[str]:
    """The rows of the table, as their text."""
    table = page.partition("<tbody>")[2].partition("</tbody>")[0]
    texts = [re.sub(r"<[^>]+>", " ", row) for row in table.split("<tr>")[1:]]
    return [" ".join(text.replace("\N{EN DASH}", "-").split()) for text in texts]


def write(app: Flask, *actions: str, actor: User | None = None, **detail: Any) -> None:
    with app.app_context(), transaction():
        for action in actions:
            audit.record(actor=actor, action=action, **detail)


def test_it_lists_what_was_done_newest_first(
    app: Flask, reader: Browser, administrator: User
) -> None:
    write(app, "case.searched", actor=administrator, length=3, count=7, count_is_capped=False)
    write(app, "assessment.completed")
    third, second, first = rows(shown(reader))
    assert re.fullmatch(
        rf"1 .+ UTC {administrator.username} Signed in User {administrator.id} - 127\.0\.0\.1",
        first,
    )
    assert "Searched the cases" in second
    assert "length 3 count 7 count is capped no" in second
    assert "the system The model gave an answer" in third


def test_who_is_refused_at_sign_in_is_nobody_yet(
    reader: Browser, nobody: Browser, administrator: User
) -> None:
    nobody.post("/sign-in", {"username": "my secret", "password": "wrong"})
    nobody.post("/sign-in", {"username": administrator.username, "password": "wrong"})
    known, unknown, _ = rows(shown(reader))
    refusal = "not signed in Was refused at sign-in"
    assert f"{refusal} - reason wrong_password throttled no" in unknown
    assert f"{refusal} User {administrator.id} username {administrator.username}" in known


def test_it_says_how_long_the_record_is_and_how_it_is_checked(app: Flask, reader: Browser) -> None:
    page = shown(reader)
    assert "The record has 1 row." in page
    assert "No anchor was written yet" in page
    assert "<code>flask audit verify</code>" in page
    with app.app_context():
        assert audit.append_anchor()
        at = audit.last_anchored_at()
    assert at is not None
    page = shown(reader)
    assert "The record has 3 rows." in page  # the first look, and the beginning of the anchors
    assert f'written <time datetime="{at.isoformat(timespec="seconds")}"' in page


def test_reading_it_is_on_record(reader: Browser, administrator: User, record: Look) -> None:
    shown(reader)
    shown(reader, f"?action=account.signed_in&user={administrator.id}&day=")
    plain, filtered = record("audit.searched")
    assert plain["actor_id"] == administrator.id
    assert plain["subject"] == (None, None)
    assert plain["detail"] == {"filters": [], "count": 1, "count_is_capped": False}
    assert filtered["detail"] == {
        "filters": ["action", "user"],
        "count": 1,
        "count_is_capped": False,
    }


def test_it_filters_by_user(
    app: Flask, reader: Browser, administrator: User, people: People
) -> None:
    with app.app_context():
        other = people.clinician()
    write(app, "case.opened", actor=other)
    write(app, "assessment.failed")
    (theirs,) = rows(shown(reader, f"?user={other.id}"))
    (nobodys,) = rows(shown(reader, "?user=none"))
    assert f"{other.username} Opened a case" in theirs
    assert "could not read a case" in nobodys


def test_it_filters_by_action_and_by_both(
    app: Flask, reader: Browser, administrator: User, people: People
) -> None:
    with app.app_context():
        other = people.clinician()
    for actor in (administrator, other):
        write(app, "case.opened", "image.opened", actor=actor)
    page = shown(reader, "?action=case.opened")
    assert len(rows(page)) == 2
    assert "2 rows fit" in page
    assert 'selected value="case.opened"' in page
    (row,) = rows(shown(reader, f"?action=case.opened&user={other.id}"))
    assert other.username in row


def test_it_filters_by_day(app: Flask, reader: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    midnight = dt.datetime.combine(now().date(), dt.time.min, dt.UTC) + dt.timedelta(days=7)
    edges = (-dt.timedelta(days=1), -dt.timedelta(microseconds=1), dt.timedelta(0))
    for action, offset in zip(("case.opened", "image.opened", "user.created"), edges, strict=True):
        monkeypatch.setattr(audit, "now", lambda at=midnight + offset: at)
        write(app, action)
    page = shown(reader, f"?day={(midnight - dt.timedelta(days=1)).date()}")
    image, case = rows(page)
    assert "Opened an image" in image
    assert "Opened a case" in case
    (user, *looks) = reversed(rows(shown(reader, f"?day={midnight.date()}")))
    assert "Added a user" in user
    assert len(looks) == 1  # the first search, at the moment that the clock still says
    day = midnight.date() - dt.timedelta(days=1)
    assert len(rows(shown(reader, f"?day={day}&action=case.opened"))) == 1
    assert "Nothing fits" in shown(reader, f"?day={day - dt.timedelta(days=3)}")


def test_pages_go_on_where_the_last_one_ended_and_keep_the_filters(
    app: Flask, reader: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "RECORD_PAGE_SIZE", 2)
    write(app, *["case.opened"] * 5)
    page = shown(reader, "?action=case.opened")
    seen = [int(row.split()[0]) for row in rows(page)]
    for _ in range(2):
        older = re.search(r'rel="next" href="(/audit[^"]+)"', page)
        assert older
        page = shown(reader, older.group(1).replace("&amp;", "&").removeprefix("/audit"))
        seen += [int(row.split()[0]) for row in rows(page)]
    assert seen == [6, 5, 4, 3, 2]
    assert 'rel="next"' not in page
    assert 'href="/audit?action=case.opened"' in page


def test_it_says_when_there_are_more_than_it_counts(
    app: Flask, reader: Browser, record: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "RECORD_COUNT_CAP", 3)
    write(app, *["case.opened"] * 4)
    assert "More than 3 rows fit" in shown(reader, "?action=case.opened")
    (event,) = record("audit.searched")
    assert (event["detail"]["count"], event["detail"]["count_is_capped"]) == (3, True)


def test_it_takes_the_same_few_statements(
    app: Flask, reader: Browser, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for size in (1, 50):
        monkeypatch.setattr(queries, "RECORD_PAGE_SIZE", size)
        with app.app_context():
            write(app, *["case.opened"] * 5, actor=people.clinician())
            counts.append(clinic.count_statements(lambda: shown(reader)))
    assert counts[0] == counts[1]


def test_no_patient_is_seen_in_it(app: Flask, desk: Browser, reader: Browser, case: Case) -> None:
    with app.app_context():
        clinic.read(case, "grave")
        with transaction():
            audit.record(
                actor=None,
                action="patient.corrected",
                subject=db.session.get_one(Patient, case.patient_id),
                changed=["birth_year"],
                new={"birth_year": 1931, "sex": "female"},
            )
    desk.get(f"/cases/{case.id}")
    desk.get("/cases?identifier=A-1")
    page = shown(reader)
    text = " ".join(rows(page)).replace("&#39;", "'")
    for patients in ("A-1", "1931", "1980", "female", "a note", "Grave", "picture-0"):
        assert patients not in text, patients
    kept_back = "kept back: it is a patient's"
    assert (
        f"Corrected a patient's particulars Patient {case.patient_id}"
        f" changed birth_year new {kept_back}" in text
    )
    assert f"finding id {kept_back}" in text
    assert f"Opened a case Case {case.id}" in text
    assert not re.findall(r'href="/(cases|patients|images)/', page)


def test_every_action_that_the_program_records_has_words(app: Flask) -> None:
    source = "\n".join(path.read_text() for path in Path(audit.__file__).parent.rglob("*.py"))
    others = {rule.endpoint for rule in app.url_map.iter_rules()} | QUEUES.keys()
    rooms = {action.partition(".")[0] for action in record.ACTIONS}
    named = set(re.findall(rf'"((?:{"|".join(rooms)})\.[a-z_]+)"', source))
    named -= others | {"audit.key", "dataset.json", "report.json"}
    assert named >= {"case.opened", "model.promoted", "audit.searched"}
    assert named <= record.ACTIONS.keys()


def test_an_action_without_words_is_shown_as_it_is(app: Flask, reader: Browser) -> None:
    write(app, "report.printed", pages=["<b>1</b>"], kind=None)
    row, _ = rows(shown(reader))
    assert "report.printed - pages &lt;b&gt;1&lt;/b&gt;" in row
    assert "kind" not in row


@pytest.mark.parametrize(
    "query",
    [
        "?user=x",
        "?user=999999",
        "?user=99999999999999999999999",
        "?action=no.such",
        "?action=%00",
        "?day=yesterday",
        "?day=2026-02-30",
        "?before=x",
        "?before=0",
        "?before=-5",
        "?before=99999999999999999999999",
        "?user=1&user=2&action=&action=case.opened&day=2026-01-01&day=",
    ],
)
def test_what_cannot_be_used_is_left_out(reader: Browser, query: str) -> None:
    shown(reader, query)


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_are_days(reader: Browser, day: str) -> None:
    assert "Nothing fits" in shown(reader, f"?day={day}")


def test_nobody_is_sent_to_sign_in(nobody: Browser) -> None:
    assert nobody.get("/audit").location == "/sign-in?next=/audit"


def test_a_clinician_may_not(desk: Browser, record: Look) -> None:
    assert desk.get("/audit").status_code == 403
    assert 'href="/audit"' not in desk.get("/cases").get_data(as_text=True)
    assert record("audit.searched") == []
