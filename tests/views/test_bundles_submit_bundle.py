"""POST /bundles: sending a model to be installed."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp import queue
from webapp.bundles.models import Installation
from webapp.db import db
from webapp.jobs import ADMINISTER, ASSESS

PATH = "/bundles"
SHA256 = "a" * 64


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: heard.append(job) or True)
    return heard


def archive(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name in names:
            packed.writestr(name, b"{}")
    return stream.getvalue()


def send(browser: Browser, data: bytes, **fields: str) -> Any:
    return browser.post(PATH, {"archive": (io.BytesIO(data), "model.zip"), **fields})


def test_a_bundle_is_taken_to_be_installed(
    app: Flask, office: Browser, rings: list[str], record: Callable[..., list[dict[str, Any]]]
) -> None:
    answer = send(office, archive("bundle.json"), expected_sha256=f" {SHA256.upper()} ")
    assert answer.location == PATH
    assert rings == [ADMINISTER]
    with app.app_context():
        installation = db.session.query(Installation).one()
        assert installation.file_name == "model.zip"
        assert installation.expected_sha256 == SHA256
    page = office.get(PATH).text
    assert "Waits for a worker" in page
    assert "model.zip" in page
    (event,) = record("installation.requested")
    assert event["subject"] == ("Installation", installation.id)


@pytest.mark.parametrize(
    ("data", "fields", "sentence"),
    [
        (b"PK nonsense", {}, "not a ZIP archive"),
        (archive("bundle.json", "../x.json"), {}, "a name that no bundle has: ../x.json"),
        (archive("bundle.json", "model.pkl"), {}, "a kind of file that no bundle has: model.pkl"),
        (archive("bundle.json"), {"expected_sha256": "short"}, "A hash has 64 digits"),
        (b"", {}, "not a ZIP archive"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(
    app: Flask, office: Browser, data: bytes, fields: dict[str, str], sentence: str
) -> None:
    answer = send(office, data, **fields)
    assert answer.status_code == 422
    assert sentence in answer.text
    with app.app_context():
        assert db.session.query(Installation).count() == 0


def test_an_archive_is_asked_for(office: Browser) -> None:
    assert "Choose the archive." in office.post(PATH).text


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
