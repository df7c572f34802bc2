"""GET /metrics: figures for Prometheus, with a token or from this machine."""

import dataclasses
import time
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from tests import clinic
from tests.conftest import Browser
from webapp import queue
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.db import db, now
from webapp.monitoring import drift, metrics, services
from webapp.monitoring.models import Part
from webapp.registry.models import ModelVersion
from webapp.registry.services import keep_reference

TOKEN = "t" * 32
ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def settings(app: Flask) -> None:
    app.config["FIRSTLOOK"] = dataclasses.replace(app.config["FIRSTLOOK"], metrics_token=TOKEN)


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and labels, which are in the order of their names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_counts_in_the_database(
    app: Flask, nobody: Browser, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "unheard_count", lambda *_: 0)
    with app.app_context():
        services.note_alive(name="box:1", part=Part.SWEEPER, started_at=now())
    answer = nobody.get("/metrics")
    assert answer.content_type.startswith("text/plain; version=")
    said = figures(answer.text)
    assert said["firstlook_ready",] == 0
    assert said["firstlook_check_ok", "database"] == 1
    assert said["firstlook_check_ok", "worker"] == 0
    assert said["firstlook_work_rows", "assessment", "waiting"] == 1
    assert said["firstlook_work_rows", "explanation", "failed"] == 0
    assert 0 <= said["firstlook_work_oldest_waiting_seconds", "assessment"] < 60
    assert said["firstlook_day_cases", "scheduled"] == 1
    assert 0 <= said["firstlook_worker_silent_seconds", "sweeper", "box:1"] < 60
    assert "A-1" not in answer.text


def test_times_of_the_last_day_are_told_of_five_cases_or_more(
    app: Flask, nobody: Browser, clinician: User
) -> None:
    with app.app_context():
        for _ in range(4):
            clinic.read(clinic.send(clinician))
        assert not any("firstlook_day_seconds" in name for name in figures(scrape(nobody)))
        clinic.read(clinic.send(clinician))
    said = figures(scrape(nobody))
    assert said["firstlook_day_cases", "completed"] == 5
    median = said["firstlook_day_seconds", "routine", "0.5", "result"]
    assert 0 < median <= said["firstlook_day_seconds", "routine", "0.95", "result"]
    assert ("firstlook_day_seconds", "routine", "0.5", "signature") not in said


def scrape(browser: Browser) -> str:
    text: str = browser.get("/metrics").text
    return text


def test_drift_is_told_as_the_page_tells_it_and_not_anew_at_each_scrape(
    app: Flask, nobody: Browser, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        version = db.session.query(ModelVersion).one()
        dark = [float(value) for value in range(60, 100)]
        reference = {
            "image_count": 40,
            "inputs": {"brightness": dark},
            "probabilities": [0.9] * 40,
            "findings": {"calm": 40},
            "abstained_count": 0,
        }
        keep_reference(version=version, figures=reference)
        clinic.serve(task="other")  # of which nothing is known
        clinic.read(clinic.send(clinician), "calm", measures={"brightness": 150.0})
        monkeypatch.setattr(drift, "FEWEST", 1)
    said = figures(scrape(nobody))
    assert said["firstlook_drift_ratio", "brightness", "test-task"] == 1
    assert said["firstlook_drift_ratio", "answers", "test-task"] == 0
    assert said["firstlook_drift_cases", "test-task"] == 1
    assert said["firstlook_drift_cases", "other"] == 0
    verdicts = {key[1:]: value for key, value in said.items() if key[0].endswith("drift_verdict")}
    assert verdicts == {
        ("test-task", "drifted"): 0,
        ("test-task", "steady"): 1,  # one case is no more than chance
        ("test-task", "too_few"): 0,
        ("other", "drifted"): 0,
        ("other", "steady"): 0,
        ("other", "too_few"): 1,
    }
    with app.app_context():
        for _ in range(29):
            clinic.read(clinic.send(clinician), "calm", measures={"brightness": 150.0})
    assert figures(scrape(nobody))["firstlook_drift_cases", "test-task"] == 1
    monkeypatch.setattr(metrics, "DRIFT_KEPT_SECONDS", 0)
    said = figures(scrape(nobody))
    assert said["firstlook_drift_cases", "test-task"] == 30
    assert said["firstlook_drift_verdict", "test-task", "drifted"] == 1
    assert 0 <= time.time() - said["firstlook_drift_timestamp_seconds",] < 60


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"Authorization": "Bearer ä"}, 403),
        ({"Authorization": f"Basic {TOKEN}"}, 403),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
def test_from_elsewhere_it_takes_the_token(
    settings: None, nobody: Browser, headers: dict[str, str], status: int
) -> None:
    answer = nobody.get("/metrics", headers=headers, environ_overrides=ELSEWHERE)
    assert answer.status_code == status


def test_no_token_is_not_an_empty_token(nobody: Browser) -> None:
    headers = {"Authorization": "Bearer "}
    assert nobody.get("/metrics", headers=headers, environ_overrides=ELSEWHERE).status_code == 403


def test_what_a_proxy_hands_on_is_not_from_here(nobody: Browser) -> None:
    assert nobody.get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 403


def test_who_is_signed_in_has_no_more_right_to_it(desk: Browser, clinician: User) -> None:
    assert desk.get("/metrics", environ_overrides=ELSEWHERE).status_code == 403


def test_without_a_database_it_still_answers(
    nobody: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("select 1", {}, Exception())

    monkeypatch.setattr(db.session, "execute", away)
    said = figures(nobody.get("/metrics").text)
    assert said["firstlook_ready",] == 0
    assert said["firstlook_check_ok", "database"] == 0
