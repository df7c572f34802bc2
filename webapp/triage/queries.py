"""What a clinician may see: the worklist, and how each of its cases stands."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement, Select, bindparam, exists, func, select
from sqlalchemy.orm import (
    InstrumentedAttribute,
    contains_eager,
    joinedload,
    raiseload,
    selectinload,
)

from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage, Assessment, Prediction, Purpose, State
from webapp.cases.models import Case, Patient
from webapp.cases.queries import visible_site_ids
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import db
from webapp.registry.models import Alias, ModelAlias, ModelVersion
from webapp.registry.queries import champions
from webapp.reviews.models import Review
from webapp.reviews.queries import latest_reviews

PAGE_SIZE = 25
MAX_PAGE_NUMBER = 400
"""The last page that can be turned to; whoever looks further back filters or sorts."""
COUNT_CAP = 1000
FEW_CASES = 5000
"""Up to so many cases with an identifier are listed first, and the worklist searched in them."""


class Sort(enum.StrEnum):
    """The order of a worklist."""

    PRIORITY = "priority"
    """Of what is equally urgent, what was sent last is first: cases do not leave the worklist, and
    years of them would stand above it."""
    NEWEST = "newest"
    OLDEST = "oldest"

    @property
    def label(self) -> str:
        return _SORT_LABELS[self]


_SORT_LABELS = {
    Sort.PRIORITY: _l("Most urgent first"),
    Sort.NEWEST: _l("Newest first"),
    Sort.OLDEST: _l("Oldest first"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which cases of a worklist, and in which order; None and "" leave all."""

    identifier: str = ""
    """How the patient's identifier begins."""
    state: State | None = None
    priority: Priority | None = None
    """How soon it must be looked at, as it is now: a finding may have raised it."""
    reading_task_id: int | None = None
    sort: Sort = Sort.PRIORITY


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a worklist, with everything that it shows at hand."""

    case: Case
    assessment: Assessment
    """The current one."""
    unanswered_count: int
    """Images of it that the model gave no answer for."""
    review: Review | None
    """The decision that counts; None where nobody has signed."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a worklist."""

    items: Sequence[Row]
    number: int
    """From 1."""
    has_next: bool
    total: int
    """Cases on all pages, counted no further than `COUNT_CAP`."""
    total_is_capped: bool
    """There are more than `total`."""


def worklist(*, actor: User, filters: Filters, number: int = 1) -> Page:
    """One page of the cases of the actor's sites.

    The number of statements does not depend on what is found.
    """
    number = min(max(number, 1), MAX_PAGE_NUMBER)
    matching = _matching(actor, filters)
    total = db.session.scalars(
        select(func.count()).select_from(matching.limit(COUNT_CAP + 1).subquery())
    ).one()
    start = (number - 1) * PAGE_SIZE
    ids = db.session.scalars(_slice(matching, filters, start, start + PAGE_SIZE + 1)).all()
    return Page(
        items=_rows(ids[:PAGE_SIZE]),
        number=number,
        has_next=len(ids) > PAGE_SIZE and number < MAX_PAGE_NUMBER,
        total=min(total, COUNT_CAP),
        total_is_capped=total > COUNT_CAP,
    )


def rows(*, actor: User, case_ids: Sequence[int]) -> Sequence[Row]:
    """Those of at most a page of cases that the actor may see, in the order given."""
    visible = set(
        db.session.scalars(
            select(Case.id).where(
                Case.id.in_(case_ids[:PAGE_SIZE]), Case.site_id.in_(visible_site_ids(actor))
            )
        )
    )
    return _rows([case_id for case_id in case_ids if case_id in visible])


def rows_of(*, actor: User, filters: Filters, limit: int) -> Sequence[Row]:
    """The first so many cases of a worklist, in its order."""
    matching = _matching(actor, filters)
    return _rows(db.session.scalars(_slice(matching, filters, 0, limit)).all())


def rows_of_patient(patient: Patient) -> Sequence[Row]:
    """All cases of a patient, newest first."""
    return _rows(
        db.session.scalars(
            select(Case.id).where(Case.patient_id == patient.id).order_by(Case.id.desc())
        ).all()
    )


def readings(case: Case) -> Sequence[Assessment]:
    """What was read of a case: the current assessment first, then those that it superseded."""
    return db.session.scalars(
        select(Assessment)
        .where(Assessment.case_id == case.id, Assessment.purpose == Purpose.TRIAGE)
        .order_by(
            Assessment.superseded_at.is_not(None),
            Assessment.superseded_at.desc(),
            Assessment.id.desc(),
        )
        .options(
            joinedload(Assessment.model_version),
            joinedload(Assessment.finding),
            selectinload(Assessment.images).options(
                joinedload(AssessedImage.finding),
                selectinload(AssessedImage.predictions).joinedload(Prediction.finding),
            ),
        )
    ).all()


def case_of_form(*, actor: User, form_token: str) -> Case | None:
    """The case that this form of the actor's was made into, if it was sent before."""
    return db.session.scalars(
        select(Case).where(Case.form_token == form_token, Case.submitted_by_id == actor.id)
    ).one_or_none()


