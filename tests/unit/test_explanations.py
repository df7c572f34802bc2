"""Explanations: rows that are asked for, claimed with a lease, made with a real model, ended."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import update

from tests import clinic
from tests.conftest import People
from tests.factories import serving_model
from tests.unit.ml.factories import picture_bytes
from webapp import queue, storage, sweeper
from webapp.accounts.models import User
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import AssessedImage, Assessment, Failure, State
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case, Sex
from webapp.db import db, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.explanations import queries, services
from webapp.explanations.models import Explanation
from webapp.explanations.services import Claim, Explained, ImageOnly
from webapp.jobs import ASSESS, EXPLAIN
from webapp.registry.models import ModelVersion
from webapp.worker import explaining, install, jobs, predictors
from webapp.worker.inference import open_image

HEAT_MAP = b"a heat map"
EXPLAINED = Explained(
    heat_map_sha256=hashlib.sha256(HEAT_MAP).hexdigest(),
    metadata_effects={"age": 0.12},
    engine="test",
    code_version="1",
)


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the rings instead of sending them."""
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: heard.append(job) or True)
    return heard


@pytest.fixture
def actor(core: Flask, people: People) -> User:
    storage.put(HEAT_MAP)
    clinic.serve()
    return people.clinician()


@pytest.fixture
def read(actor: User) -> AssessedImage:
    """What was said of an image: that it is grave."""
    return clinic.read(clinic.send(actor), "grave").images[0]


def claim(lease_seconds: int = 30) -> Claim | None:
    bundles = {version.bundle_sha256 for version in db.session.query(ModelVersion)}
    return services.claim(worker="test:1", bundle_sha256s=bundles, lease_seconds=lease_seconds)


def fail(claimed: Claim, attempt: FailedAttempt) -> bool:
    return services.KIND.fail_attempt(claimed.explanation_id, claimed.lease_token, attempt)


def reread(explanation: Explanation) -> Explanation:
    db.session.refresh(explanation)
    return explanation


# Asking


def test_the_named_finding_is_explained_unless_another_is_asked_for(
    actor: User, read: AssessedImage, rings: list[str]
) -> None:
    rings.clear()
    named = services.request(actor=actor, read=read)
    assert (named.state, named.finding.code) == (State.SCHEDULED, "grave")
    other_id = next(s.finding_id for s in read.predictions if s.finding_id != read.finding_id)
    other = services.request(actor=actor, read=read, finding_id=other_id)
    assert other.finding_id == other_id
    assert rings == [EXPLAIN, EXPLAIN]
    events = clinic.recorded("explanation.requested")
    assert [(event.actor_id, event.subject_id) for event in events] == [
        (actor.id, named.id),
        (actor.id, other.id),
    ]
    assert queries.of_assessment(read.assessment) == {read.id: [named, other]}


def test_asking_again_makes_nothing_new(actor: User, read: AssessedImage) -> None:
    first = services.request(actor=actor, read=read)
    assert services.request(actor=actor, read=read).id == first.id
    services.complete(claim=claim(), explained=EXPLAINED)
    assert services.request(actor=actor, read=read).state is State.COMPLETED
    assert len(clinic.recorded("explanation.requested")) == 1


def test_what_failed_can_be_asked_for_again(actor: User, read: AssessedImage) -> None:
    explanation = services.request(actor=actor, read=read)
    attempt = FailedAttempt("torn", Failure.UNREADABLE_IMAGE)
    assert fail(claim(), attempt)
    assert reread(explanation).state is State.FAILED
    assert clinic.recorded("explanation.failed")[0].detail["failure"] == "unreadable_image"
    again = services.request(actor=actor, read=read)
    assert (again.id, again.state, again.attempt_count) == (explanation.id, State.SCHEDULED, 0)


def test_an_answer_that_was_held_back_is_not_explained(actor: User) -> None:
    case = clinic.send(actor)
    waiting = reading_of(case).images[0]
    with pytest.raises(Conflict, match="no_answer"):
        services.request(actor=actor, read=waiting)
    abstained = clinic.read(case, "grave", abstained=True).images[0]
    with pytest.raises(Conflict, match="no_answer"):
        services.request(actor=actor, read=abstained)


def test_an_unknown_finding_is_refused(actor: User, read: AssessedImage) -> None:
    with pytest.raises(Invalid, match="finding"):
        services.request(actor=actor, read=read, finding_id=0)


def test_it_is_seen_at_the_cases_site_only(
    actor: User, read: AssessedImage, people: People
) -> None:
    explanation = services.request(actor=actor, read=read)
    stranger = people.clinician()
    assert queries.get_explanation(actor=actor, explanation_id=explanation.id) is explanation
    with pytest.raises(NotFound):
        queries.get_explanation(actor=stranger, explanation_id=explanation.id)
    with pytest.raises(NotFound):
        queries.get_assessed_image(actor=stranger, assessed_image_id=read.id)


