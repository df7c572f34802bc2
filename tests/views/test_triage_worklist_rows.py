import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import UserSession
from webapp.cases.models import Case
from webapp.db import db


def test_it_shows_a_row_as_it_is_now_and_ends_by_itself(
    app: Flask, desk: Browser, case: Case
) -> None:
    answer = desk.get(f"/cases/rows?ids={case.id}")
    assert answer.status_code == 200
    assert "hx-trigger" in answer.get_data(as_text=True)
    with app.app_context():
        clinic.read(case, "watch")
    fragment = desk.get(f"/cases/rows?ids={case.id}").get_data(as_text=True)
    assert "Watch" in fragment
    assert "hx-trigger" not in fragment


def test_the_counts_on_top_are_as_they_are_now(app: Flask, desk: Browser, case: Case) -> None:
    def counts(query: str = "") -> list[tuple[str, str]]:
        fragment = desk.get(f"/cases/rows?ids={case.id}{query}").text
        return re.findall(r'id="urgency-count-(\w+)" hx-swap-oob="true">(\d+)</span>', fragment)

    assert counts() == [("stat", "0"), ("asap", "0"), ("urgent", "0"), ("routine", "1")]
    with app.app_context():
        clinic.read(case, "grave")
    assert counts() == [("stat", "1"), ("asap", "0"), ("urgent", "0"), ("routine", "0")]
    assert counts("&of_patient=1") == []


def test_it_neither_leaves_a_record_nor_keeps_a_session(
    app: Flask, desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    with app.app_context():
        row = db.session.query(UserSession).one()
        row.last_active_at = earlier = row.last_active_at - dt.timedelta(minutes=3)
        db.session.commit()
    assert desk.get(f"/cases/rows?ids={case.id}").status_code == 200
    with app.app_context():
        assert db.session.query(UserSession).one().last_active_at == earlier
    assert record("case.opened", "case.searched") == []


@pytest.mark.parametrize("ids", ["", "x", "1,,2", "-1", "99999999999999999999", "1;2", "9" * 18])
def test_what_cannot_be_used_is_left_out(desk: Browser, ids: str) -> None:
    answer = desk.get(f"/cases/rows?ids={ids}")
    assert answer.status_code == 200
    assert "<tr" not in answer.get_data(as_text=True)


def test_who_is_not_signed_in_is_told_and_not_redirected(nobody: Browser, case: Case) -> None:
    assert nobody.get(f"/cases/rows?ids={case.id}").status_code == 401


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    assert office.get(f"/cases/rows?ids={case.id}").status_code == 403


def test_a_stranger_sees_nothing_of_it(stranger: Browser, case: Case) -> None:
    answer = stranger.get(f"/cases/rows?ids={case.id}")
    assert answer.status_code == 200
    assert "A-1" not in answer.get_data(as_text=True)
