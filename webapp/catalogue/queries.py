"""What can be asked for, what can be found, what that means, and how long it may wait."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import aliased, contains_eager, joinedload, selectinload

from webapp.catalogue.models import Allowance, Finding, FindingTerms, Priority, ReadingTask
from webapp.db import db
from webapp.errors import NotFound


def reading_task_by_code(code: str) -> ReadingTask | None:
    """The reading task that bundles call by this code."""
    return db.session.scalars(select(ReadingTask).where(ReadingTask.code == code)).one_or_none()


def reading_tasks() -> Sequence[ReadingTask]:
    """All of them by name, with their findings."""
    return db.session.scalars(
        select(ReadingTask)
        .order_by(ReadingTask.name, ReadingTask.id)
        .options(selectinload(ReadingTask.findings))
    ).all()


def get_reading_task(reading_task_id: int) -> ReadingTask:
    """
    Raises:
        NotFound: there is none.
    """
    task = db.session.get(ReadingTask, reading_task_id)
    if task is None:
        raise NotFound("reading_task", reading_task_id=reading_task_id)
    return task


def get_finding(finding_id: int) -> Finding:
    """A finding with its reading task.

    Raises:
        NotFound: there is none.
    """
    finding = db.session.scalars(
        select(Finding).where(Finding.id == finding_id).options(joinedload(Finding.reading_task))
    ).one_or_none()
    if finding is None:
        raise NotFound("finding", finding_id=finding_id)
    return finding


def findings_by_code(reading_task_id: int) -> dict[str, Finding]:
    """The findings of a reading task, by the codes that its models use."""
    rows = db.session.scalars(
        select(Finding).where(Finding.reading_task_id == reading_task_id).order_by(Finding.position)
    )
    return {finding.code: finding for finding in rows}


def terms_in_force(reading_task_id: int, site_id: int | None = None) -> dict[str, FindingTerms]:
    """What each finding of a reading task means today, by the codes that its models use: at a site,
    its own terms before the general ones."""
    rows = db.session.scalars(
        select(FindingTerms)
        .join(FindingTerms.finding)
        .where(
            Finding.reading_task_id == reading_task_id,
            or_(FindingTerms.site_id.is_(None), FindingTerms.site_id == site_id),
            _is_latest_terms(),
        )
        .order_by(FindingTerms.site_id.is_not(None), Finding.position)
        .options(contains_eager(FindingTerms.finding))
    )
    return {terms.finding.code: terms for terms in rows if terms.is_own}


def terms_history(finding_id: int) -> Sequence[FindingTerms]:
    """All versions of what a finding means, everywhere, the latest change first."""
    return db.session.scalars(
        select(FindingTerms)
        .where(FindingTerms.finding_id == finding_id)
        .order_by(FindingTerms.id.desc())
        .options(joinedload(FindingTerms.site), joinedload(FindingTerms.changed_by))
    ).all()


def latest_terms(finding_id: int, site_id: int | None) -> FindingTerms | None:
    """What was said last of a finding in one place; None where a site never had its own."""
    return db.session.scalars(
        select(FindingTerms)
        .where(
            FindingTerms.finding_id == finding_id,
            FindingTerms.site_id.is_not_distinct_from(site_id),
        )
        .order_by(FindingTerms.version.desc())
        .limit(1)
    ).one_or_none()


def allowances(reading_task_id: int, site_id: int | None = None) -> dict[Priority, dt.timedelta]:
    """How long what has a priority may wait, counted from when it was sent."""
    return allowance_in_force(reading_task_id, site_id).by_priority


def allowance_in_force(reading_task_id: int | None, site_id: int | None = None) -> Allowance:
    """What counts today for the cases of a reading task at a site."""
    rows = db.session.scalars(
        select(Allowance)
        .where(
            or_(Allowance.reading_task_id.is_(None), Allowance.reading_task_id == reading_task_id),
            or_(Allowance.site_id.is_(None), Allowance.site_id == site_id),
            Allowance.is_own,
            _is_latest_allowance(),
        )
        .order_by(Allowance.site_id.is_(None), Allowance.reading_task_id.is_(None))
    )
    return next(iter(rows))


def latest_allowance(reading_task_id: int | None, site_id: int | None) -> Allowance | None:
    """What was said last for one place; None where nothing ever was."""
    return db.session.scalars(
        select(Allowance)
        .where(
            Allowance.reading_task_id.is_not_distinct_from(reading_task_id),
            Allowance.site_id.is_not_distinct_from(site_id),
        )
        .order_by(Allowance.version.desc())
        .limit(1)
    ).one_or_none()


def allowance_history() -> Sequence[Allowance]:
    """All versions, everywhere, the latest change first."""
    return db.session.scalars(
        select(Allowance)
        .order_by(Allowance.id.desc())
        .options(
            joinedload(Allowance.reading_task),
            joinedload(Allowance.site),
            joinedload(Allowance.changed_by),
        )
    ).all()


def _is_latest_terms() -> ColumnElement[bool]:
    later = aliased(FindingTerms)
    return ~exists().where(
        later.finding_id == FindingTerms.finding_id,
        later.site_id.is_not_distinct_from(FindingTerms.site_id),
        later.version > FindingTerms.version,
    )


def _is_latest_allowance() -> ColumnElement[bool]:
    later = aliased(Allowance)
    return ~exists().where(
        later.reading_task_id.is_not_distinct_from(Allowance.reading_task_id),
        later.site_id.is_not_distinct_from(Allowance.site_id),
        later.version > Allowance.version,
    )
