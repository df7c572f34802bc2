"""Which assessments there are, and how many wait."""

from sqlalchemy import ColumnElement, bindparam, func, select

from webapp.assessments.models import Assessment, Purpose, State
from webapp.cases.models import Case
from webapp.db import db, now


def in_state(state: State) -> ColumnElement[bool]:
    """A condition that the partial indexes answer: they need the state in the statement itself."""
    return Assessment.state == bindparam(None, state, literal_execute=True)


def current_assessment(case: Case) -> Assessment | None:
    """The assessment that counts for a case; None before one was scheduled."""
    return db.session.scalars(
        select(Assessment).where(
            Assessment.case_id == case.id,
            Assessment.purpose == Purpose.TRIAGE,
            Assessment.superseded_at.is_(None),
        )
    ).one_or_none()


def is_due() -> ColumnElement[bool]:
    """A condition for what waits for a worker, and for nothing else."""
    begins_at = Assessment.not_before_at
    return in_state(State.SCHEDULED) & (begins_at.is_(None) | (begins_at <= now()))


def unclaimed_count() -> int:
    """How many assessments wait for a worker, and for nothing else."""
    return db.session.scalar(select(func.count()).where(is_due())) or 0


def expired_count() -> int:
    """How many claimed assessments belong to a worker that went silent."""
    expired = in_state(State.IN_PROGRESS), Assessment.lease_expires_at < now()
    return db.session.scalar(select(func.count()).where(*expired)) or 0
