"""POST /models/<model_id>/unseen/end."""

from collections.abc import Callable

from flask import Flask

from tests.conftest import Browser
from webapp.registry.models import ModelVersion
from webapp.registry.queries import shadow


def test_it_reads_no_more(app: Flask, office: Browser, candidate: ModelVersion) -> None:
    path = f"/models/{candidate.id}/unseen"
    office.post(f"{path}/start", {"days": "28"})
    answer = office.post(f"{path}/end")
    assert (answer.status_code, answer.location) == (303, path)
    assert "Reads no cases" in office.get(path).text
    with app.app_context():
        assert shadow(1) is None


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away("/models/1/unseen/end")
