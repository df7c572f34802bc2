"""GET /comparisons/<comparison_id>/status: the part of the page that asks for itself again."""

from flask import Flask

from tests import promotions
from tests.conftest import Browser
from webapp.promotion import services
from webapp.registry.models import ModelVersion


def test_it_asks_again_until_it_is_made(
    app: Flask, office: Browser, nobody: Browser, candidate: ModelVersion
) -> None:
    with app.app_context():
        services.request_comparison(actor=None, candidate=candidate)
    answer = office.get("/comparisons/1/status")
    assert answer.headers["Cache-Control"] == "no-store"
    assert 'hx-get="/comparisons/1/status"' in answer.text
    assert "<progress" not in answer.text
    with app.app_context():
        claim = services.claim(worker="test", lease_seconds=60)
        assert claim
        for read_count, said in ((500, "Time left:"), (2000, "The figures are being made.")):
            services.note(claim=claim, read_count=read_count, to_read_count=2000)
            page = office.get("/comparisons/1/status").text
            assert f'max="2000" value="{read_count}"' in page
            assert f"{read_count:,} of 2,000 readings" in page
            assert said in page
        assert services.complete(claim=claim, outcome=promotions.proof())
    answer = office.get("/comparisons/1/status")
    assert "hx-get" not in answer.text
    assert "Figures" in answer.text
    assert "<html" not in answer.text
    assert nobody.get("/comparisons/1/status").status_code == 401
