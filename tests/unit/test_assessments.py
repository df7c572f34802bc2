"""Rows are the work: what may happen to one, and what may not. On SQLite and on PostgreSQL."""

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, event, func, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError

from tests.conftest import People
from tests.factories import new_case, scheduled, serving_model
from webapp import queue
from webapp.assessments import services
from webapp.assessments.models import (
    MAX_ATTEMPTS,
    PAUSES_SECONDS,
    AssessedImage,
    Assessment,
    Failure,
    Prediction,
    State,
)
from webapp.assessments.queries import (
    current_assessment,
    expired_count,
    unclaimed_count,
)
from webapp.assessments.services import AssessmentResult, Claim, ImageResult
from webapp.audit import AuditEvent
from webapp.cases.models import Image, Sex
from webapp.catalogue.models import Priority
from webapp.db import db, now, transaction
from webapp.errors import Conflict
from webapp.registry.models import ModelVersion

Schedule = Callable[..., Assessment]


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Counts the rings instead of sending them."""
    heard: list[None] = []
    monkeypatch.setattr(services, "ring_after_commit", lambda: queue.on_commit(ring))
    ring = partial(heard.append, None)
    return heard


@pytest.fixture
def schedule(core: Flask, people: People) -> Schedule:
    """Schedules the assessment of a new case, for a model with findings calm, watch, grave."""
    site = people.site()
    return partial(
        scheduled,
        actor=people.clinician(site),
        site=site,
        reading_task=serving_model().reading_task,
    )


def claim(limit: int = 1, lease_seconds: int = 30) -> list[Claim]:
    """By a worker that has every bundle."""
    return services.claim(
        worker="test:1",
        bundle_sha256s=list(db.session.scalars(select(ModelVersion.bundle_sha256))),
        limit=limit,
        lease_seconds=lease_seconds,
    )


def claim_one(lease_seconds: int = 30) -> Claim:
    (claimed,) = claim(lease_seconds=lease_seconds)
    return claimed


def said(prediction: str, probability: float = 0.8, reason: str | None = None) -> ImageResult:
    rest = dict.fromkeys(("calm", "watch", "grave"), (1 - probability) / 2)
    return ImageResult(prediction, rest | {prediction: probability}, reason is not None, reason)


def result(*images: ImageResult) -> AssessmentResult:
    return AssessmentResult(
        images=images or (said("watch"),),
        metadata_encoded={"vector": [], "encoding_version": "none"},
        engine="test engine",
        code_version="0",
        inference_ms=12.5,
    )


def reread(assessment: Assessment) -> Assessment:
    db.session.refresh(assessment)
    return assessment


def let_leases_run_out() -> None:
    with transaction():
        db.session.execute(
            update(Assessment)
            .where(Assessment.state == State.IN_PROGRESS)
            .values(lease_expires_at=now() - dt.timedelta(seconds=1))
        )


def let_pauses_pass() -> None:
    with transaction():
        db.session.execute(
            update(Assessment)
            .where(Assessment.not_before_at.is_not(None))
            .values(not_before_at=now() - dt.timedelta(seconds=1))
        )


# Schedule


def test_scheduling_keeps_what_is_fed_and_rings(schedule: Schedule, rings: list[None]) -> None:
    assessment = schedule(image_sha256s=("a" * 64, "b" * 64))
    assert assessment.state is State.SCHEDULED
    assert assessment.metadata_fed == {
        "raw": {"age": 50, "sex": "female", "localization": None},
        "missing": ["localization"],
    }
    assert [image.image_sha256 for image in assessment.images] == ["a" * 64, "b" * 64]
    assert current_assessment(assessment.case) is assessment
    assert len(rings) == 1


def test_the_same_input_is_scheduled_once(schedule: Schedule) -> None:
    assessment = schedule()
    assert services.schedule(case=assessment.case) is assessment
    assert db.session.scalar(select(func.count(Assessment.id))) == 1


def test_the_hash_covers_images_their_order_and_metadata() -> None:
    fed = {"raw": {"age": 50}, "missing": []}
    hashes = {
        services.hash_input(["a", "b"], fed),
        services.hash_input(["b", "a"], fed),
        services.hash_input(["a"], fed),
        services.hash_input(["a", "b"], {"raw": {"age": 51}, "missing": []}),
    }
    assert len(hashes) == 4
    assert services.hash_input(["a", "b"], {"missing": [], "raw": {"age": 50}}) in hashes


def test_a_corrected_patient_is_read_anew_and_the_old_answer_is_kept(schedule: Schedule) -> None:
    old = schedule()
    services.complete(claim=claim_one(), result=result())
    with transaction():
        old.case.patient.sex = Sex.MALE
        new = services.schedule(case=old.case)
    assert new is not old
    assert current_assessment(old.case) is new
    assert reread(old).superseded_at is not None
    assert old.state is State.COMPLETED
    assert old.metadata_fed["raw"]["sex"] == "female"
    assert new.metadata_fed["raw"]["sex"] == "male"


def test_work_in_progress_on_superseded_input_is_cancelled(schedule: Schedule) -> None:
    old = schedule()
    claim = claim_one()
    with transaction():
        old.case.patient.sex = Sex.MALE
        services.schedule(case=old.case)
    assert reread(old).state is State.CANCELLED
    assert not services.complete(claim=claim, result=result())
    assert reread(old).state is State.CANCELLED


def test_scheduling_sees_what_was_claimed_meanwhile(schedule: Schedule, core: Flask) -> None:
    old = reread(schedule())

    def claim_elsewhere() -> None:
        with core.app_context():
            claim_one()

    worker = threading.Thread(target=claim_elsewhere)
    worker.start()
    worker.join()
    assert old.state is State.SCHEDULED  # as far as this session knows
    with transaction():
        old.case.patient.sex = Sex.MALE
        services.schedule(case=old.case)
    assert reread(old).state is State.CANCELLED


def correct(assessment: Assessment, sex: Sex) -> Assessment:
    """What takes the place of an assessment once the patient's sex is another."""
    with transaction():
        assessment.case.patient.sex = sex
        return services.schedule(case=assessment.case)


