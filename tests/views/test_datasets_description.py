"""GET /snapshots/<id>.json, and what the snapshot's page says of its base."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests import clinic, datasets
from tests.conftest import Browser
from webapp.datasets import services


@pytest.fixture
def frozen(app: Flask, tmp_path: Path) -> tuple[int, str]:
    """The number of a snapshot, and the content hash of its base."""
    with app.app_context():
        task = clinic.serve().reading_task
        rows = datasets.rows(("calm", "grave"), sex="female", age="42")
        base = datasets.register(task, datasets.write(tmp_path / "drawn", rows))
        snapshot = services.freeze(actor=None, reading_task=task, dataset=base, note="N-1")
        assert base.content_sha256
        return snapshot.id, base.content_sha256


def test_it_names_the_base_by_its_content_and_counts_it(
    office: Browser, frozen: tuple[int, str], record: Callable[..., list[dict[str, Any]]]
) -> None:
    number, content_sha256 = frozen
    answer = office.get(f"/snapshots/{number}.json")
    assert f"snapshot-{number}.json" in answer.headers["Content-Disposition"]
    said = answer.get_json()
    base = said["base"]
    assert (said["note"], base["content_sha256"]) == ("N-1", content_sha256)
    assert base["findings"] == {"calm": 4, "grave": 4}
    assert base["subgroups"] == {"sex": {"female": 8}, "age": {"30 to 44": 8}}
    assert said["own"]["images"] == 0
    assert [event["subject"] for event in record("snapshot.exported")] == [("Snapshot", number)]
    page = office.get(f"/snapshots/{number}").text
    assert content_sha256 in page
    assert "Images of the base data set by finding" in page
    assert f'href="/snapshots/{number}.json"' in page


def test_who_may_not_is_turned_away(
    nobody: Browser, desk: Browser, office: Browser, frozen: tuple[int, str]
) -> None:
    path = f"/snapshots/{frozen[0]}.json"
    assert nobody.get(path).location.startswith("/sign-in")
    assert desk.get(path).status_code == 403
    assert office.get("/snapshots/999999.json").status_code == 404
