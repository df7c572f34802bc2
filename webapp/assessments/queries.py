"""Which assessments there are, and how many wait."""

from sqlalchemy import ColumnElement, bindparam, func, select

from webapp.assessments.models import Assessment, Leased, Purpose, State
from webapp.cases.models import Case
from webapp.db import db, now


def in_state(state: State, kind: type[Leased] = Assessment) -> ColumnElement[bool]:
    """A condition that the partial indexes answer: they need the state in the statement itself."""
    return kind.state == bindparam(None, state, literal_execute=True)


def current_assessment(case: Case) -> Assessment | None:
    """The assessment that counts for a case; None before one was scheduled."""
    return db.session.scalars(
        select(Assessment).where(
            Assessment.case_id == case.id,
            Assessment.purpose == Purpose.TRIAGE,
            Assessment.superseded_at.is_(None),
        )
    ).one_or_none()


def is_waiting() -> ColumnElement[bool]:
    """A condition for the readings that count of cases on which nobody has decided; one that the
    partial indexes answer."""
    triage: ColumnElement[Purpose] = bindparam(None, Purpose.TRIAGE, literal_execute=True)
    return (
        Assessment.superseded_at.is_(None)
        & (Assessment.purpose == triage)
        & Assessment.settled_at.is_(None)
    )


def is_due(kind: type[Leased] = Assessment) -> ColumnElement[bool]:
    """A condition for what waits for a worker, and for nothing else."""
    begins_at = kind.not_before_at
    return in_state(State.SCHEDULED, kind) & (begins_at.is_(None) | (begins_at <= now()))


def unclaimed_count(kind: type[Leased] = Assessment) -> int:
    """How many rows of this kind of work wait for a worker, and for nothing else."""
    return db.session.scalar(select(func.count()).where(is_due(kind))) or 0


def expired_count(kind: type[Leased] = Assessment) -> int:
    """How many claimed rows of this kind of work belong to a worker that went silent."""
    expired = in_state(State.IN_PROGRESS, kind), kind.lease_expires_at < now()
    return db.session.scalar(select(func.count()).where(*expired)) or 0
