"""GET /changes/<reading_task_id>/plan."""

from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import Browser
from webapp.config import current_settings
from webapp.registry.models import ModelVersion


def test_it_shows_the_plan_and_says_that_there_is_no_test(
    office: Browser, candidate: ModelVersion
) -> None:
    page = office.get("/changes/1/plan").text
    assert "no locked test set" in page
    assert 'name="margin"' in page
    assert 'value="3.0"' in page
    assert "Save as a new version" in page
    assert 'name="approved_by" id="approved_by-0" value="anybody" checked' in page
    assert "Nobody has the role that approves models yet." in page


def test_a_test_set_that_cannot_resolve_the_margin_is_said_to(
    app: Flask,
    office: Browser,
    candidate: ModelVersion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = (f"{number:064x},s{number},test" for number in range(78))
    (tmp_path / "test-task.csv").write_text("\n".join(["sha256,subject,part", *hashes]))
    with app.app_context():
        settings = type(current_settings())
    monkeypatch.setattr(settings, "locked_tests_dir", tmp_path)
    page = office.get("/changes/1/plan").text
    assert "78 subjects" in page
    assert "not enough for a margin of 3 points" in page
    assert "It would take 427 subjects" in page


def test_an_approver_reads_it_only(approval: Browser, candidate: ModelVersion) -> None:
    page = approval.get("/changes/1/plan").text
    assert "Save as a new version" not in page
    assert "disabled" in page


def test_others_may_not(desk: Browser, nobody: Browser, candidate: ModelVersion) -> None:
    assert desk.get("/changes/1/plan").status_code == 403
    assert nobody.get("/changes/1/plan").location == "/sign-in?next=/changes/1/plan"