@pytest.mark.parametrize(
    ("image", "rank"),
    [
        (None, Priority.STAT.rank),
        (said("watch", 0.5, "blurred"), Priority.STAT.rank),
        (said("calm"), Priority.URGENT.rank),
        (said("grave"), Priority.STAT.rank),
    ],
    ids=["failed", "abstained", "calm", "grave"],
)
def test_what_was_found_urgent_stays_so_until_it_is_read_anew(
    schedule: Schedule, image: ImageResult | None, rank: int
) -> None:
    old = schedule(priority=Priority.URGENT)
    services.complete(claim=claim_one(), result=result(said("grave")))
    reread(old)
    new = correct(old, Sex.MALE)
    assert new.priority_rank == Priority.STAT.rank
    claimed = claim_one()
    if image is None:
        services.fail_attempt(claim=claimed, error="torn", failure=Failure.UNREADABLE_IMAGE)
    else:
        services.complete(claim=claimed, result=result(image))
    assert reread(new).priority_rank == rank
    assert reread(old).priority_rank == Priority.STAT.rank


def test_a_reading_that_counts_again_stands_where_the_last_one_stood(schedule: Schedule) -> None:
    first = schedule()
    waiting = correct(first, Sex.MALE)
    found = correct(first, Sex.OTHER)
    services.complete(claim=claim_one(), result=result(said("grave")))
    reread(found)
    again = correct(first, Sex.MALE)
    assert again is waiting
    assert again.priority_rank == Priority.STAT.rank
    assert correct(first, Sex.OTHER).priority_rank == Priority.STAT.rank


def test_an_abstention_that_counts_again_is_urgent_again(schedule: Schedule) -> None:
    abstained = schedule()
    services.complete(claim=claim_one(), result=result(said("calm", 0.5, "blurred")))
    reread(abstained)
    correct(abstained, Sex.MALE)
    services.complete(claim=claim_one(), result=result(said("calm")))
    db.session.expire_all()
    assert correct(abstained, Sex.FEMALE) is abstained
    assert (abstained.state, abstained.priority) == (State.ABSTAINED, Priority.URGENT)


