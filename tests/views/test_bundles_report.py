"""GET /models/<id>/report, and the same as JSON: how a version did when it was made."""

import json
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.config import REPOSITORY
from webapp.db import db
from webapp.registry.models import ModelVersion

SHIPPED = REPOSITORY / "ml" / "bundles" / "dermoscopy" / "1.0.1" / "report.json"
FIGURE = {"value": 0.8, "interval": [0.7, 0.9]}
SMALL: dict[str, Any] = {
    "image_count": 1234,
    "accuracy": FIGURE,
    "findings": {
        "calm": {"image_count": 5, "precision": 0.61, "precision_interval": [0.5, 0.7]},
        "grave": {"image_count": 7, "recall": None},
    },
    "confusion": [[4, 1], [2, 5]],
    "curves": {"grave": {"roc": [[0, 0], [0.25, 0.75], [1, 1]]}},
    "reliability": [
        {"from": 0.5, "to": 0.6, "count": 3, "mean_probability": 0.55, "observed": FIGURE}
    ],
    "subgroups": [
        {"kind": "sex", "name": "female", "image_count": 9, "small": True}
        | {"accuracy": FIGURE, "macro_auc": None}
    ],
    "worst_errors": [
        {"file": "<b>one.png", "label": "calm", "prediction": "grave", "abstained": False}
        | {"probabilities": {"grave": 0.97}}
    ],
}
BROKEN: list[Any] = [
    *({part: value} for part in SMALL for value in (None, [], "text", 7, [[]], {"grave": 1})),
    {"findings": {"calm": {}}, "confusion": [[1, 2]]},
]


def version_with(app: Flask, figures: object) -> int:
    with app.app_context():
        version = clinic.serve()
        clinic.bring_report(version, figures)
        return version.id


def test_it_shows_findings_confusion_curves_groups_and_worst_errors(
    app: Flask, desk: Browser
) -> None:
    number = version_with(app, SMALL)
    assert f'href="/models/{number}/report"' in desk.get(f"/models/{number}").text
    page = desk.get(f"/models/{number}/report").text
    for part in (
        "1,234",
        ">Grave<",
        "61.0",
        "50.0",
        'points="0.0,100.0 25.0,25.0 100.0,0.0 100.0,0.0"',
        "sex: female*",
        "&lt;b&gt;one.png",
        "97.0",
        '<td data-label="grave">1</td>',
    ):
        assert part in page, part
    assert "<b>one.png" not in page


def test_that_of_a_shipped_bundle_is_whole(app: Flask, desk: Browser) -> None:
    figures = json.loads(SHIPPED.read_bytes())
    page = desk.get(f"/models/{version_with(app, figures)}/report").text
    for heading in ("By finding", "What was taken for what", "ROC curves", "By group", "Wrong"):
        assert heading in page, heading
    assert page.count("<polyline") == len(figures["findings"])


def test_what_a_report_lacks_is_not_shown(app: Flask, desk: Browser) -> None:
    for figures in BROKEN:
        assert desk.get(f"/models/{version_with(app, figures)}/report").status_code == 200, figures


@pytest.mark.parametrize("figures", [None, "no table", [1]])
def test_without_one_there_is_none(app: Flask, desk: Browser, figures: object) -> None:
    number = version_with(app, figures)
    assert desk.get(f"/models/{number}/report").status_code == 404
    assert desk.get("/models/999/report").status_code == 404
    with app.app_context():
        db.session.get_one(ModelVersion, number).archive_sha256 = None
        db.session.commit()
    assert desk.get(f"/models/{number}/report").status_code == 404
    assert "/report" not in desk.get(f"/models/{number}").text


def test_who_is_not_signed_in_is_turned_away(app: Flask, nobody: Browser) -> None:
    path = f"/models/{version_with(app, SMALL)}/report"
    assert nobody.get(path).location.startswith("/sign-in")