def offered_reading_tasks() -> Sequence[ReadingTask]:
    """The reading tasks that a model serves, by name."""
    return db.session.scalars(
        select(ReadingTask)
        .join(ModelAlias, ModelAlias.reading_task_id == ReadingTask.id)
        .where(ModelAlias.alias == Alias.CHAMPION)
        .order_by(ReadingTask.name)
    ).all()


def any_model_takes_body_site() -> bool:
    """Whether a model that serves reads where on the body an image was taken."""
    return any(
        "localization" in version.manifest.get("metadata", {}).get("columns", ())
        for version in champions()
    )


def uses_metadata(version: ModelVersion) -> bool:
    """Whether what is known of a patient can make a difference to a model's answer."""
    return version.manifest.get("metadata", {}).get("encoding_version") != "none"


def _is_current() -> ColumnElement[bool]:
    """A condition that the partial indexes answer: they need the purpose in the statement."""
    triage: ColumnElement[Purpose] = bindparam(None, Purpose.TRIAGE, literal_execute=True)
    return Assessment.superseded_at.is_(None) & (Assessment.purpose == triage)


def _is_by_reading(filters: Filters) -> bool:
    return bool(filters.state or filters.priority or filters.sort is Sort.PRIORITY)


def _matching(actor: User, filters: Filters) -> Select[int]:
    """The cases that fit.

    Whatever concerns the reading is answered by going through readings, in an index that has them
    in the order asked for; the rest by going through the cases of the sites. SQLite plans without
    statistics and cannot know that, so there a sum keeps it from the index that would mislead it.
    """
    site_ids = visible_site_ids(actor)
    by_reading = _is_by_reading(filters)
    misleads = by_reading and db.engine.dialect.name == "sqlite"
    site_id = Case.site_id + 0 if misleads else Case.site_id
    case_id = Assessment.case_id if by_reading else Case.id
    matching = (
        select(Case.id)
        .join(Assessment, (Assessment.case_id == Case.id) & _is_current())
        .where(site_id.in_(site_ids))
    )
    if filters.identifier:
        matching = matching.where(_has_identifier(site_ids, filters.identifier, case_id))
    if filters.state:
        matching = matching.where(Assessment.state == filters.state)
    if filters.priority:
        matching = matching.where(Assessment.priority_rank == filters.priority.rank)
    if filters.reading_task_id:
        matching = matching.where(Case.reading_task_id == filters.reading_task_id)
    return matching


def _slice(matching: Select[int], filters: Filters, start: int, stop: int) -> Select[int]:
    """Those from `start` to before `stop`, in the order asked for, which an index has from one end
    to the other."""
    case_id = Assessment.case_id if _is_by_reading(filters) else Case.id
    order = {
        Sort.PRIORITY: (Assessment.priority_rank.desc(), case_id.desc()),
        Sort.NEWEST: (case_id.desc(),),
        Sort.OLDEST: (case_id.asc(),),
    }
    return matching.order_by(*order[filters.sort]).limit(stop - start).offset(start)


def _has_identifier(
    site_ids: frozenset[int], prefix: str, case_id: InstrumentedAttribute[int]
) -> ColumnElement[bool]:
    """A condition that is quick for a few cases and for many.

    A few are looked up and listed. Many are met soon by going through the worklist, where looking
    all of them up and sorting them would take long.
    """
    begins = Patient.identifier >= prefix, Patient.identifier < prefix + "\U0010ffff"
    few = db.session.scalars(
        select(Case.id)
        .join(Patient, Case.patient_id == Patient.id)
        .where(Patient.site_id.in_(site_ids), *begins)
        .limit(FEW_CASES + 1)
    ).all()
    if len(few) <= FEW_CASES:
        return case_id.in_(few)
    return exists().where(Patient.id == Case.patient_id, *begins)


def _rows(case_ids: Sequence[int]) -> Sequence[Row]:
    assessments = db.session.scalars(
        select(Assessment)
        .join(Assessment.case)
        .where(Assessment.case_id.in_(case_ids), _is_current())
        .options(
            contains_eager(Assessment.case).options(
                joinedload(Case.patient).joinedload(Patient.site),
                joinedload(Case.reading_task),
                selectinload(Case.images),
                raiseload("*"),
            ),
            joinedload(Assessment.finding),
            raiseload("*"),
        )
    )
    by_case = {assessment.case_id: assessment for assessment in assessments}
    unanswered = _unanswered_counts([assessment.id for assessment in by_case.values()])
    reviews = latest_reviews(case_ids)
    return [
        Row(
            case=by_case[case_id].case,
            assessment=by_case[case_id],
            unanswered_count=unanswered.get(by_case[case_id].id, 0),
            review=reviews.get(case_id),
        )
        for case_id in case_ids
    ]


def _unanswered_counts(assessment_ids: Sequence[int]) -> dict[int, int]:
    counted = db.session.execute(
        select(AssessedImage.assessment_id, func.count().label("image_count"))
        .where(AssessedImage.assessment_id.in_(assessment_ids), AssessedImage.abstained.is_(True))
        .group_by(AssessedImage.assessment_id)
    )
    return {row.assessment_id: row.image_count for row in counted}