def test_input_corrected_back_takes_the_first_assessment_again(schedule: Schedule) -> None:
    first = schedule()
    for sex in (Sex.MALE, Sex.FEMALE):
        with transaction():
            first.case.patient.sex = sex
            latest = services.schedule(case=first.case)
    assert latest is first
    assert reread(first).state is State.SCHEDULED
    assert first.superseded_at is None
    others = db.session.scalars(select(Assessment).where(Assessment.superseded_at.is_not(None)))
    assert [other.state for other in others] == [State.CANCELLED]


def test_without_a_model_nothing_is_scheduled(core: Flask, people: People) -> None:
    site = people.site()
    task = serving_model().reading_task
    db.session.execute(db.text("DELETE FROM model_aliases"))
    db.session.commit()
    with pytest.raises(Conflict, match="no_model"):
        services.schedule(case=new_case(actor=people.clinician(site), site=site, reading_task=task))


# Claim


def test_the_most_urgent_is_claimed_first_then_the_oldest(schedule: Schedule) -> None:
    by_priority = [schedule(priority=p) for p in (Priority.ROUTINE, Priority.STAT, Priority.URGENT)]
    second_routine = schedule()
    order = [claim_one().assessment_id for _ in range(4)]
    assert order == [by_priority[i].id for i in (1, 2, 0)] + [second_routine.id]
    assert claim() == []


def test_a_claim_says_all_that_a_worker_needs(schedule: Schedule) -> None:
    assessment = schedule(image_sha256s=("a" * 64, "b" * 64))
    claim = claim_one()
    assert claim.assessment_id == assessment.id
    assert claim.attempt == 1
    assert claim.bundle_sha256 == assessment.model_version.bundle_sha256
    assert claim.image_sha256s == ("a" * 64, "b" * 64)
    assert claim.metadata == {"age": 50, "sex": "female", "localization": None}
    assert reread(assessment).state is State.IN_PROGRESS
    assert assessment.claimed_by == "test:1"


def test_a_batch_is_claimed_with_one_lease(schedule: Schedule) -> None:
    rows = [schedule() for _ in range(3)]
    claims = claim(limit=2)
    assert [claim.assessment_id for claim in claims] == [row.id for row in rows[:2]]
    assert len({claim.lease_token for claim in claims}) == 1
    assert unclaimed_count() == 1


def test_a_claim_is_limited_by_images_and_is_one_case_at_least(schedule: Schedule) -> None:
    two_images = ("a" * 64, "b" * 64)
    sizes = [two_images, two_images, ("c" * 64,), two_images]
    first, second, third, fourth = [schedule(image_sha256s=images).id for images in sizes]

    def claimed(limit: int) -> list[int]:
        claims = claim(limit=limit)
        return [claim.assessment_id for claim in claims]

    assert claimed(1) == [first]
    assert claimed(4) == [second, third]
    assert claimed(4) == [fourth]


def test_a_worker_claims_only_what_it_has_the_bundle_for(
    schedule: Schedule, people: People
) -> None:
    elsewhere = [schedule(priority=Priority.STAT) for _ in range(3)]
    site = people.site()
    model = serving_model(task="another-task")
    here = scheduled(actor=people.clinician(site), site=site, reading_task=model.reading_task)

    def claimed(*bundle_sha256s: str) -> list[int]:
        claims = services.claim(
            worker="test:1", bundle_sha256s=bundle_sha256s, limit=9, lease_seconds=30
        )
        return [claim.assessment_id for claim in claims]

    assert claimed() == []
    assert claimed(model.bundle_sha256) == [here.id]
    assert claimed(model.bundle_sha256) == []
    assert [reread(row).attempt_count for row in elsewhere] == [0, 0, 0]
    assert claimed(elsewhere[0].model_version.bundle_sha256) == [row.id for row in elsewhere]


def test_several_are_completed_at_once_but_for_the_lost(schedule: Schedule) -> None:
    rows = [schedule() for _ in range(3)]
    claims = claim(limit=3)
    services.fail_attempt(claim=claims[1], error="gone", failure=Failure.UNREADABLE_IMAGE)
    written = services.end_all(outcomes=[(claim, result()) for claim in claims])
    assert written == {rows[0].id, rows[2].id}
    states = [reread(row).state for row in rows]
    assert states == [State.COMPLETED, State.FAILED, State.COMPLETED]


