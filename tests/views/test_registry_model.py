"""GET /models/<id>."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic, factories, trainings
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.db import db
from webapp.promotion import services as promotion

PERCENT = "\N{NO-BREAK SPACE}%"
WHOLE: dict[str, Any] = {
    "not_for": ["making a diagnosis", "<b>whole smears</b>"],
    "network": {"name": "efficientnet-lite0"},
    "preprocess": {"size_px": 128},
    "operating_points": {
        "grave": {"threshold": 0.74017, "tune_sensitivity": 0.95364, "tune_specificity": 0.99999},
        "calm": {"threshold": 0.9},
    },
    "abstention": {
        "confidence_below": 0.9071,
        "short_side_below_px": 64,
        "contrast_below": 5.0,
        "set_size_above": 2,
        "brightness_below": 20.04,
        "brightness_above": 255.0,
        "sharpness_below": 1.2345,
        "novelty_above": 0.31137,
        "strangeness_above": 4.5678,
        "otherness_above": 0.0,
        "some_new_limit": 3,
    },
    "training": {
        "split_sha256": "ab" * 32,
        "code_revision": "cd" * 20,
        "images": {"train": 10150, "tune": 1792, "test": 1711, "dropped": 1},
        "figures": {
            "accuracy": {"value": 0.9953, "interval": [0.9883, 1.0]},
            "macro_auc": {"value": 0.9999956, "interval": [0.99997, 1.0]},
            "some_new_figure": {"value": 0.25, "interval": None},
        },
    },
}
PARTS = ("not_for", "network", "preprocess", "operating_points", "abstention", "training")
BROKEN: list[dict[str, Any]] = [
    {},
    *({part: value} for part in PARTS for value in (None, [], {}, "text", 7, [[]], {"grave": 1})),
    {"training": {"figures": {"accuracy": {"value": None, "interval": [None, None]}}}},
    {
        "training": {
            "figures": {"accuracy": {"value": 0.9, "interval": [0.8]}},
            "images": {"a": "b"},
        }
    },
    {"training": {"figures": {"accuracy": 0.9}, "images": [1], "split_sha256": 4}},
    {"findings": [1, {"code": "grave"}, {}], "operating_points": {"grave": {"threshold": True}}},
    {"reading_task": None, "findings": None},
    {"abstention": {"confidence_below": "0.9", "novelty_above": None}},
    *(
        {"training": {"quoted_first": said}}
        for said in (None, [], "text", {"name": 7, "figures": {}}, {"name": "x", "figures": [1]})
    ),
]


def model_number(app: Flask, changes: dict[str, Any], card: str = "# A model") -> int:
    """A model that serves, with more in its manifest than a test's has."""
    with app.app_context():
        version = factories.serving_model()
        version.manifest = version.manifest | changes
        version.model_card = card
        db.session.commit()
        return version.id


def shown(browser: Browser, number: int) -> str:
    answer = browser.get(f"/models/{number}")
    assert answer.status_code == 200
    return str(answer.get_data(as_text=True))


def test_it_shows_what_the_model_is_for_what_it_finds_and_how_well(
    app: Flask, office: Browser
) -> None:
    page = shown(office, model_number(app, WHOLE))
    for part in (
        "Test-Task, version 1.0.0",
        "Serves now",
        "Testing.",
        "making a diagnosis",
        "CC0-1.0",
        "grave it is",
        "Immediately",
        "Look.",
        f"95 % interval 98.8{PERCENT} to 100.0{PERCENT}",
        f"<strong>99.5{PERCENT}</strong>",
        f"<strong>&gt; 99.9{PERCENT}</strong>",
        "some new figure",
        f"25.0{PERCENT}",
        f"No finding reaches a probability of 90.7{PERCENT}.",
        "under 64 pixels",
        "under 5 of 255",
        "More than 2 findings remain possible.",
        "darker than 20 of 255",
        "sharpness is under 1.23",
        "its distance is over 0.311",
        "their distance is over 4.57",
        f"of another kind than those that the model is for, with a probability over 50.0{PERCENT}",
        "some new limit: 3",
        f">74.0{PERCENT}<",
        f">95.4{PERCENT}<",
        "10,150 images",
        "1 image<",
        "efficientnet-lite0",
        "a square of 128 pixels",
        "ab" * 32,
        "cd" * 20,
        "# A model",
    ):
        assert part in page, part
    assert "brighter than" not in page  # nothing is brighter than white


def test_the_disclaimer_is_there_once(app: Flask, office: Browser) -> None:
    page = shown(office, model_number(app, WHOLE))
    assert page.count("supports a decision and never makes one") == 1


def test_what_a_bundle_brings_is_text_and_nothing_else(app: Flask, office: Browser) -> None:
    card = "<script>alert(1)</script>\n\n| a | b |\n<img src=x onerror=alert(2)>"
    page = shown(office, model_number(app, WHOLE, card))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>whole smears</b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\n\n| a | b |" in page


@pytest.mark.parametrize("changes", BROKEN, ids=str)
def test_what_a_manifest_lacks_is_not_shown(
    app: Flask, office: Browser, changes: dict[str, Any]
) -> None:
    page = shown(office, model_number(app, changes))
    assert "Testing." in page
    assert "None" not in page


def test_a_version_that_does_not_serve_says_so(app: Flask, office: Browser) -> None:
    with app.app_context():
        factories.serving_model(version="1.0.0")
        number = factories.serving_model(version="1.1.0").id
    page = shown(office, number)
    assert "Does not serve" in page
    assert "Serves now" not in page


def test_a_clinician_gets_there_from_a_case(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        number = clinic.read(case, "grave").model_version_id
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert page.count(f'href="/models/{number}"') == 2
    assert "Grave" in shown(desk, number)


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser) -> None:
    number = model_number(app, {})
    assert nobody.get(f"/models/{number}").location.startswith("/sign-in")


def test_a_user_without_a_role_that_may_is_refused(
    app: Flask, people: People, browse: Callable[[], Browser]
) -> None:
    number = model_number(app, {})
    with app.app_context():
        user = people.user()
    assert browse().sign_in(user).get(f"/models/{number}").status_code == 403


@pytest.mark.parametrize("number", ["0", "999999", "9" * 30, "x", "-1"])
def test_a_number_that_no_model_has_is_not_there(office: Browser, number: str) -> None:
    assert office.get(f"/models/{number}").status_code == 404


def test_it_says_where_the_version_is_from_and_what_it_does(
    app: Flask, office: Browser, desk: Browser, administrator: User
) -> None:
    number = model_number(app, {"training": {"data": {"locked_test": {"missing_count": 3}}}})
    page = shown(office, number)
    assert "it was not trained here" in page
    assert "3 images of the locked test were not there" in page
    with app.app_context():
        version = factories.serving_model(version="2.0.0")
        made = trainings.trained(version, trainings.snapshot())
        promotion.start_shadow(actor=db.session.get_one(User, administrator.id), version=version)
        number, run, snapshot = version.id, made.id, made.snapshot_id
    page = shown(office, number)
    assert "Reads new cases unseen" in page
    assert f'href="/training/{run}"' in page
    assert f'href="/snapshots/{snapshot}"' in page
    assert f"training {run}, on snapshot {snapshot}" in shown(desk, number)
    assert "Reads new cases unseen" in office.get("/models").text
