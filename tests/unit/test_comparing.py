"""Comparisons in the worker: two small real models, and the locked test set that labels decide."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from ml.datasets.manifest import Manifest, Record
from tests import made
from tests.conftest import People
from tests.unit.ml.factories import make_bundle, picture, picture_bytes
from webapp import queue, storage
from webapp.assessments.models import Failure, State
from webapp.config import current_settings
from webapp.db import db, transaction
from webapp.promotion import queries, services
from webapp.promotion.models import Comparison, Verdict
from webapp.promotion.plans import Plan
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion
from webapp.worker import administration, comparing, install, predictors, testing

ONE_KIND = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
COUNT = 40


@pytest.fixture(scope="module")
def other_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second bundle of the same reading task."""
    return make_bundle(tmp_path_factory.mktemp("other") / "bundle", seed=1)


@pytest.fixture
def other(bundle: Path, other_made: Path) -> Path:
    made.put_engines([other_made], current_settings().engines_dir)
    return other_made


@pytest.fixture
def candidate(
    core: Flask, bundle: Path, other: Path, people: People, monkeypatch: pytest.MonkeyPatch
) -> ModelVersion:
    """A bundle beside the one that serves, both installed, and nobody to hear the bell."""
    monkeypatch.setattr(queue, "ring", lambda *_: True)
    install.install(bundle)
    install.install(other)
    serving = db.session.query(ModelVersion).order_by(ModelVersion.id).all()
    assert champion(serving[0].reading_task_id) is serving[0]
    # Two models that nobody trained need not be alike in anything but what is asked of them.
    loose = Plan(calibration_margin=1.0, latency_ratio_max=100.0)
    services.change_plan(
        actor=people.administrator(),
        reading_task=serving[0].reading_task,
        plan=loose,
        reason="For tests.",
        shown=0,
    )
    return serving[1]


def let_be_right(monkeypatch: pytest.MonkeyPatch, version: ModelVersion) -> None:
    """The locked test set is what this version says: it makes no mistake there."""
    right = predictors.get(version.bundle_sha256)
    said = right.predict([picture(seed=seed) for seed in range(COUNT)])
    records = tuple(Record(f"{seed}.png", (answer.prediction,)) for seed, answer in enumerate(said))
    manifest = Manifest(records, lambda file: picture_bytes(seed=int(file.removesuffix(".png"))))
    monkeypatch.setattr(testing, "locked_manifest", lambda _code: manifest)


def compare(candidate: ModelVersion) -> Comparison:
    services.request_comparison(actor=None, candidate=candidate)
    assert comparing.step()
    assert not comparing.step()
    comparison = queries.latest_comparisons(candidate.reading_task_id)[candidate.id]
    db.session.refresh(comparison)
    return comparison


def test_a_better_candidate_passes(
    candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_be_right(monkeypatch, candidate)
    compared = compare(candidate)
    assert [check for check in compared.checks or [] if not check["passed"]] == []
    assert (compared.state, compared.verdict) == (State.COMPLETED, Verdict.PASSED)
    assert compared.result is not None
    assert compared.result["figures"]["accuracy"]["candidate"]["value"] == 1
    assert compared.engine.startswith("onnxruntime")
    assert compared.progress == {"read": 2 * COUNT, "of": 2 * COUNT}
    table = storage.get(compared.predictions_sha256).decode()
    assert len(table.splitlines()) == COUNT + 1


@ONE_KIND
def test_a_worse_candidate_does_not(
    candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = champion(candidate.reading_task_id)
    assert serving is not None
    let_be_right(monkeypatch, serving)
    assert compare(candidate).verdict is Verdict.FAILED


@ONE_KIND
def test_without_pictures_it_is_refused_and_says_what_to_register(candidate: ModelVersion) -> None:
    compared = compare(candidate)
    assert compared.verdict is Verdict.REFUSED
    assert compared.refusal is not None
    assert compared.refusal["missing_count"] > 1000
    assert compared.refusal["datasets"]


@ONE_KIND
def test_a_bundle_that_is_gone_fails_the_comparison(
    candidate: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_be_right(monkeypatch, candidate)

    def gone(*_: Any) -> Any:
        raise predictors.MissingBundle("it is not there")

    monkeypatch.setattr(predictors, "get", gone)
    services.request_comparison(actor=None, candidate=candidate)
    for _ in range(3):
        assert comparing.step()
        with transaction():
            db.session.execute(update(Comparison).values(not_before_at=None))
    comparison = db.session.query(Comparison).one()
    db.session.refresh(comparison)
    assert (comparison.state, comparison.failure) == (State.FAILED, Failure.MISSING_BUNDLE)


@ONE_KIND
def test_what_nobody_foresaw_is_on_record_and_raised(
    candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_code: str) -> Manifest:
        raise ZeroDivisionError("for tests")

    monkeypatch.setattr(testing, "locked_manifest", broken)
    services.request_comparison(actor=None, candidate=candidate)
    with pytest.raises(ZeroDivisionError):
        comparing.step()
    comparison = db.session.query(Comparison).one()
    db.session.refresh(comparison)
    assert comparison.last_error == "ZeroDivisionError: for tests"
    assert comparison.state is State.SCHEDULED


def test_administrators_work_includes_it() -> None:
    assert comparing.step in administration.STEPS
