"""Note who lives, and have failed work done again."""

import datetime as dt
from collections.abc import Collection

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError

from webapp import audit
from webapp.accounts.models import User
from webapp.assessments import services as assessments
from webapp.assessments.models import Assessment, State
from webapp.db import db, now, transaction
from webapp.errors import Conflict, NotFound
from webapp.monitoring.models import Part, Worker
from webapp.monitoring.queries import READING
from webapp.training import services as training
from webapp.training.models import TrainingRun
from webapp.work import KINDS

FORGOTTEN_AFTER = dt.timedelta(days=1)


def note_alive(
    *,
    name: str,
    part: Part,
    started_at: dt.datetime,
    bundle_sha256s: Collection[str] = (),
    code_version: str = "",
) -> None:
    """Write down that a process has just done something; those long silent are forgotten."""
    seen = {
        "seen_at": now(),
        "bundle_sha256s": sorted(bundle_sha256s),
        "code_version": code_version,
        "started_at": started_at,
    }
    with transaction():
        known = db.session.execute(update(Worker).where(Worker.name == name).values(**seen))
        if not known.rowcount:  # type: ignore[attr-defined]  # of a statement that changes rows
            db.session.add(Worker(name=name, part=part, **seen))
            db.session.execute(delete(Worker).where(Worker.seen_at < now() - FORGOTTEN_AFTER))


def retry(*, actor: User, kind: str, work_id: int) -> None:
    """Give work that failed its attempts anew, whoever it is for: nothing of it is shown.

    Raises:
        NotFound: there is no such work.
        Conflict: it has not failed, or something else has taken its place.
    """
    if kind == READING:
        assessment = db.session.get(Assessment, work_id)
        if assessment is None:
            raise NotFound(kind, work_id=work_id)
        assessments.retry(actor=actor, assessment=assessment)
        return
    of_kind = next((one for one in KINDS if one.word == kind), None)
    if of_kind is None:
        raise NotFound("kind_of_work", kind=kind)
    try:
        with transaction():
            work = db.session.get(of_kind.rows, work_id, with_for_update=True)
            if work is None:
                raise NotFound(kind, work_id=work_id)
            if work.state is not State.FAILED:
                raise Conflict("not_failed")
            if isinstance(work, TrainingRun):  # has to forget what ended it
                training.retry(actor=actor, run=work)
                return
            of_kind.put_in_queue(work)
            audit.record(actor=actor, action="work.retried", subject=work, kind=kind)
    except IntegrityError as error:  # the same was asked for anew meanwhile
        raise Conflict("taken_over") from error
