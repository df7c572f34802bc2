"""POST /models/<model_id>/unseen/start."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests.conftest import Browser
from webapp.registry.models import ModelVersion
from webapp.registry.queries import shadow


def test_it_reads_what_comes_from_then_on(
    app: Flask,
    office: Browser,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    path = f"/models/{candidate.id}/unseen"
    for _ in range(2):
        answer = office.post(f"{path}/start")
        assert (answer.status_code, answer.location) == (303, path)
    with app.app_context():
        assert shadow(1).version == "2.0.0"
    assert len(record("model.shadow_started")) == 1


def test_what_serves_reads_them_already(office: Browser, candidate: ModelVersion) -> None:
    assert office.post("/models/1/unseen/start").status_code == 409


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away("/models/1/unseen/start")
