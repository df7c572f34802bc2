"""What a change of the catalogue means for the cases that wait: they move up where they are due
sooner by it, and never down. Answers stay as they were given.

A case that is being sent or read at the same moment may still go by what was said before.
"""

import datetime as dt
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, false, select, update

from webapp.assessments.models import AssessedImage, Assessment, Prediction
from webapp.assessments.queries import is_waiting
from webapp.cases.models import Case
from webapp.catalogue.models import Finding, Priority
from webapp.catalogue.queries import allowances, terms_in_force
from webapp.db import db
from webapp.registry.models import ModelVersion


def raise_by_finding(*, finding: Finding, site_id: int | None) -> int:
    """Move the waiting cases up that show a finding, everywhere or at a site, as far as it is more
    urgent today than when they were read; says how many. In an open `transaction()`."""
    task_id = finding.reading_task_id
    terms_at = cache(lambda site_id: terms_in_force(task_id, site_id)[finding.code])
    allowed_at = cache(lambda site_id: allowances(task_id, site_id))
    mark_of = cache(lambda id_: _own_mark(id_, finding.code))
    moves: dict[int, dict[str, Any]] = {}
    for row in db.session.execute(_waiting_with(finding, site_id)):
        terms = terms_at(row.site_id)
        mark = mark_of(row.model_version_id) if terms.mark is None else terms.mark
        counts = row.is_answer or (mark is not None and row.probability >= mark)
        if counts and terms.urgency.rank > row.priority_rank:
            due_at = row.submitted_at + allowed_at(row.site_id)[terms.urgency]
            moves[row.id] = {
                "id": row.id,
                "priority_rank": terms.urgency.rank,
                "due_at": min(row.due_at, due_at),
                "raised_by_id": terms.id,
            }
    return _move(list(moves.values()))


def redate(*, reading_task_id: int | None, site_id: int | None) -> int:
    """Move the waiting cases up that may wait less long today than when they were given their time:
    all of them, or those of a reading task, or those at a site; says how many. In an open
    `transaction()`."""
    allowed_at = cache(allowances)
    moves = []
    for row in _waiting_rows(reading_task_id, site_id):
        allowed = allowed_at(row.reading_task_id, row.site_id)[list(Priority)[row.priority_rank]]
        due_at: dt.datetime = row.submitted_at + allowed
        if due_at < row.due_at:
            moves.append({"id": row.id, "due_at": due_at})
    return _move(moves)


def _waiting_with(finding: Finding, site_id: int | None) -> Select[*tuple[Any, ...]]:
    """One row an image: what was said there of the finding."""
    is_answer = (AssessedImage.finding_id == finding.id) & (AssessedImage.abstained == false())
    return _of_places(
        select(
            Assessment.id,
            Assessment.priority_rank,
            Assessment.due_at,
            Assessment.model_version_id,
            Case.submitted_at,
            Case.site_id,
            Prediction.probability,
            is_answer.label("is_answer"),
        )
        .join(Assessment.case)
        .join(AssessedImage, AssessedImage.assessment_id == Assessment.id)
        .join(Prediction, Prediction.assessed_image_id == AssessedImage.id)
        .where(Prediction.finding_id == finding.id),
        None,
        site_id,
    )


def _waiting_rows(reading_task_id: int | None, site_id: int | None) -> Sequence[Row[Any]]:
    waiting = select(
        Assessment.id,
        Assessment.priority_rank,
        Assessment.due_at,
        Case.submitted_at,
        Case.reading_task_id,
        Case.site_id,
    ).join(Assessment.case)
    return db.session.execute(_of_places(waiting, reading_task_id, site_id)).all()


def _of_places(
    waiting: Select[*tuple[Any, ...]], reading_task_id: int | None, site_id: int | None
) -> Select[*tuple[Any, ...]]:
    """Those that wait there, locked by their numbers."""
    if reading_task_id is not None:
        waiting = waiting.where(Case.reading_task_id == reading_task_id)
    if site_id is not None:
        waiting = waiting.where(Case.site_id == site_id)
    return waiting.where(is_waiting()).order_by(Assessment.id).with_for_update(of=Assessment)


def _own_mark(model_version_id: int, code: str) -> float | None:
    return db.session.get_one(ModelVersion, model_version_id).facts.thresholds.get(code)


def _move(moves: list[dict[str, Any]]) -> int:
    if moves:
        db.session.execute(update(Assessment), moves)
    return len(moves)
