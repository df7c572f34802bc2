"""Claims with a lease, for every kind of work that is a row.

A worker claims rows and ends each one with the token of its claim. Whoever has lost the lease (it
was silent for too long, or the work was cancelled) can no longer change the row.
"""

import datetime as dt
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import select, update

from webapp import audit
from webapp.accounts.models import User
from webapp.assessments.models import MAX_ATTEMPTS, PAUSES_SECONDS, Failure, Leased, State
from webapp.assessments.queries import expired_count, in_state
from webapp.db import db, now, transaction
from webapp.queue import ring_after_commit

EXPIRED_AT_ONCE = 100

Work = TypeVar("Work", bound=Leased)


@dataclass(frozen=True)
class FailedAttempt:
    """What kept a model from saying anything."""

    error: str
    failure: Failure
    is_final: bool = False
    """Whether another attempt would end in the same way, which some failures say by themselves."""


def own_name() -> str:
    """Who claims: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def take(kind: type[Leased], ids: Sequence[int], *, worker: str, lease_seconds: int) -> str:
    """Claim rows that were found waiting, and locked; returns the token of their lease."""
    token = secrets.token_hex(16)
    moment = now()
    db.session.execute(
        update(kind)
        .where(kind.id.in_(ids), in_state(State.SCHEDULED, kind))
        .values(
            state=State.IN_PROGRESS,
            attempt_count=kind.attempt_count + 1,
            lease_token=token,
            lease_expires_at=moment + dt.timedelta(seconds=lease_seconds),
            not_before_at=None,
            claimed_by=worker,
            started_at=moment,
        )
    )
    return token


def extend(kind: type[Leased], *, lease_token: str, lease_seconds: int) -> bool:
    """Keep what one claim took for longer. False if nothing of it is held any more."""
    with transaction():
        held = db.session.scalars(
            select(kind.id)
            .where(in_state(State.IN_PROGRESS, kind), kind.lease_token == lease_token)
            .order_by(kind.id)
            .with_for_update()
        ).all()
        if held:
            db.session.execute(
                update(kind)
                .where(kind.id.in_(held))
                .values(lease_expires_at=now() + dt.timedelta(seconds=lease_seconds))
            )
    return bool(held)


def expired(kind: type[Work]) -> Sequence[Work]:
    """Some rows whose worker went silent, locked, in an open `transaction()`."""
    return db.session.scalars(
        select(kind)
        .where(in_state(State.IN_PROGRESS, kind), kind.lease_expires_at < now())
        .order_by(kind.lease_expires_at)
        .limit(EXPIRED_AT_ONCE)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()


def went_silent(work: Leased) -> FailedAttempt:
    """What is written of an attempt whose lease has run out."""
    return FailedAttempt(f"{work.claimed_by} went silent", Failure.WORKER_LOST)


def end_attempt(work: Leased, attempt: FailedAttempt) -> bool:
    """The work waits for a while and then for a worker again; True if it has failed for good."""
    work.last_error = attempt.error
    let_go(work)
    is_final = attempt.is_final or attempt.failure.is_final
    if work.attempt_count >= MAX_ATTEMPTS or is_final:
        work.state = State.FAILED
        work.failure = attempt.failure
        return True
    work.state = State.SCHEDULED
    if attempt.failure is not Failure.WORKER_LOST:  # that took long enough
        pause_seconds = PAUSES_SECONDS[work.attempt_count - 1]
        work.not_before_at = now() + dt.timedelta(seconds=pause_seconds)
    return False


def back_to_the_queue(work: Leased) -> None:
    """Give work that was ended its attempts anew."""
    work.state = State.SCHEDULED
    work.scheduled_at = now()
    work.not_before_at = None
    work.attempt_count = 0
    work.failure = None


def let_go(work: Leased) -> None:
    """Nobody holds the work any more."""
    work.lease_token = None
    work.lease_expires_at = None


@dataclass(frozen=True)
class Kind(Generic[Work]):
    """A kind of work of which rows are claimed one at a time."""

    rows: type[Work]
    job: str
    """Which does it."""
    word: str
    """What the record calls it: `word.requested`, `word.completed`, `word.failed`."""
    detail: Callable[[Work], Mapping[str, Any]]
    """What the record says of each row."""

    def put_in_queue(self, work: Work) -> None:
        """Have a row, a new one or one that was ended, done from its first attempt."""
        back_to_the_queue(work)
        db.session.add(work)
        db.session.flush()
        ring_after_commit(self.job)

    def held(self, work_id: int, lease_token: str) -> Work | None:
        """A claimed row, locked, if its lease is still the claim's."""
        return db.session.scalars(
            select(self.rows)
            .where(self.rows.id == work_id, self.rows.lease_token == lease_token)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one_or_none()

    def extend_lease(self, *, lease_token: str, lease_seconds: int) -> bool:
        """Keep what one claim took for longer. False if it is not held any more."""
        return extend(self.rows, lease_token=lease_token, lease_seconds=lease_seconds)

    def fail_attempt(self, work_id: int, lease_token: str, attempt: FailedAttempt) -> bool:
        """End an attempt that did not succeed: the work waits for a while and then for a worker
        again, or has failed for good. False, and nothing written, if it was lost."""
        with transaction():
            work = self.held(work_id, lease_token)
            if work is None:
                return False
            self._end_attempt(work, attempt)
        return True

    def return_expired_leases(self) -> int:
        """End the attempts of workers that went silent; says how many there were."""
        if not expired_count(self.rows):
            return 0
        with transaction():
            silent = expired(self.rows)
            for work in silent:
                self._end_attempt(work, went_silent(work))
        return len(silent)

    def record(self, what: str, work: Work, *, actor: User | None = None, **more: Any) -> None:
        """Put on record what was done with a row."""
        db.session.flush()
        said = {**self.detail(work), **more}
        audit.record(actor=actor, action=f"{self.word}.{what}", subject=work, **said)

    def _end_attempt(self, work: Work, attempt: FailedAttempt) -> None:
        if end_attempt(work, attempt):
            self.record("failed", work, failure=attempt.failure)
        elif attempt.failure is Failure.WORKER_LOST:
            ring_after_commit(self.job)