def test_what_was_tried_before_is_claimed_alone(schedule: Schedule) -> None:
    suspect, *others = [schedule() for _ in range(3)]
    services.fail_attempt(claim=claim_one(), error="crashed", failure=Failure.UNEXPECTED)
    let_pauses_pass()
    first = claim(limit=10)
    second = claim(limit=10)
    assert [claim.assessment_id for claim in first] == [suspect.id]
    assert [claim.assessment_id for claim in second] == [other.id for other in others]


def test_workers_never_claim_the_same_row(schedule: Schedule, core: Flask) -> None:
    rows = {schedule().id for _ in range(12)}
    taken: list[int] = []

    def work() -> None:
        with core.app_context():
            while claims := claim(limit=2):
                taken.extend(claim.assessment_id for claim in claims)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(taken) == sorted(rows)


# Lease


def test_a_heartbeat_keeps_the_claim(schedule: Schedule) -> None:
    assessment = schedule()
    claim = claim_one(lease_seconds=1)
    assert services.extend_lease(lease_token=claim.lease_token, lease_seconds=600)
    assert reread(assessment).lease_expires_at > now() + dt.timedelta(seconds=500)


def test_a_lost_claim_is_not_kept(schedule: Schedule) -> None:
    schedule()
    claim = claim_one()
    let_leases_run_out()
    services.return_expired_leases()
    assert not services.extend_lease(lease_token=claim.lease_token, lease_seconds=600)


def test_a_silent_workers_row_waits_again(schedule: Schedule, rings: list[None]) -> None:
    assessment = schedule()
    claim_one()
    rings.clear()
    assert services.return_expired_leases() == 0  # the lease still runs
    let_leases_run_out()
    assert expired_count() == 1
    assert services.return_expired_leases() == 1
    assert reread(assessment).state is State.SCHEDULED
    assert "test:1" in (assessment.last_error or "")
    assert len(rings) == 1
    assert claim_one().attempt == 2


def test_three_silent_workers_and_it_has_failed_visibly(schedule: Schedule) -> None:
    assessment, neighbour = schedule(priority=Priority.STAT), schedule()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert claim_one().attempt == attempt
        let_leases_run_out()
        services.return_expired_leases()
    assert reread(assessment).state is State.FAILED
    assert assessment.failure is Failure.WORKER_LOST
    assert claim_one().assessment_id == neighbour.id
    assert reread(neighbour).attempt_count == 1


# Complete


def test_of_several_findings_the_most_severe_is_the_answer(schedule: Schedule) -> None:
    assessment = schedule()
    several = ImageResult(
        "calm|watch", {"calm": 0.9, "watch": 0.6, "grave": 0.5}, False, None, ("calm", "watch")
    )
    assert services.complete(claim=claim_one(), result=result(several))
    assert reread(assessment).finding.code == "watch"
    (image,) = assessment.images
    assert (image.finding.code, image.probability, assessment.probability) == ("watch", 0.6, 0.6)
    supported = {said.finding.code: said.supported for said in image.predictions}
    assert supported == {"calm": True, "watch": True, "grave": False}


def test_completion_writes_everything(schedule: Schedule) -> None:
    assessment = schedule(image_sha256s=("a" * 64, "b" * 64))
    done = services.complete(
        claim=claim_one(), result=result(said("calm", 0.9), said("watch", 0.7))
    )
    assert done
    assert reread(assessment).state is State.COMPLETED
    assert assessment.completed_at is not None
    assert assessment.lease_token is None
    assert assessment.finding.code == "watch"
    assert assessment.probability == pytest.approx(0.7)
    assert assessment.engine == "test engine"
    assert assessment.metadata_encoded == {"vector": [], "encoding_version": "none"}
    assert assessment.inference_ms == 12.5
    assert [image.finding.code for image in assessment.images] == ["calm", "watch"]
    first = {p.finding.code: p.probability for p in assessment.images[0].predictions}
    assert first == pytest.approx({"calm": 0.9, "watch": 0.05, "grave": 0.05})
    event = db.session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc())).first()
    assert (event.action, event.subject_id) == ("assessment.completed", assessment.id)


