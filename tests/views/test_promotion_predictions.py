"""GET /comparisons/<comparison_id>/predictions.csv: what both said of each picture."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.promotion import services
from webapp.registry.models import ModelVersion

PATH = "/comparisons/1/predictions.csv"


def test_the_table_is_a_download_that_is_on_record(
    app: Flask,
    office: Browser,
    nobody: Browser,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    with app.app_context():
        services.request_comparison(actor=None, candidate=candidate)
    assert office.get(PATH).status_code == 404
    with app.app_context():
        promotions.compared(candidate)
    assert nobody.get(PATH).location == f"/sign-in?next={PATH}"
    assert record("comparison.exported") == []
    answer = office.get(PATH)
    assert answer.text.startswith("file,subject,label")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="comparison-1.csv"'
    (event,) = record("comparison.exported")
    assert event["subject"] == ("Comparison", 1)
    assert event["actor_id"] is not None
