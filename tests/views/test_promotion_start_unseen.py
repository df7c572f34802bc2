"""POST /models/<model_id>/unseen/start."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp.db import now
from webapp.registry.models import ModelVersion
from webapp.registry.queries import shadow, shadow_until


def test_it_reads_what_comes_from_then_on(
    app: Flask,
    office: Browser,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    path = f"/models/{candidate.id}/unseen"
    for days in ("14", "90"):  # the time that was said last counts
        answer = office.post(f"{path}/start", {"days": days})
        assert (answer.status_code, answer.location) == (303, path)
    with app.app_context():
        assert shadow(1).version == "2.0.0"
        assert now() + dt.timedelta(days=89) < shadow_until(1) < now() + dt.timedelta(days=90)
    assert "until" in office.get(path).text.partition("Reads every new case unseen")[2][:60]
    assert len(record("model.shadow_started")) == 2


def test_what_serves_reads_them_already(office: Browser, candidate: ModelVersion) -> None:
    assert office.post("/models/1/unseen/start", {"days": "28"}).status_code == 409


@pytest.mark.parametrize("days", ["", "0", "366", "some"])
def test_for_how_long_is_to_be_said(
    app: Flask, office: Browser, candidate: ModelVersion, days: str
) -> None:
    path = f"/models/{candidate.id}/unseen"
    assert 'value="28"' in office.get(path).text
    answer = office.post(f"{path}/start", {"days": days})
    assert answer.status_code == 422
    assert "It does not read them yet" in answer.text
    with app.app_context():
        assert shadow(1) is None


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away("/models/1/unseen/start")