@pytest.mark.parametrize(
    ("images", "state", "finding"),
    [
        ((said("calm", 0.99), said("grave", 0.4)), State.COMPLETED, "grave"),
        ((said("watch"), said("grave", 0.9, "ambiguous")), State.COMPLETED, "watch"),
        ((said("calm", 0.5, "blurred"), said("grave", 0.4, "blurred")), State.ABSTAINED, "grave"),
    ],
    ids=["most severe", "an abstention does not count", "all abstained"],
)
def test_the_answer_for_a_case(
    schedule: Schedule, images: tuple[ImageResult, ...], state: State, finding: str
) -> None:
    assessment = schedule(image_sha256s=("a" * 64, "b" * 64))
    assert services.complete(claim=claim_one(), result=result(*images))
    assert reread(assessment).state is state
    assert assessment.finding.code == finding
    assert [image.abstention_reason for image in assessment.images] == [i.reason for i in images]


ONLY_GRAVE, BOTH = ("calm", "grave"), ("calm", "watch", "grave")


@pytest.mark.parametrize(
    ("images", "answer", "also"),
    [
        ([("calm", 0.7, None, ONLY_GRAVE)], "calm", ("grave", 0.15)),
        ([("calm", 0.6, None, BOTH)], "calm", ("grave", 0.2)),
        ([("watch", 0.7, None, BOTH)], "watch", ("grave", 0.15)),
        ([("grave", 0.7, None, BOTH)], "grave", None),
        ([("calm", 0.7, None, ("calm",))], "calm", None),
        ([("calm", 0.7, "ambiguous", ONLY_GRAVE)], "calm", None),
        ([("watch", 0.9, None, ()), ("calm", 0.6, None, ONLY_GRAVE)], "watch", ("grave", 0.2)),
        ([("watch", 0.9, None, ()), ("calm", 0.6, "blurred", ONLY_GRAVE)], "watch", None),
        ([("calm", 0.8, None, BOTH), ("calm", 0.6, None, BOTH)], "calm", ("grave", 0.2)),
    ],
    ids=[
        "over its mark",
        "the most severe of two",
        "beside the less severe of two",
        "what is less severe is not told",
        "not over its mark",
        "abstained",
        "in another image",
        "in an image without an answer",
        "the highest of two images",
    ],
)
def test_an_answer_is_not_told_without_what_is_worse_and_over_its_mark(
    schedule: Schedule,
    images: list[tuple[str, float, str | None, tuple[str, ...]]],
    answer: str,
    also: tuple[str, float] | None,
) -> None:
    assessment = schedule(image_sha256s=("a" * 64, "b" * 64)[: len(images)])
    results = [
        replace(said(name, probability, reason), supported=supported)
        for name, probability, reason, supported in images
    ]
    assert services.complete(claim=claim_one(), result=result(*results))
    assert reread(assessment).finding.code == answer
    told = assessment.also
    assert (told and (told.finding.code, round(told.probability, 3))) == also


@pytest.mark.parametrize(
    ("image", "rank"),
    [
        (said("grave"), Priority.STAT.rank),
        (said("calm"), Priority.URGENT.rank),
        (said("grave", 0.5, "blurred"), Priority.URGENT.rank),
    ],
    ids=["a grave answer", "a calm answer", "an abstention"],
)
def test_an_urgent_answer_moves_a_case_up(
    schedule: Schedule, image: ImageResult, rank: int
) -> None:
    assessment = schedule(priority=Priority.URGENT)
    services.complete(claim=claim_one(), result=result(image))
    assert reread(assessment).priority_rank == rank


def test_a_repeated_completion_changes_nothing(schedule: Schedule) -> None:
    assessment = schedule()
    claim = claim_one()
    assert services.complete(claim=claim, result=result(said("watch")))
    assert not services.complete(claim=claim, result=result(said("grave")))
    assert reread(assessment).finding.code == "watch"
    assert db.session.scalar(select(func.count()).select_from(Prediction)) == 3


