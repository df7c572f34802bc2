"""GET /healthz: whether this process can answer; anyone may ask, and learns no more."""

from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from tests.conftest import Browser
from webapp.db import db


def test_anyone_is_told_that_it_answers(nobody: Browser) -> None:
    answer = nobody.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert answer.content_type.startswith("text/plain")


def test_without_its_database_it_does_not(
    app: Flask, nobody: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away(*_: Any) -> None:
        raise OperationalError("SELECT 1", {}, OSError("secret-host is away"))

    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setattr(db.session, "execute", is_away)
    answer = nobody.get("/healthz")
    assert answer.status_code == 500
    assert "secret-host" not in answer.text
