"""GET /comparisons/<comparison_id>/status: the part of the page that asks for itself again."""

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.promotion import services
from webapp.registry.models import ModelVersion


def test_it_asks_again_until_it_is_made(
    app: Flask, office: Browser, candidate: ModelVersion
) -> None:
    with app.app_context():
        services.request_comparison(actor=None, candidate=candidate)
    answer = office.get("/comparisons/1/status")
    assert answer.headers["Cache-Control"] == "no-store"
    assert 'hx-get="/comparisons/1/status"' in answer.text
    with app.app_context():
        promotions.compared(candidate)
    answer = office.get("/comparisons/1/status")
    assert "hx-get" not in answer.text
    assert "Figures" in answer.text
    assert "<html" not in answer.text