def test_a_late_completion_is_refused(schedule: Schedule) -> None:
    assessment = schedule()
    late = claim_one()
    let_leases_run_out()
    services.return_expired_leases()
    assert not services.complete(claim=late, result=result(said("grave")))
    second = claim_one()
    assert not services.complete(claim=late, result=result(said("grave")))
    assert services.complete(claim=second, result=result(said("watch")))
    assert not services.complete(claim=late, result=result(said("grave")))
    assert reread(assessment).finding.code == "watch"


def test_an_early_completion_is_refused(schedule: Schedule) -> None:
    """A claim that this row never gave out, as when a message comes before its row is claimed."""
    assessment = schedule()
    early = Claim(assessment.id, "0" * 32, 1, "0" * 64, ("a" * 64,), {})
    assert not services.complete(claim=early, result=result())
    assert reread(assessment).state is State.SCHEDULED


def test_a_probability_a_hair_above_one_is_one(schedule: Schedule) -> None:
    assessment = schedule()
    surely = ImageResult("calm", {"calm": 1.0000001, "watch": -1e-9, "grave": 0.0}, False, None)
    assert services.complete(claim=claim_one(), result=result(surely))
    assert reread(assessment).probability == 1.0


# Fail


def test_a_failed_attempt_waits_for_a_while(schedule: Schedule, rings: list[None]) -> None:
    assessment = schedule()
    rings.clear()
    for attempt, pause_seconds in enumerate(PAUSES_SECONDS, start=1):
        services.fail_attempt(claim=claim_one(), error="boom", failure=Failure.UNEXPECTED)
        assert reread(assessment).state is State.SCHEDULED
        assert assessment.last_error == "boom"
        assert assessment.attempt_count == attempt
        pause = dt.timedelta(seconds=pause_seconds)
        assert pause - dt.timedelta(seconds=3) < assessment.not_before_at - now() <= pause
        assert (claim(), unclaimed_count(), rings) == ([], 0, [])
        let_pauses_pass()
        assert unclaimed_count() == 1
    assert claim_one().attempt == MAX_ATTEMPTS
    assert reread(assessment).not_before_at is None


def test_a_pause_ends_when_the_work_is_asked_for_again(schedule: Schedule) -> None:
    first = schedule()
    services.fail_attempt(claim=claim_one(), error="boom", failure=Failure.UNEXPECTED)
    for sex in (Sex.MALE, Sex.FEMALE):
        with transaction():
            first.case.patient.sex = sex
            services.schedule(case=first.case)
    again = claim_one()
    assert (again.assessment_id, again.attempt) == (first.id, 1)