# Claiming and ending


def test_a_claim_says_what_was_fed(actor: User, read: AssessedImage) -> None:
    explanation = services.request(actor=actor, read=read)
    taken = claim()
    assert taken is not None
    assert claim() is None
    assert taken.finding == "grave"
    assert taken.image_sha256 == read.image_sha256
    assert taken.metadata == read.assessment.metadata_fed["raw"]
    assert taken.bundle_sha256 == read.assessment.model_version.bundle_sha256
    assert services.complete(claim=taken, explained=EXPLAINED)
    assert reread(explanation).state is State.COMPLETED
    assert explanation.metadata_effects == {"age": 0.12}
    assert (explanation.lease_token, explanation.heat_map_sha256) == (
        None,
        EXPLAINED.heat_map_sha256,
    )
    assert clinic.recorded("explanation.completed")[0].subject_id == explanation.id


def test_a_claim_names_what_reads_the_image_alone_where_that_is_at_hand(
    actor: User, read: AssessedImage
) -> None:
    version = read.assessment.model_version
    plain = serving_model(version="0.9.0")
    explanation = services.request(actor=actor, read=read)
    assert claim(lease_seconds=-1).image_only is None  # that version uses metadata as well
    plain.manifest = plain.manifest | {"metadata": {"encoding_version": "none"}}
    db.session.commit()
    services.KIND.return_expired_leases()
    only_its_own = services.claim(
        worker="t", bundle_sha256s=[version.bundle_sha256], lease_seconds=-1
    )
    assert only_its_own is not None
    assert only_its_own.image_only is None
    services.KIND.return_expired_leases()
    taken = claim()
    assert taken.image_only == ImageOnly("0.9.0", plain.bundle_sha256)
    said = {"version": "0.9.0", "probability": 0.4, "names": ["calm"], "abstained": False}
    assert services.complete(claim=taken, explained=replace(EXPLAINED, image_only=said))
    assert reread(explanation).image_only == said


def test_what_reads_images_alone_is_compared_with_nothing(actor: User, read: AssessedImage) -> None:
    for version in (serving_model(version="0.9.0"), read.assessment.model_version):
        version.manifest = version.manifest | {"metadata": {"encoding_version": "none"}}
    db.session.commit()
    services.request(actor=actor, read=read)
    assert claim().image_only is None


def test_of_a_bundle_that_is_elsewhere_it_waits(actor: User, read: AssessedImage) -> None:
    services.request(actor=actor, read=read)
    assert services.claim(worker="t", bundle_sha256s=["b" * 64], lease_seconds=30) is None


def test_a_lost_claim_writes_nothing(actor: User, read: AssessedImage) -> None:
    explanation = services.request(actor=actor, read=read)
    lost = claim(lease_seconds=-1)
    assert services.KIND.return_expired_leases() == 1
    assert services.KIND.return_expired_leases() == 0
    assert reread(explanation).state is State.SCHEDULED
    assert not services.KIND.extend_lease(lease_token=lost.lease_token, lease_seconds=30)
    assert not services.complete(claim=lost, explained=EXPLAINED)
    attempt = FailedAttempt("late", Failure.UNEXPECTED)
    assert not fail(lost, attempt)
    held = claim()
    assert services.KIND.extend_lease(lease_token=held.lease_token, lease_seconds=600)
    assert services.complete(claim=held, explained=EXPLAINED)


def test_after_three_attempts_it_has_failed(actor: User, read: AssessedImage) -> None:
    explanation = services.request(actor=actor, read=read)
    for _ in range(3):
        claim(lease_seconds=-1)
        services.KIND.return_expired_leases()
    assert reread(explanation).state is State.FAILED
    assert explanation.failure is Failure.WORKER_LOST
    assert claim() is None


