"""What waits, what is being done, what has failed; and which processes live."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement, exists, func, select

from webapp.assessments.models import Assessment, Leased, State
from webapp.assessments.queries import in_state, is_due
from webapp.db import db, now
from webapp.jobs import ASSESS, WORKERS
from webapp.monitoring.models import Part, Worker
from webapp.registry.models import ModelVersion
from webapp.work import KINDS

READING = "assessment"
"""What work is called that reads a case; other kinds have words of their own."""
SHOWN = 50
"""Rows of one kind that a page lists."""
SILENT_AFTER = dt.timedelta(seconds=60)
"""Without a sign of life for so long a process counts as gone. The sweeper rings for every worker
four times as often, also where nothing waits."""

_LABELS = {
    READING: _l("Readings of cases"),
    "explanation": _l("Heat maps"),
    "reproduction": _l("Readings of the same input again"),
    "dataset": _l("Registrations of data sets"),
    "training": _l("Training runs"),
    "comparison": _l("Comparisons of models"),
    "installation": _l("Installations of models"),
}


@dataclass(frozen=True, slots=True)
class KindOfWork:
    """Rows that workers claim: of readings, and of every other kind."""

    word: str
    rows: type[Leased]
    job: str

    @property
    def label(self) -> str:
        """What pages call it; a kind that has no words yet as it is."""
        return str(_LABELS.get(self.word, self.word.replace("_", " ")))

    @property
    def part(self) -> Part:
        """The worker that does it."""
        return next(Part(name) for name, jobs in WORKERS.items() if self.job in jobs)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How one kind of work stands. Rows are numbers here, and nobody's."""

    kind: KindOfWork
    waiting_count: int
    oldest_waiting_at: dt.datetime | None
    """Since when the one waits that waits longest."""
    claimed_count: int
    claimed: Sequence[Leased]
    """Those that lasted longest, `SHOWN` at most."""
    failed_count: int
    failed: Sequence[Leased]
    """The latest, `SHOWN` at most."""


def kinds() -> list[KindOfWork]:
    """Every kind of work."""
    others = [KindOfWork(kind.word, kind.rows, kind.job) for kind in KINDS]
    return [KindOfWork(READING, Assessment, ASSESS), *others]


def backlog(kind: KindOfWork, *, shown: int = SHOWN) -> Backlog:
    """How a kind of work stands now."""
    rows = kind.rows
    waits, is_held, has_failed = in_state(State.SCHEDULED, rows), _is_held(rows), _has_failed(rows)
    waiting_count, oldest = db.session.execute(
        select(func.count(), func.min(rows.scheduled_at)).where(waits)
    ).one()
    return Backlog(
        kind,
        waiting_count,
        oldest,
        _count(is_held),
        db.session.scalars(select(rows).where(is_held).order_by(rows.started_at).limit(shown)).all()
        if shown
        else (),
        _count(has_failed),
        db.session.scalars(
            select(rows).where(has_failed).order_by(rows.id.desc()).limit(shown)
        ).all()
        if shown
        else (),
    )


def _count(condition: ColumnElement[bool]) -> int:
    return db.session.scalar(select(func.count()).where(condition)) or 0


def _is_held(rows: type[Leased]) -> ColumnElement[bool]:
    return in_state(State.IN_PROGRESS, rows)


def _has_failed(rows: type[Leased]) -> ColumnElement[bool]:
    """What failed for good and is of use to anyone still."""
    failed = in_state(State.FAILED, rows)
    if rows is Assessment:
        return failed & Assessment.superseded_at.is_(None) & Assessment.settled_at.is_(None)
    return failed


def workers() -> Sequence[Worker]:
    """Every process that was seen of late, by what it does."""
    return db.session.scalars(select(Worker).order_by(Worker.part, Worker.name)).all()


def is_alive(worker: Worker) -> bool:
    """Whether a process has given a sign of life lately."""
    return worker.seen_at > now() - SILENT_AFTER


def is_busy(job: str) -> bool:
    """Whether somebody holds work of this job, and keeps its lease."""
    held = (
        select(exists().where(_is_held(kind.rows), kind.rows.lease_expires_at > now()))
        for kind in kinds()
        if kind.job == job
    )
    return any(map(db.session.scalar, held))


def untaken_since(kind: KindOfWork) -> dt.datetime | None:
    """Since when work of a kind waits for a worker, and for nothing else; None where none does."""
    rows = kind.rows
    begins_at = func.coalesce(rows.not_before_at, rows.scheduled_at)
    return db.session.scalar(select(func.min(begins_at)).where(is_due(rows)))


def versions_waited_for() -> Sequence[ModelVersion]:
    """The models that readings wait for."""
    numbers = select(Assessment.model_version_id).where(is_due(Assessment)).distinct()
    return db.session.scalars(
        select(ModelVersion).where(ModelVersion.id.in_(numbers)).order_by(ModelVersion.id)
    ).all()
