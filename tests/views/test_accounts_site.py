"""POST /sites/<site_id>."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts.models import Site
from webapp.db import db


@pytest.fixture
def path(app: Flask, people: People) -> str:
    with app.app_context():
        return f"/sites/{people.site('North wing').id}"


def is_asked(app: Flask, path: str) -> bool:
    with app.app_context():
        site = db.session.get_one(Site, int(path.rpartition("/")[2]), populate_existing=True)
        return site.own_impression_first


def test_it_asks_for_an_own_impression_first_and_no_longer(
    app: Flask, office: Browser, path: str, record: Callable[..., list[dict[str, Any]]]
) -> None:
    answer = office.post(path, {"own_impression_first": "on"})
    assert (answer.status_code, answer.location) == (303, "/users")
    assert is_asked(app, path)
    assert "Own impression first" in office.get("/users").text
    office.post(path, {"own_impression_first": "on"})
    office.post(path, {"own_impression_first": "off"})
    assert not is_asked(app, path)
    asked = [event["detail"]["is_asked"] for event in record("site.own_impression_changed")]
    assert asked == [True, False]


@pytest.mark.parametrize("bad", [{}, {"own_impression_first": "x"}])
def test_what_says_nothing_changes_nothing(
    app: Flask, office: Browser, path: str, bad: dict[str, str]
) -> None:
    assert office.post(path, bad).status_code == 422
    assert not is_asked(app, path)


def test_a_site_that_is_not_there(office: Browser) -> None:
    assert office.post("/sites/999999", {"own_impression_first": "on"}).status_code == 404


def test_others_are_turned_away(app: Flask, turned_away: Callable[[str], None], path: str) -> None:
    turned_away(path)
    assert not is_asked(app, path)
