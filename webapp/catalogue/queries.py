"""What can be asked for, and what can be found."""

from sqlalchemy import select

from webapp.catalogue.models import Finding, ReadingTask
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
