"""What can be asked for, what can be found, and how long it may wait."""

import datetime as dt

from sqlalchemy import select

from webapp.catalogue.models import Allowance, Finding, Priority, ReadingTask
from webapp.db import db


def reading_task_by_code(code: str) -> ReadingTask | None:
    """The reading task that bundles call by this code."""
    return db.session.scalars(select(ReadingTask).where(ReadingTask.code == code)).one_or_none()


def findings_by_code(reading_task_id: int) -> dict[str, Finding]:
    """The findings of a reading task, by the codes that its models use."""
    rows = db.session.scalars(
        select(Finding).where(Finding.reading_task_id == reading_task_id).order_by(Finding.position)
    )
    return {finding.code: finding for finding in rows}


def allowances() -> dict[Priority, dt.timedelta]:
    """How long what has a priority may wait, counted from when it was sent."""
    rows = db.session.scalars(select(Allowance))
    return {row.priority: dt.timedelta(minutes=row.minutes) for row in rows}
