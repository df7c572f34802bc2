"""GET /datasets/<id>."""

from pathlib import Path

from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.datasets import services
from webapp.db import db, transaction


def test_it_shows_what_was_found(app: Flask, office: Browser, tmp_path: Path) -> None:
    rows = datasets.rows(("calm", "grave"))
    rows[0]["label"] = "<b>odd</b>"
    with app.app_context():
        task = clinic.serve().reading_task
        dataset = datasets.register(
            task, datasets.write(tmp_path / "drawn", rows), source="https://example.org/set"
        )
        number, content = dataset.id, dataset.content_sha256
    page = office.get(f"/datasets/{number}").get_data(as_text=True)
    for part in (
        "Registered",
        "CC0 1.0",
        'href="https://example.org/set"',
        str(content),
        "Grave",
        "57.1\N{NO-BREAK SPACE}%",
        "no finding of the reading task",
        "calm/0.png",
        "0 pairs",
        "from the command line",
    ):
        assert part in page, part
    assert "hx-get" not in page


def test_what_is_refused_or_failed_says_why(app: Flask, office: Browser, tmp_path: Path) -> None:
    with app.app_context():
        task = clinic.serve().reading_task
        refused = datasets.register(task, tmp_path / "nothing").id
        failed = services.register(
            actor=None, reading_task=task, name="b", licence="c", files=tmp_path
        )
        with transaction():
            failed.attempt_count = 2
        claim = services.claim(worker="test", lease_seconds=60)
        assert claim
        attempt = FailedAttempt("disk", Failure.UNEXPECTED)
        assert services.KIND.fail_attempt(failed.id, claim.lease_token, attempt)
        number = failed.id
        db.session.commit()
    page = office.get(f"/datasets/{refused}").get_data(as_text=True)
    assert "Refused" in page
    assert "The table or the pictures are not there." in page
    page = office.get(f"/datasets/{number}").get_data(as_text=True)
    assert 'href="/work#dataset"' in page


def test_a_number_that_none_has_is_not_there(office: Browser, nobody: Browser) -> None:
    assert office.get("/datasets/999999").status_code == 404
    assert nobody.get("/datasets/999999").location == "/sign-in?next=/datasets/999999"
