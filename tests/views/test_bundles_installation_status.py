"""GET /bundles/<installation_id>/status: who may ask; what it says is tested with the page."""

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp import queue
from webapp.accounts.models import User
from webapp.bundles import services


def test_an_administrator_is_told_and_others_are_not(
    app: Flask,
    office: Browser,
    nobody: Browser,
    clinician: User,
    desk: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    with app.app_context():
        services.request(actor=None, archive=b"", file_name="b.zip")
    assert "Waits for a worker" in office.get("/bundles/1/status").text
    assert office.get("/bundles/99/status").status_code == 404
    assert nobody.get("/bundles/1/status").status_code == 401
    assert desk.get("/bundles/1/status").status_code == 403
