"""What keeps an installation from being ready; who lives; work that is done again."""

import datetime as dt
import threading
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from tests import clinic, trainings
from tests.conftest import People
from webapp import queue, storage, sweeper
from webapp.accounts.models import User
from webapp.assessments import services as assessments
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Assessment, Failure, State
from webapp.assessments.queries import current_assessment
from webapp.db import db, now
from webapp.errors import Conflict, NotFound
from webapp.explanations import services as explanations
from webapp.explanations.models import Explanation
from webapp.jobs import ADMINISTER, ASSESS, EXPLAIN, TRAIN
from webapp.monitoring import queries, readiness, services
from webapp.monitoring.models import Part, Worker
from webapp.registry.models import ModelVersion
from webapp.training import services as runs
from webapp.worker import presence

LONG = dt.timedelta(minutes=5)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was rung for, on a broker that is there."""
    rung: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: not rung.append(job))
    monkeypatch.setattr(queue, "unheard_count", lambda job=ASSESS: rung.count(job))
    return rung


@pytest.fixture
def clinician(core: Flask, people: People, heard: list[str]) -> User:
    clinic.serve()
    return people.clinician()


def live(part: Part, ago: dt.timedelta = dt.timedelta(0), *models: str) -> None:
    """Have a process be seen so long ago."""
    name = f"host:{part}"
    services.note_alive(name=name, part=part, started_at=now() - LONG, bundle_sha256s=models)
    db.session.get_one(Worker, name, populate_existing=True).seen_at -= ago
    db.session.commit()


def all_live() -> None:
    live(Part.SWEEPER)
    live(Part.TRIAGE, dt.timedelta(0), *(model.bundle_sha256 for model in models()))


def models() -> list[ModelVersion]:
    return list(db.session.query(ModelVersion))


def problems() -> dict[str, str]:
    return {check.name: check.problem for check in readiness.checks() if check.problem}


def let_wait(assessment: Assessment, time: dt.timedelta = LONG) -> None:
    assessment.scheduled_at -= time
    db.session.commit()


def waiting(clinician: User) -> Assessment:
    assessment = current_assessment(clinic.send(clinician))
    assert assessment is not None
    return assessment


def test_where_all_live_and_nothing_waits_all_is_ready(clinician: User) -> None:
    all_live()
    assert problems() == {}


def test_without_a_sign_of_life_nothing_is(clinician: User) -> None:
    silent = "no sign of life for 60 seconds"
    assert problems() == {"sweeper": silent, "worker": silent}
    all_live()
    live(Part.TRIAGE, dt.timedelta(seconds=61))
    assert problems() == {"worker": silent}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_store_that_takes_nothing_or_never_answers_is_said(
    clinician: User, core: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_live()
    (tmp_path / "mount").write_text("is no folder")
    away = {"store": "cannot be reached"}
    monkeypatch.setitem(core.extensions, "blob_url", f"file://{tmp_path}/mount/blobs")
    assert problems() == away
    monkeypatch.setitem(core.extensions, "blob_url", f"file://{tmp_path}/blobs")
    assert problems() == {}  # it is made with the first picture
    answers, asked = threading.Event(), []
    monkeypatch.setattr(storage, "ask", lambda: asked.append(answers.wait(60)))
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.05)
    assert [problems(), problems()] == [away, away]
    assert [one.name for one in threading.enumerate()].count("store") == 1  # it is asked once
    answers.set()
    core.extensions["store_asked"].join(60)
    assert (problems(), asked) == ({}, [True, True])


def test_a_worker_that_lives_and_claims_nothing_is_not_ready(clinician: User) -> None:
    assessment = waiting(clinician)
    all_live()
    assert problems() == {}
    let_wait(assessment, dt.timedelta(seconds=61))
    assert problems() == {"assessment work": "waits, and nobody takes it"}


def test_what_waits_behind_others_is_not_stuck(clinician: User) -> None:
    first, second = waiting(clinician), waiting(clinician)
    let_wait(first)
    let_wait(second)
    all_live()
    versions = [model.bundle_sha256 for model in models()]
    assessments.claim(worker="w", bundle_sha256s=versions, limit=1, lease_seconds=60)
    assert problems() == {}
    held = db.session.get_one(Assessment, first.id, populate_existing=True)
    assert held.state is State.IN_PROGRESS
    held.lease_expires_at = now() - dt.timedelta(seconds=1)  # who held it is gone
    db.session.commit()
    assert list(problems()) == ["assessment work"]


def test_a_worker_in_a_long_job_lives(clinician: User) -> None:
    waiting(clinician)
    all_live()
    live(Part.TRIAGE, LONG)
    versions = [model.bundle_sha256 for model in models()]
    assessments.claim(worker="w", bundle_sha256s=versions, limit=1, lease_seconds=60)
    assert problems() == {}


def test_a_pause_after_a_failed_attempt_is_no_waiting(clinician: User) -> None:
    assessment = waiting(clinician)
    let_wait(assessment)
    assessment.not_before_at = now() + dt.timedelta(seconds=30)
    db.session.commit()
    all_live()
    assert problems() == {}


def test_a_model_that_no_worker_has_is_named(clinician: User) -> None:
    waiting(clinician)
    live(Part.SWEEPER)
    live(Part.TRIAGE, dt.timedelta(0), "another")
    assert problems() == {"model test-task 1.0.0": "cases wait for it, and no worker has it"}


def test_work_of_another_kind_is_looked_after_too(clinician: User) -> None:
    case = clinic.send(clinician)
    explanations.request(actor=clinician, read=clinic.read(case).images[0])
    row = db.session.query(Explanation).one()
    row.scheduled_at -= LONG
    db.session.commit()
    all_live()
    assert problems() == {"explanation work": "waits, and nobody takes it"}


def test_a_broker_that_is_away_is_named(clinician: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> int:
        raise OSError

    monkeypatch.setattr(queue, "unheard_count", away)
    all_live()
    assert problems() == {"broker": "cannot be reached"}


def test_without_a_database_nothing_more_is_asked(
    clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("select 1", {}, Exception())

    monkeypatch.setattr(db.session, "execute", away)
    assert problems() == {"database": "cannot be reached"}


def test_a_worker_says_that_it_lives_and_not_after_every_job(
    clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_noted_at", float("-inf"))
    presence.note(EXPLAIN)
    (worker,) = queries.workers()
    assert worker.part is Part.TRIAGE
    assert worker.code_version
    worker.seen_at -= LONG
    db.session.commit()
    presence.note(ASSESS)
    assert not queries.is_alive(db.session.query(Worker).one())
    monkeypatch.setattr(presence, "_noted_at", float("-inf"))
    presence.note(ASSESS)
    db.session.expire_all()
    assert queries.is_alive(db.session.query(Worker).one())


def test_who_was_silent_for_a_day_is_forgotten(clinician: User) -> None:
    live(Part.TRAINING, dt.timedelta(days=2))
    live(Part.SWEEPER)
    assert [worker.part for worker in queries.workers()] == [Part.SWEEPER]


def test_every_worker_is_rung_for_once_until_it_hears(clinician: User, heard: list[str]) -> None:
    heard.clear()
    sweeper.ring_for_presence()
    sweeper.ring_for_presence()
    assert heard == [ASSESS, ADMINISTER, TRAIN]
    sweeper.show_presence(now())
    assert [worker.part for worker in queries.workers()] == [Part.SWEEPER]


def test_a_backlog_by_hand(clinician: User) -> None:
    oldest, held, failed, settled = (clinic.send(clinician) for _ in range(4))
    clinic.fail(failed)
    clinic.fail(settled).settled_at = now()
    oldest_row = current_assessment(oldest)
    assert oldest_row is not None
    let_wait(oldest_row)
    oldest_row.priority_rank = 0
    held_row = current_assessment(held)
    assert held_row is not None
    held_row.priority_rank = 3
    db.session.commit()
    versions = [model.bundle_sha256 for model in models()]
    assessments.claim(worker="box:7", bundle_sha256s=versions, limit=1, lease_seconds=60)
    readings = queries.backlog(queries.kinds()[0])
    assert (readings.waiting_count, readings.claimed_count, readings.failed_count) == (1, 1, 1)
    assert readings.oldest_waiting_at == oldest_row.scheduled_at
    assert [row.claimed_by for row in readings.claimed] == ["box:7"]
    assert [row.failure for row in readings.failed] == [Failure.UNREADABLE_IMAGE]


def test_failed_work_is_done_again_by_its_number(
    clinician: User, people: People, heard: list[str]
) -> None:
    office = people.administrator()
    case = clinic.send(clinician)
    explanations.request(actor=clinician, read=clinic.read(case).images[0])
    row = db.session.query(Explanation).one()
    with pytest.raises(Conflict):
        services.retry(actor=office, kind="explanation", work_id=row.id)
    db.session.execute(
        Explanation.__table__.update().values(state="failed", failure="unexpected", attempt_count=3)
    )
    db.session.commit()
    heard.clear()
    services.retry(actor=office, kind="explanation", work_id=row.id)
    db.session.refresh(row)
    assert (row.state, row.attempt_count, row.failure) == (State.SCHEDULED, 0, None)
    assert heard == [EXPLAIN]
    (event,) = clinic.recorded("work.retried")
    assert (event.actor_id, event.subject_type, event.subject_id) == (
        office.id,
        "Explanation",
        row.id,
    )
    for kind, number in (("explanation", 99), ("assessment", 99), ("nothing", 1)):
        with pytest.raises(NotFound):
            services.retry(actor=office, kind=kind, work_id=number)


def test_a_training_run_that_is_done_again_forgets_what_ended_it(
    clinician: User, people: People
) -> None:
    run = trainings.run(people.administrator())
    claim = trainings.claim()
    lost = FailedAttempt("gone", Failure.UNREADABLE_IMAGE)
    assert runs.KIND.fail_attempt(run.id, claim.lease_token, lost)
    run.cancel_requested_at = now()
    db.session.commit()
    services.retry(actor=people.administrator(), kind="training", work_id=run.id)
    db.session.refresh(run)
    assert (run.state, run.cancel_requested_at) == (State.SCHEDULED, None)
    assert [event.subject_id for event in clinic.recorded("training.retried")] == [run.id]
