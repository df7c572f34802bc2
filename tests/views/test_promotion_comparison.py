"""GET /comparisons/<comparison_id>: the figures, and what the plan makes of them."""

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.db import transaction
from webapp.promotion import services
from webapp.registry.models import ModelVersion


def test_one_that_passed_can_be_asked_for(
    app: Flask, office: Browser, approval: Browser, candidate: ModelVersion
) -> None:
    with app.app_context():
        promotions.compared(candidate)
    page = office.get("/comparisons/1").text
    for part in (
        "Version 2.0.0 against 1.0.0",
        "Balanced accuracy: lower limit of the difference",
        "300 images of 250 subjects",
        "own test patients are kept out of all training, and not measured on here",
        "Sensitivity for Grave, Sex: female",
        "\N{MINUS SIGN}1.0",
        "15.0\N{NO-BREAK SPACE}MB",
        "1.00 times",
        'action="/comparisons/1/request"',
    ):
        assert part in page, part
    assert "Not passed" not in page
    assert 'action="/comparisons/1/request"' not in approval.get("/comparisons/1").text


def test_one_that_is_worse_cannot(app: Flask, office: Browser, candidate: ModelVersion) -> None:
    with app.app_context():
        promotions.compared(candidate, low=-0.2)
    page = office.get("/comparisons/1").text
    assert "Not passed" in page
    assert "\N{MINUS SIGN}20.0" in page
    assert "The test set is too small to resolve this margin." in page
    assert "/comparisons/1/request" not in page


def test_without_its_pictures_it_says_what_to_register(
    app: Flask, office: Browser, candidate: ModelVersion
) -> None:
    with app.app_context():
        services.request_comparison(actor=None, candidate=candidate)
        claim = services.claim(worker="test", lease_seconds=60)
        facts = {"missing_count": 78, "datasets": ["BreastMNIST"]}
        services.complete(claim=claim, outcome=services.Refusal("test_set_missing", facts))
    page = office.get("/comparisons/1").text
    assert "Could not be compared" in page
    assert "78 pictures of the locked test set are not here" in page
    assert "BreastMNIST" in page


def test_one_that_failed_says_why(app: Flask, office: Browser, candidate: ModelVersion) -> None:
    with app.app_context(), transaction():
        comparison = services.request_comparison(actor=None, candidate=candidate)
        comparison.state, comparison.failure = "failed", "missing_bundle"
        comparison.last_error = "MissingBundle: it is not there"
    page = office.get("/comparisons/1").text
    assert "The comparison failed" in page
    assert "it is not there" in page


def test_others_may_not_and_what_is_not_there_is_not_found(
    office: Browser, desk: Browser, nobody: Browser
) -> None:
    for path in ("", "/status", "/predictions.csv"):
        assert office.get(f"/comparisons/9{path}").status_code == 404
        assert desk.get(f"/comparisons/1{path}").status_code == 403
    assert nobody.get("/comparisons/1").location == "/sign-in?next=/comparisons/1"
