"""Reproductions: the same input read once more with a real model, compared, and said plainly."""

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import update

from tests import clinic
from tests.conftest import People
from tests.unit.ml.factories import picture_bytes
from webapp import queue, storage, sweeper
from webapp.accounts.models import User
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Assessment, Failure, State
from webapp.assessments.queries import current_assessment
from webapp.assessments.services import AssessmentResult
from webapp.config import current_settings
from webapp.db import db, transaction
from webapp.errors import Conflict, NotFound
from webapp.jobs import ASSESS, REPRODUCE
from webapp.registry.models import ModelVersion
from webapp.reproductions import queries, services
from webapp.reproductions.models import Reproduction
from webapp.reproductions.services import Claim
from webapp.worker import inference, install, jobs, predictors

ONE_KIND = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the rings instead of sending them."""
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: heard.append(job) or True)
    return heard


@pytest.fixture
def actor(core: Flask, people: People) -> User:
    clinic.serve()
    return people.clinician()


@pytest.fixture
def assessment(actor: User) -> Assessment:
    """A case that is said to be grave."""
    return clinic.read(clinic.send(actor), "grave")


def claim(lease_seconds: int = 30) -> Claim:
    bundles = {version.bundle_sha256 for version in db.session.query(ModelVersion)}
    taken = services.claim(worker="test:1", bundle_sha256s=bundles, lease_seconds=lease_seconds)
    assert taken is not None
    return taken


def again(taken: Claim, finding: str = "grave", **changes: object) -> AssessmentResult:
    """What a model says of the same input: the same, unless told otherwise."""
    said = clinic.result(taken.reading, finding)
    images = tuple(replace(image, **changes) for image in said.images)
    return replace(said, images=images, engine="another engine")


def reread(reproduction: Reproduction) -> Reproduction:
    db.session.refresh(reproduction)
    return reproduction


def let_pass(time: dt.timedelta) -> None:
    with transaction():
        for row in db.session.query(Reproduction):
            row.scheduled_at -= time
            row.not_before_at = None


# Asking, claiming and comparing


def test_the_input_is_claimed_as_it_was_fed_and_the_answer_compared(
    actor: User, assessment: Assessment, rings: list[str]
) -> None:
    rings.clear()
    reproduction = services.request(actor=actor, assessment=assessment)
    assert services.request(actor=actor, assessment=assessment).id == reproduction.id
    assert rings == [REPRODUCE]
    taken = claim()
    assert taken.engine == "test"
    assert taken.reading.image_sha256s == (assessment.images[0].image_sha256,)
    assert taken.reading.metadata == assessment.metadata_fed["raw"]
    assert taken.reading.bundle_sha256 == assessment.model_version.bundle_sha256
    before = (assessment.due_at, assessment.priority_rank, assessment.state)
    assert services.complete(claim=taken, result=again(taken), tolerance=0.002)
    assert reread(reproduction).is_same
    assert (reproduction.largest_difference, reproduction.engine) == (0.0, "another engine")
    assert queries.of_assessments([assessment]) == {assessment.id: [reproduction]}
    db.session.refresh(assessment)
    assert (assessment.due_at, assessment.priority_rank, assessment.state) == before
    assert assessment.engine == "test"
    asked, completed = clinic.recorded("reproduction.requested", "reproduction.completed")
    assert (asked.actor_id, asked.subject_id) == (actor.id, reproduction.id)
    assert completed.detail["is_same"] is True
    assert services.request(actor=actor, assessment=assessment).id != reproduction.id


@ONE_KIND
@pytest.mark.parametrize(
    ("finding", "changes", "differs", "is_within", "same_answers"),
    [
        ("grave", {"probabilities": {"grave": 0.899, "watch": 0.051, "calm": 0.05}}, 0.001, 1, 1),
        ("grave", {"probabilities": {"grave": 0.8, "watch": 0.15, "calm": 0.05}}, 0.1, 0, 1),
        ("calm", {}, 0.85, 0, 0),
        ("grave", {"abstained": True, "reason": "blurred"}, 0.0, 1, 0),
    ],
    ids=["within", "beyond", "another finding", "held back now"],
)
def test_what_differs_is_said(
    actor: User,
    assessment: Assessment,
    finding: str,
    changes: dict[str, object],
    differs: float,
    is_within: bool,
    same_answers: bool,
) -> None:
    reproduction = services.request(actor=actor, assessment=assessment)
    taken = claim()
    services.complete(claim=taken, result=again(taken, finding, **changes), tolerance=0.002)
    assert reread(reproduction).largest_difference == pytest.approx(differs)
    assert reproduction.is_within_tolerance == is_within
    assert reproduction.same_answers == same_answers
    assert reproduction.is_same == (is_within and same_answers)
    assert reproduction.answers[0]["finding"] == finding


@ONE_KIND
def test_other_values_for_the_same_metadata_are_not_the_same(
    actor: User, assessment: Assessment
) -> None:
    reproduction = services.request(actor=actor, assessment=assessment)
    taken = claim()
    result = replace(again(taken), metadata_encoded={"vector": [1.0]})
    services.complete(claim=taken, result=result, tolerance=0.002)
    assert (reread(reproduction).same_input, reproduction.is_same) == (False, False)


@ONE_KIND
def test_what_has_no_answer_is_not_compared(actor: User) -> None:
    waiting = current_assessment(clinic.send(actor))
    assert waiting is not None
    with pytest.raises(Conflict, match="not_read"):
        services.request(actor=actor, assessment=waiting)


@ONE_KIND
def test_it_is_seen_at_the_cases_site_only(
    actor: User, assessment: Assessment, people: People
) -> None:
    reproduction = services.request(actor=actor, assessment=assessment)
    found = queries.get_reproduction(actor=actor, reproduction_id=reproduction.id)
    assert found is reproduction
    stranger = people.clinician()
    with pytest.raises(NotFound):
        queries.get_reproduction(actor=stranger, reproduction_id=reproduction.id)
    with pytest.raises(NotFound):
        queries.get_assessment(actor=stranger, assessment_id=assessment.id)


def test_a_lost_claim_writes_nothing(actor: User, assessment: Assessment) -> None:
    reproduction = services.request(actor=actor, assessment=assessment)
    lost = claim(lease_seconds=-1)
    assert services.KIND.return_expired_leases() == 1
    assert services.KIND.return_expired_leases() == 0
    assert reread(reproduction).state is State.SCHEDULED
    assert not services.KIND.extend_lease(lease_token=lost.lease_token, lease_seconds=30)
    assert not services.complete(claim=lost, result=again(lost), tolerance=0.002)
    attempt = FailedAttempt("late", Failure.UNEXPECTED)
    assert not services.KIND.fail_attempt(lost.reproduction_id, lost.lease_token, attempt)
    held = claim()
    assert services.KIND.extend_lease(lease_token=held.lease_token, lease_seconds=600)
    assert services.complete(claim=held, result=again(held), tolerance=0.002)


@ONE_KIND
def test_the_sweeper_rings_and_returns_leases(
    actor: User, assessment: Assessment, rings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    services.request(actor=actor, assessment=assessment)
    claim(lease_seconds=-1)
    rings.clear()
    asked: list[str] = []
    monkeypatch.setattr(queue, "unheard_count", lambda *names: asked.extend(names) or 0)
    sweeper.sweep(bells=4, anchors=False)
    assert rings == [REPRODUCE, REPRODUCE]  # the lease came back, and nobody has heard
    assert asked == [REPRODUCE]


# The job, with a real model


@pytest.fixture
def reproduction(bundle: Path, people: People) -> Reproduction:
    """Asked for, of what the installed model said of a picture."""
    assert install.install(bundle)
    actor = people.clinician()
    case = clinic.send(actor, pictures=[picture_bytes(seed=1)])
    jobs.assess.run()
    assessment = current_assessment(case)
    assert assessment is not None
    return services.request(actor=actor, assessment=assessment)


def test_the_same_model_says_the_same_again(reproduction: Reproduction) -> None:
    jobs.reproduce.run()
    assert reread(reproduction).state is State.COMPLETED
    assert reproduction.is_same
    assert reproduction.tolerance == 2e-3
    assert reproduction.engine == reproduction.assessment.engine
    (image,) = reproduction.assessment.images
    kept = {said.finding.code: said.probability for said in image.predictions}
    assert reproduction.answers[0]["probabilities"] == pytest.approx(kept, abs=2e-3)
    jobs.reproduce.run()  # a message that comes twice finds nothing


@ONE_KIND
def test_a_missing_bundle_is_left_to_others_for_a_while_and_then_said(
    reproduction: Reproduction,
) -> None:
    shutil.rmtree(current_settings().bundles_dir)
    jobs.reproduce.run()
    assert (reread(reproduction).state, reproduction.attempt_count) == (State.SCHEDULED, 0)
    for _ in range(3):
        let_pass(dt.timedelta(seconds=services.ELSEWHERE_SECONDS + 1))
        jobs.reproduce.run()
    assert reread(reproduction).state is State.FAILED
    assert reproduction.failure is Failure.MISSING_BUNDLE
    assert "is not there" in reproduction.last_error
    (event,) = clinic.recorded("reproduction.failed")
    assert event.detail["failure"] == "missing_bundle"


@ONE_KIND
def test_what_goes_wrong_is_on_record(
    reproduction: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(_sha256: str) -> bytes:
        raise storage.CorruptBlob("e" * 64)

    def broken(_sha256: str) -> None:
        raise RuntimeError("boom")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "get", torn)
        jobs.reproduce.run()
    assert reread(reproduction).state is State.SCHEDULED
    assert "CorruptBlob" in reproduction.last_error
    with transaction():
        db.session.execute(update(Reproduction).values(not_before_at=None))
    with monkeypatch.context() as patch:
        patch.setattr(predictors, "get", broken)
        with pytest.raises(RuntimeError, match="boom"):
            jobs.reproduce.run()
    assert reread(reproduction).last_error == "RuntimeError: boom"


@ONE_KIND
def test_a_job_is_bounded_and_rings_for_the_next(
    actor: User, assessment: Assessment, rings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (assessment, clinic.read(clinic.send(actor))):
        services.request(actor=actor, assessment=each)
    rings.clear()
    bundle = assessment.model_version.bundle_sha256
    monkeypatch.setattr(predictors, "at_hand", lambda: {bundle})
    outcome = inference.Outcome
    monkeypatch.setattr(
        inference,
        "read",
        lambda claims: [outcome(each, result=clinic.result(each)) for each in claims],
    )
    monkeypatch.setattr(jobs, "CLAIMING_SECONDS", -1)
    jobs.reproduce.run()
    states = sorted(row.state for row in db.session.query(Reproduction))
    assert states == ["completed", "scheduled"]
    assert rings == [REPRODUCE]
