"""GET /readyz: whether the installation does its work; anyone may ask, and learns no more."""

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp import queue
from webapp.db import now
from webapp.monitoring import services
from webapp.monitoring.models import Part


def test_it_tells_the_truth(app: Flask, nobody: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "unheard_count", lambda *_: 0)
    answer = nobody.get("/readyz")
    assert answer.status_code == 503
    assert answer.text == (
        "not ready\n"
        "sweeper: no sign of life for 60 seconds\n"
        "worker: no sign of life for 60 seconds\n"
    )
    with app.app_context():
        for part in (Part.SWEEPER, Part.TRIAGE):
            services.note_alive(name=f"secret-host:{part}", part=part, started_at=now())
    answer = nobody.get("/readyz")
    assert (answer.status_code, answer.text) == (200, "ready\n")
    assert answer.content_type.startswith("text/plain")


def test_a_broker_that_is_away_is_said(nobody: Browser) -> None:
    answer = nobody.get("/readyz")
    assert answer.status_code == 503
    assert "broker: cannot be reached\n" in answer.text
