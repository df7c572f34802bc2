"""POST /models/<model_id>/comparisons: a candidate against the version that serves."""

from collections.abc import Callable

from tests.conftest import Browser
from webapp.registry.models import ModelVersion


def test_it_is_asked_for_once(office: Browser, candidate: ModelVersion) -> None:
    for _ in range(2):
        answer = office.post(f"/models/{candidate.id}/comparisons")
        assert (answer.status_code, answer.location) == (303, "/comparisons/1")
    page = office.get("/comparisons/1").text
    assert "Being compared" in page
    assert 'hx-get="/comparisons/1/status"' in page


def test_what_serves_is_not_compared_with_itself(office: Browser, candidate: ModelVersion) -> None:
    answer = office.post("/models/1/comparisons")
    assert answer.status_code == 409
    assert "This version serves now." in answer.text


def test_what_is_not_there_is_not_found(office: Browser) -> None:
    assert office.post("/models/99/comparisons").status_code == 404


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away("/models/1/comparisons")