def test_a_claim_is_found_in_an_index(schedule: Schedule) -> None:
    """However many wait, and however many of them for something else than this worker."""
    schedule()
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        claim_one()
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    searches = [
        (statement, parameters)
        for statement, parameters in statements
        if statement.startswith("SELECT") and "not_before_at" in statement
    ]
    assert len(searches) == 2
    with transaction():
        is_postgresql = db.engine.dialect.name == "postgresql"
        if is_postgresql:  # a table of one row is read whole, unless that is refused
            db.session.execute(db.text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in searches:
            explain = f"EXPLAIN {'' if is_postgresql else 'QUERY PLAN '}{statement}"
            plan = str(db.session.connection().exec_driver_sql(explain, parameters).all())
            assert "ix_assessments_claimable" in plan, plan
            assert "TEMP B-TREE" not in plan, plan
            assert "Sort" not in plan, plan


def test_three_failed_attempts_are_a_failure_on_record(schedule: Schedule) -> None:
    assessment = schedule()
    for _ in range(MAX_ATTEMPTS):
        services.fail_attempt(claim=claim_one(), error="boom", failure=Failure.UNEXPECTED)
        let_pauses_pass()
    assert reread(assessment).state is State.FAILED
    assert claim() == []
    actions = db.session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert actions[-1] == "assessment.failed"


@pytest.mark.parametrize(
    ("requested", "rank"),
    [
        (Priority.ROUTINE, Priority.URGENT.rank),
        (Priority.URGENT, Priority.URGENT.rank),
        (Priority.STAT, Priority.STAT.rank),
    ],
)
def test_a_case_without_an_answer_is_urgent_at_least(
    schedule: Schedule, requested: Priority, rank: int
) -> None:
    failed = schedule(priority=requested)
    for _ in range(MAX_ATTEMPTS):
        assert reread(failed).priority_rank == requested.rank  # another attempt may answer it
        services.fail_attempt(claim=claim_one(), error="boom", failure=Failure.UNEXPECTED)
        let_pauses_pass()
    abstained = schedule(priority=requested)
    services.complete(claim=claim_one(), result=result(said("calm", 0.5, "blurred")))
    assert (reread(failed).state, failed.priority_rank) == (State.FAILED, rank)
    assert (reread(abstained).state, abstained.priority_rank) == (State.ABSTAINED, rank)


def test_an_unreadable_image_fails_at_once(schedule: Schedule) -> None:
    assessment = schedule()
    services.fail_attempt(claim=claim_one(), error="torn", failure=Failure.UNREADABLE_IMAGE)
    assert reread(assessment).state is State.FAILED
    assert assessment.attempt_count == 1


def test_a_lost_claim_cannot_fail_the_work_of_another(schedule: Schedule) -> None:
    assessment = schedule()
    late = claim_one()
    let_leases_run_out()
    services.return_expired_leases()
    claim_one()
    services.fail_attempt(claim=late, error="late", failure=Failure.UNREADABLE_IMAGE)
    assert reread(assessment).state is State.IN_PROGRESS


def test_a_failed_assessment_can_be_retried(
    schedule: Schedule, people: People, rings: list[None]
) -> None:
    assessment = schedule()
    services.fail_attempt(claim=claim_one(), error="torn", failure=Failure.UNREADABLE_IMAGE)
    rings.clear()
    services.retry(actor=people.clinician(), assessment=assessment)
    assert reread(assessment).state is State.SCHEDULED
    assert assessment.failure is None
    assert claim_one().attempt == 1
    assert len(rings) == 1


def test_only_a_failed_assessment_can_be_retried(schedule: Schedule, people: People) -> None:
    assessment = schedule()
    with pytest.raises(Conflict, match="not_failed"):
        services.retry(actor=people.clinician(), assessment=assessment)


# How soon

HOURS = {Priority.ROUTINE: 72, Priority.URGENT: 4, Priority.ASAP: 1, Priority.STAT: 0}


def allowed_hours(assessment: Assessment) -> float:
    reread(assessment)
    return (assessment.due_at - assessment.case.submitted_at) / dt.timedelta(hours=1)


@pytest.mark.parametrize("requested", Priority)
def test_before_it_is_read_a_case_is_due_as_requested(
    schedule: Schedule, requested: Priority
) -> None:
    assert allowed_hours(schedule(priority=requested)) == HOURS[requested]


def shows(supported: tuple[str, ...], reason: str | None = None) -> ImageResult:
    return dataclasses.replace(said("calm", 0.6, reason), supported=supported)


@pytest.mark.parametrize(
    ("requested", "images", "hours"),
    [
        (Priority.ROUTINE, [shows(("calm",))], 72),
        (Priority.ASAP, [shows(("calm",))], 1),
        (Priority.ROUTINE, [shows(("calm", "grave"))], 0),
        (Priority.ROUTINE, [shows(("calm",)), shows(("watch", "grave"))], 0),
        (Priority.ROUTINE, [shows(("calm",)), shows((), "blurred")], 4),
        (Priority.ASAP, [shows(("calm",)), shows((), "blurred")], 1),
        (Priority.ROUTINE, [shows(("calm",)), shows(("grave",), "blurred")], 0),
        (Priority.ROUTINE, [shows((), "blurred"), shows((), "blurred")], 4),
        (Priority.STAT, [shows((), "blurred"), shows((), "blurred")], 0),
    ],
    ids=[
        "nothing found",
        "as requested",
        "over its mark, not the answer",
        "over its mark in another image",
        "an image without an answer",
        "an image without an answer, requested sooner",
        "over its mark in an image without an answer",
        "abstained",
        "abstained, requested sooner",
    ],
)
def test_once_it_is_read_the_shortest_allowance_counts(
    schedule: Schedule, requested: Priority, images: list[ImageResult], hours: int
) -> None:
    assessment = schedule(priority=requested, image_sha256s=("a" * 64, "b" * 64)[: len(images)])
    assert services.complete(claim=claim_one(), result=result(*images))
    assert allowed_hours(assessment) == hours
    assert HOURS[assessment.priority] == hours


def test_a_case_that_failed_is_due_as_one_without_an_answer(schedule: Schedule) -> None:
    assessment = schedule()
    services.fail_attempt(claim=claim_one(), error="torn", failure=Failure.UNREADABLE_IMAGE)
    assert allowed_hours(assessment) == 4


def test_a_correction_leaves_a_case_as_soon_due_until_it_is_read_anew(schedule: Schedule) -> None:
    old = schedule()
    services.complete(claim=claim_one(), result=result(said("grave")))
    new = correct(reread(old), Sex.MALE)
    assert allowed_hours(new) == 0
    services.complete(claim=claim_one(), result=result(said("calm")))
    assert allowed_hours(new) == 72


# What the database refuses


def test_one_current_assessment_a_case(schedule: Schedule) -> None:
    assessment = schedule()
    copy = {
        column.key: getattr(assessment, column.key)
        for column in Assessment.__table__.columns
        if column.key not in ("id", "input_sha256", "metadata_encoded")
    }
    with pytest.raises(IntegrityError), transaction():
        db.session.add(Assessment(**copy, input_sha256="f" * 64))


def test_one_assessment_for_the_same_input(schedule: Schedule) -> None:
    assessment = schedule()
    copy = {
        column.key: getattr(assessment, column.key)
        for column in Assessment.__table__.columns
        if column.key not in ("id", "superseded_at", "metadata_encoded")
    }
    with pytest.raises(IntegrityError), transaction():
        db.session.add(Assessment(**copy, superseded_at=now()))


EARLIER = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
FORBIDDEN_CHANGES: list[tuple[type, dict[str, Any]]] = [
    (Assessment, {"case_id": 99}),
    (Assessment, {"model_version_id": 99}),
    (Assessment, {"metadata_fed": {"raw": {}, "missing": []}}),
    (Assessment, {"input_sha256": "f" * 64}),
    (Assessment, {"metadata_encoded": {"vector": [1.0]}}),
    (Assessment, {"engine": "another"}),
    (Assessment, {"code_version": "another"}),
    (Assessment, {"finding_id": 1}),
    (Assessment, {"probability": 0.1}),
    (Assessment, {"completed_at": EARLIER}),
    (Assessment, {"state": State.CANCELLED, "completed_at": None}),
    (AssessedImage, {"image_id": 99}),
    (AssessedImage, {"image_sha256": "f" * 64}),
    (AssessedImage, {"position": 7}),
    (AssessedImage, {"finding_id": 99}),
    (AssessedImage, {"abstained": True}),
    (Image, {"sha256": "f" * 64}),
    (Image, {"original_sha256": "f" * 64}),
    (Prediction, {"probability": 0.5}),
    (ModelVersion, {"bundle_sha256": "f" * 64}),
]


@pytest.mark.parametrize(
    ("table", "change"),
    FORBIDDEN_CHANGES,
    ids=[f"{table.__tablename__}.{next(iter(change))}" for table, change in FORBIDDEN_CHANGES],
)
def test_what_was_fed_and_answered_never_changes(
    schedule: Schedule, table: type, change: dict[str, Any]
) -> None:
    schedule()
    services.complete(claim=claim_one(), result=result(said("grave")))
    with pytest.raises(DatabaseError, match="never changed"), transaction():
        db.session.execute(update(table).values(**change))


@pytest.mark.parametrize("table", [Prediction, AssessedImage, Assessment])
def test_what_was_answered_is_never_deleted(schedule: Schedule, table: type) -> None:
    schedule()
    services.complete(claim=claim_one(), result=result(said("grave")))
    with pytest.raises(DatabaseError, match="are kept"), transaction():
        db.session.execute(delete(table))
