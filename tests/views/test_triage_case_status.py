import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import UserSession
from webapp.assessments.models import Assessment
from webapp.cases.models import Case
from webapp.db import db


def test_it_goes_on_while_something_is_open_and_ends_by_itself(
    app: Flask, desk: Browser, case: Case
) -> None:
    fragment = desk.get(f"/cases/{case.id}/status")
    assert fragment.status_code == 200
    assert fragment.headers["Cache-Control"] == "no-store"
    assert "hx-trigger" in fragment.get_data(as_text=True)
    with app.app_context():
        clinic.read(case, "grave")
    text = desk.get(f"/cases/{case.id}/status").get_data(as_text=True)
    assert "Grave" in text
    assert "hx-trigger" not in text


def test_it_asks_less_often_the_longer_it_takes(app: Flask, desk: Browser, case: Case) -> None:
    def pace_seconds() -> int:
        text = desk.get(f"/cases/{case.id}/status").get_data(as_text=True)
        found = re.search(r'hx-trigger="[^"]*?(\d+)s', text)
        assert found
        return int(found.group(1))

    quick = pace_seconds()
    with app.app_context():
        row = db.session.query(Assessment).one()
        row.scheduled_at = row.scheduled_at.replace(year=row.scheduled_at.year - 1)
        db.session.commit()
    assert pace_seconds() > quick


def test_it_neither_leaves_a_record_nor_keeps_a_session(
    app: Flask, desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    with app.app_context():
        row = db.session.query(UserSession).one()
        row.last_active_at = earlier = row.last_active_at - dt.timedelta(minutes=3)
        db.session.commit()
    assert desk.get(f"/cases/{case.id}/status").status_code == 200
    with app.app_context():
        assert db.session.query(UserSession).one().last_active_at == earlier
    assert record("case.opened") == []


def test_who_is_not_signed_in_is_told_and_not_redirected(nobody: Browser, case: Case) -> None:
    assert nobody.get(f"/cases/{case.id}/status").status_code == 401


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    assert office.get(f"/cases/{case.id}/status").status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, case: Case) -> None:
    assert stranger.get(f"/cases/{case.id}/status").status_code == 404
