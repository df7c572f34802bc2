"""What became of past cases, as far as figures need it: bounded, and without whose they are."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, exists, func, or_, select
from sqlalchemy.orm import aliased

from webapp.assessments.models import AssessedImage, Assessment, Prediction, Purpose
from webapp.cases.models import Case, Image, Patient
from webapp.catalogue.models import ReadingTask
from webapp.db import db
from webapp.monitoring.drift import FEWEST, Sample
from webapp.monitoring.figures import PastCase
from webapp.registry.models import ModelReference, ModelVersion
from webapp.reviews.models import Decision, Outcome, Review

CASES_MAX = 10_000
"""The newest of a period that are counted."""
COMPARED_MAX = 500
"""The newest readings that are held against the reference, and the first ones that make one."""

_TRIAGE: ColumnElement[Purpose] = bindparam(None, Purpose.TRIAGE, literal_execute=True)


def cases(*, since: dt.datetime, reading_task: ReadingTask | None = None) -> list[PastCase]:
    """The cases of a period, the newest first and no more than `CASES_MAX`. Void ones, and those
    that only demonstrate, never count."""
    first, any_reading, signed_on = aliased(Review), aliased(Assessment), aliased(Assessment)
    first_read = (
        select(func.min(any_reading.completed_at))
        .where(any_reading.case_id == Case.id, any_reading.purpose == _TRIAGE)
        .correlate(Case)
        .scalar_subquery()
    )
    asked = (
        select(
            Case.submitted_at,
            Case.age_at_acquisition_years.label("age_years"),
            Patient.sex,
            Case.body_site,
            Assessment.model_version_id,
            Assessment.state,
            Assessment.priority_rank,
            Assessment.finding_id,
            Assessment.probability,
            first_read.label("first_read_at"),
            first.signed_at.label("first_signed_at"),
            Review.decision,
            Review.finding_id.label("decided_id"),
            signed_on.state.label("shown_state"),
            signed_on.finding_id.label("shown_id"),
            Outcome.id.is_not(None).label("has_outcome"),
            Outcome.finding_id.label("outcome_id"),
        )
        .select_from(Case)
        .join(Patient, Patient.id == Case.patient_id)
        .join(Assessment, _is_current())
        .outerjoin(first, and_(first.case_id == Case.id, first.version == 1))
        .outerjoin(Review, _is_latest(Review))
        .outerjoin(signed_on, signed_on.id == Review.assessment_id)
        .outerjoin(Outcome, _is_latest(Outcome))
        .where(
            Case.submitted_at >= since,
            Case.is_demonstration.is_(False),
            or_(Review.id.is_(None), Review.decision != Decision.VOID),
        )
        .order_by(Case.submitted_at.desc())
        .limit(CASES_MAX)
    )
    if reading_task is not None:
        asked = asked.where(Case.reading_task_id == reading_task.id)
    return [PastCase(**row._mapping) for row in db.session.execute(asked)]


def abstention_reasons(*, since: dt.datetime, reading_task: ReadingTask) -> list[tuple[str, int]]:
    """Why images were held back in a period, and how many, the most frequent first."""
    counted = func.count().label("counted")
    asked = (
        select(AssessedImage.abstention_reason, counted)
        .select_from(Case)
        .join(Assessment, _is_current())
        .join(AssessedImage, AssessedImage.assessment_id == Assessment.id)
        .where(
            Case.submitted_at >= since,
            Case.reading_task_id == reading_task.id,
            AssessedImage.abstained.is_(True),
            *_counts(),
        )
        .group_by(AssessedImage.abstention_reason)
        .order_by(counted.desc(), AssessedImage.abstention_reason)
    )
    return [(reason or "", count) for reason, count in db.session.execute(asked)]


@dataclass(frozen=True, slots=True)
class Reference:
    """What recent cases are held against."""

    sample: Sample
    is_of_house: bool
    """It is of the first cases here, for the model has brought none along."""
    last_id: int
    """Of the readings that it is of; those after it are held against it."""


def reference(version: ModelVersion) -> Reference | None:
    """What images and answers were like where a version was tuned; where nobody knows, those of the
    first cases that it read here. None where these are too few."""
    brought = db.session.get(ModelReference, version.id)
    if brought is not None:
        return Reference(sample_of_figures(brought.figures), False, 0)
    rows = db.session.execute(_readings(version).order_by(Assessment.id).limit(COMPARED_MAX)).all()
    if len(rows) < 2 * FEWEST:
        return None
    return Reference(sample_of_rows(rows, version), True, rows[-1].id)


def recent(version: ModelVersion, *, since: dt.datetime, after_id: int) -> Sample:
    """The newest readings of a version in a period, the first image of each case."""
    asked = _readings(version).where(Case.submitted_at >= since, Assessment.id > after_id)
    newest = asked.order_by(Assessment.id.desc()).limit(COMPARED_MAX)
    return sample_of_rows(db.session.execute(newest).all(), version)


def sample_of_figures(figures: Mapping[str, Any]) -> Sample:
    """What a bundle says, as `ml.reference` makes it; an abstention has no code."""
    answers: dict[str | None, int] = {**figures["findings"], None: figures["abstained_count"]}
    return Sample({**figures["inputs"], "probability": figures["probabilities"]}, answers)


def sample_of_rows(rows: Iterable[Row[*tuple[Any, ...]]], version: ModelVersion) -> Sample:
    """The same of rows of `_readings`."""
    codes = {finding.id: finding.code for finding in version.reading_task.findings}
    numbers: dict[str, list[float]] = {
        name: [] for name in ("brightness", "contrast", "sharpness", "short_side_px", "probability")
    }
    answers: Counter[str | None] = Counter()
    for row in rows:
        for name in ("brightness", "contrast", "sharpness"):
            if getattr(row, name) is not None:
                numbers[name].append(getattr(row, name))
        numbers["short_side_px"].append(min(row.width_px, row.height_px))
        answers[None if row.abstained else codes.get(row.finding_id, "")] += 1
        if not row.abstained and row.probability is not None:
            numbers["probability"].append(row.probability)
    return Sample(numbers, answers)


def _readings(version: ModelVersion) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Assessment.id,
            AssessedImage.brightness,
            AssessedImage.contrast,
            AssessedImage.sharpness,
            Image.width_px,
            Image.height_px,
            AssessedImage.finding_id,
            AssessedImage.abstained,
            Prediction.probability,
        )
        .select_from(Case)
        .join(Assessment, _is_current())
        .join(
            AssessedImage,
            and_(AssessedImage.assessment_id == Assessment.id, AssessedImage.position == 0),
        )
        .join(Image, Image.id == AssessedImage.image_id)
        .outerjoin(
            Prediction,
            and_(
                Prediction.assessed_image_id == AssessedImage.id,
                Prediction.finding_id == AssessedImage.finding_id,
            ),
        )
        .where(
            Case.reading_task_id == version.reading_task_id,
            Assessment.model_version_id == version.id,
            Assessment.completed_at.is_not(None),
            *_counts(),
        )
    )


def _is_current() -> ColumnElement[bool]:
    return and_(
        Assessment.case_id == Case.id,
        Assessment.superseded_at.is_(None),
        Assessment.purpose == _TRIAGE,
    )


def _is_latest(kind: type[Review] | type[Outcome]) -> ColumnElement[bool]:
    other = aliased(kind)
    newest = (
        select(func.max(other.version))
        .where(other.case_id == Case.id)
        .correlate(Case)
        .scalar_subquery()
    )
    return and_(kind.case_id == Case.id, kind.version == newest)


def _counts() -> tuple[ColumnElement[bool], ...]:
    """Conditions for cases of people who came to be looked at."""
    is_void = exists().where(_is_latest(Review), Review.decision == Decision.VOID)
    return Case.is_demonstration.is_(False), ~is_void.correlate(Case)


def versions(cases: Sequence[PastCase]) -> Mapping[int, str]:
    """What the model versions of cases are called, by their numbers."""
    numbers = {case.model_version_id for case in cases}
    asked = select(ModelVersion.id, ModelVersion.version).where(ModelVersion.id.in_(numbers))
    return {row.id: row.version for row in db.session.execute(asked)}