def test_the_sweeper_rings_and_returns_leases(
    actor: User, read: AssessedImage, rings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    services.request(actor=actor, read=read)
    claim(lease_seconds=-1)
    rings.clear()
    asked: list[str] = []
    monkeypatch.setattr(queue, "unheard_count", lambda *names: asked.extend(names) or 0)
    sweeper.sweep(bells=4, anchors=False)
    assert rings == [EXPLAIN, EXPLAIN]  # the lease came back, and nobody has heard
    assert asked == [EXPLAIN]
    monkeypatch.setattr(queue, "unheard_count", lambda *_: 1)
    assert sweeper.ring_for_unclaimed(Explanation, EXPLAIN, bells=4) == 0


# The job, with real models


@pytest.fixture
def reader(bundle: Path, people: People) -> User:
    """A clinician for whom the real bundle reads."""
    assert install.install(bundle)
    return people.clinician()


def assessed(actor: User, data: bytes, **known: Any) -> AssessedImage:
    """An image that was read by the installed model, with what is known of the patient."""
    case = clinic.send(actor, pictures=[data], **known)
    jobs.assess.run()
    return reading_of(case).images[0]


def test_a_map_is_made_and_stored(reader: User) -> None:
    read = assessed(reader, picture_bytes(seed=1))
    explanations = [
        services.request(actor=reader, read=read, finding_id=said.finding_id)
        for said in read.predictions
    ]
    jobs.explain.run()
    assert {reread(each).state for each in explanations} == {State.COMPLETED}
    assert explanations[0].engine.startswith("torch")
    assert explanations[0].metadata_effects == {}
    drawn = [each.heat_map_sha256 for each in explanations if each.heat_map_sha256]
    assert len(set(drawn)) == len(drawn) > 1  # findings differ
    with Image.open(io.BytesIO(storage.get(drawn[0]))) as heat_map:
        assert heat_map.format == "PNG"
        ratio = read.image.width_px / read.image.height_px
        assert heat_map.width / heat_map.height == pytest.approx(ratio, rel=0.02)
        assert np.asarray(heat_map.convert("RGBA"))[..., 3].max() > 200
    jobs.explain.run()  # a message that comes twice finds nothing


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_image_alone_is_read_by_the_other_model(
    bundle: Path, fusion: Path, people: People
) -> None:
    for path in (fusion, bundle):  # the first one serves
        assert install.install(path)
    actor = people.clinician()
    read = assessed(actor, picture_bytes(seed=4), age_at_acquisition_years=61, sex=Sex.MALE)
    assert read.assessment.model_version.version == "0.0.1"
    (alone,) = db.session.query(ModelVersion).filter_by(version="0.0.0")
    explanation = services.request(actor=actor, read=read)
    taken = claim(lease_seconds=-1)
    services.KIND.return_expired_leases()
    no_pause()
    jobs.explain.run()
    assert reread(explanation).state is State.COMPLETED
    assert set(explanation.metadata_effects) == {"age", "sex"}
    predictor = predictors.get(alone.bundle_sha256)
    (said,) = predictor.predict([open_image(read.image_sha256, predictor)])
    assert explanation.image_only == {
        "version": "0.0.0",
        "probability": pytest.approx(said.probabilities[taken.finding]),
        "names": [said.prediction],
        "abstained": False,
    }
    assert explanation.image_only["probability"] != pytest.approx(read.probability, abs=0.01)
    gone = ImageOnly("0.0.0", "f" * 64)
    assert explaining._image_only(replace(taken, image_only=gone)) is None
    assert explaining._image_only(replace(taken, image_only=None)) is None


def test_what_goes_wrong_is_on_record(
    reader: User, rings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = assessed(reader, picture_bytes(seed=2))
    explanation = services.request(actor=reader, read=read)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "get", always_raise(storage.CorruptBlob("e" * 64)))
        jobs.explain.run()
    assert reread(explanation).state is State.SCHEDULED
    assert "CorruptBlob" in explanation.last_error
    no_pause()
    with monkeypatch.context() as patch:
        patch.setattr(predictors, "heat_maps", always_raise(RuntimeError("boom")))
        with pytest.raises(RuntimeError, match="boom"):
            jobs.explain.run()
    assert reread(explanation).last_error == "RuntimeError: boom"
    assert explanation.attempt_count == 2
    no_pause()
    jobs.explain.run()
    assert reread(explanation).state is State.COMPLETED


def test_a_network_without_maps_says_so(reader: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from ml.explain import NoHeatMap

    explanation = services.request(actor=reader, read=assessed(reader, picture_bytes(seed=3)))
    monkeypatch.setattr(predictors, "heat_maps", always_raise(NoHeatMap("tokens")))
    jobs.explain.run()
    assert (reread(explanation).state, explanation.heat_map_sha256) == (State.COMPLETED, None)


def test_a_job_is_bounded_and_rings_for_the_next(
    actor: User, read: AssessedImage, rings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for said in read.predictions:
        services.request(actor=actor, read=read, finding_id=said.finding_id)
    rings.clear()
    bundle = read.assessment.model_version.bundle_sha256
    monkeypatch.setattr(predictors, "at_hand", lambda: {bundle})
    monkeypatch.setattr(explaining, "_explain", lambda claim: EXPLAINED)
    monkeypatch.setattr(jobs, "CLAIMING_SECONDS", -1)
    jobs.explain.run()
    states = sorted(row.state for row in db.session.query(Explanation))
    assert states == ["completed", "scheduled", "scheduled"]
    assert rings == [EXPLAIN]


def reading_of(case: Case) -> Assessment:
    reading = current_assessment(case)
    assert reading is not None
    return reading


def always_raise(error: Exception) -> Any:
    def act(*_: Any) -> Any:
        raise error

    return act


def no_pause() -> None:
    with transaction():
        db.session.execute(update(Explanation).values(not_before_at=None))
