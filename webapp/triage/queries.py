"""What a clinician may see: the worklist, and how each of its cases stands."""

import datetime as dt
import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement, Select, bindparam, exists, false, func, select
from sqlalchemy.orm import (
    InstrumentedAttribute,
    aliased,
    contains_eager,
    joinedload,
    raiseload,
    selectinload,
)

from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage, Assessment, Prediction, Purpose, State
from webapp.cases.models import Case, Patient, Region
from webapp.cases.queries import visible_site_ids
from webapp.catalogue.models import Finding, FindingTerms, Priority, ReadingTask
from webapp.db import db
from webapp.registry.models import Alias, ModelAlias, ModelVersion
from webapp.registry.queries import champions
from webapp.reviews.models import Decision, ReportStatus, Review
from webapp.reviews.queries import (
    has_status,
    is_latest,
    is_told,
    latest_reviews,
    may_see_answer,
)
from webapp.triage.models import SavedFilter

PAGE_SIZE = 25
MAX_PAGE_NUMBER = 400
"""The last page that can be turned to; whoever looks further back filters or sorts."""
COUNT_CAP = 1000
ENDED = (State.COMPLETED, State.ABSTAINED, State.FAILED)
FEW_CASES = 5000
"""Up to so many cases with an identifier are listed first, and the worklist searched in them."""


class Sort(enum.StrEnum):
    """The order of a worklist."""

    DUE = "due"
    NEWEST = "newest"
    OLDEST = "oldest"

    @property
    def label(self) -> str:
        return _SORT_LABELS[self]


_SORT_LABELS = {
    Sort.DUE: _l("Due first"),
    Sort.NEWEST: _l("Newest first"),
    Sort.OLDEST: _l("Oldest first"),
}


class Scope(enum.StrEnum):
    """Which cases a worklist is about."""

    OPEN = "open"
    MINE = "mine"
    """Those that wait, and that the reader has taken."""
    ALL = "all"

    @property
    def label(self) -> str:
        return _SCOPE_LABELS[self]


_SCOPE_LABELS = {
    Scope.OPEN: _l("Undecided"),
    Scope.MINE: _l("Taken by me"),
    Scope.ALL: _l("All"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which cases of a worklist, and in which order; None and "" leave all."""

    scope: Scope = Scope.OPEN

    identifier: str = ""
    """How the patient's identifier begins."""
    state: State | None = None
    priority: Priority | None = None
    """How soon it must be looked at, as it is now: a finding may have raised it."""
    reading_task_id: int | None = None
    finding_id: int | None = None
    """Named by the model's answer, or by the decision that counts."""
    status: ReportStatus | None = None
    reviewer_id: int | None = None
    """Who signed the decision that counts."""
    first_day: dt.date | None = None
    """In UTC, as all days: when it was sent."""
    last_day: dt.date | None = None
    sort: Sort = Sort.DUE

    @property
    def order(self) -> Sort:
        """The sort that holds: among all cases are signed ones, which are due no more."""
        is_signed_too = self.scope is Scope.ALL and self.sort is Sort.DUE
        return Sort.NEWEST if is_signed_too else self.sort

    @property
    def wants_decided(self) -> bool:
        """Only what somebody has signed can fit."""
        return self.reviewer_id is not None or self.status in list(ReportStatus)[1:]


@dataclass(frozen=True, slots=True)
class Sign:
    """A finding of one image that counts for how soon a case is due."""

    finding: Finding
    probability: float
    mark: float | None
    """The operating point that the probability reaches; None where it does not, and the finding is
    only the answer."""
    has_answer: bool
    """Whether the model gave an answer for the image."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a worklist, with everything that it shows at hand."""

    case: Case
    assessment: Assessment
    """The current one."""
    unanswered_count: int
    """Images of it that the model gave no answer for."""
    sign: Sign | None
    """What makes it as urgent as it is; None where that is not a finding."""
    review: Review | None
    """The decision that counts; None where nobody has signed."""
    shows_answer: bool
    """Whether the reader may be told what was found."""

    @property
    def told_state(self) -> State | None:
        """How the reading stands; None where it has ended, and the reader may not be told how."""
        state = self.assessment.state
        return state if self.shows_answer or state.is_open else None

    @property
    def is_void(self) -> bool:
        """It should not be there, as somebody has signed."""
        return self.review is not None and self.review.decision is Decision.VOID

    @property
    def is_as_requested(self) -> bool:
        """Nothing has made it more urgent than was asked for."""
        return self.assessment.priority_rank <= self.case.priority.rank

    @property
    def lacks_an_answer(self) -> bool:
        """It failed, or the model held its answer back for an image."""
        return self.unanswered_count > 0 or self.assessment.state is State.FAILED


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are, counted no further than `COUNT_CAP`."""

    number: int
    is_capped: bool
    """There are more."""

    @classmethod
    def of(cls, counted: int) -> Self:
        return cls(min(counted, COUNT_CAP), counted > COUNT_CAP)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a worklist."""

    items: Sequence[Row]
    number: int
    """From 1."""
    has_next: bool
    total: Count
    """Cases on all pages."""


def worklist(*, actor: User, filters: Filters, number: int = 1) -> Page:
    """One page of the cases of the actor's sites.

    The number of statements does not depend on what is found.
    """
    number = min(max(number, 1), MAX_PAGE_NUMBER)
    matching = _matching(actor, filters)
    total = db.session.scalars(_count(matching)).one()
    start = (number - 1) * PAGE_SIZE
    ids = db.session.scalars(_slice(matching, filters, start, start + PAGE_SIZE + 1)).all()
    return Page(
        items=_rows(actor, ids[:PAGE_SIZE]),
        number=number,
        has_next=len(ids) > PAGE_SIZE and number < MAX_PAGE_NUMBER,
        total=Count.of(total),
    )


def has_cases(*, actor: User) -> bool:
    """Whether there is any case at the actor's sites, decided or not, that is no demonstration."""
    site_ids = visible_site_ids(actor)
    real = select(Case.id).where(Case.site_id.in_(site_ids), Case.is_demonstration.is_(False))
    return db.session.scalar(real.limit(1)) is not None


def counts_by_priority(*, actor: User) -> dict[Priority, Count]:
    """How many cases of each priority wait at the actor's sites, the highest first."""
    priorities = [*reversed(Priority)]
    counts = (_count(_matching(actor, Filters(priority=one))) for one in priorities)
    counted = db.session.execute(select(*(count.scalar_subquery() for count in counts))).one()
    return dict(zip(priorities, map(Count.of, counted), strict=True))


def rows(*, actor: User, case_ids: Sequence[int]) -> Sequence[Row]:
    """Those of at most a page of cases that the actor may see, in the order given."""
    visible = set(
        db.session.scalars(
            select(Case.id).where(
                Case.id.in_(case_ids[:PAGE_SIZE]), Case.site_id.in_(visible_site_ids(actor))
            )
        )
    )
    return _rows(actor, [case_id for case_id in case_ids if case_id in visible])


def rows_of(*, actor: User, filters: Filters, limit: int) -> Sequence[Row]:
    """The first so many cases of a worklist, in its order."""
    matching = _matching(actor, filters)
    return _rows(actor, db.session.scalars(_slice(matching, filters, 0, limit)).all())


def rows_of_patient(*, actor: User, patient: Patient) -> Sequence[Row]:
    """All cases of a patient, newest first."""
    case_ids = db.session.scalars(
        select(Case.id)
        .where(Case.patient_id == patient.id)
        .order_by(Case.submitted_at.desc(), Case.id.desc())
    ).all()
    return _rows(actor, case_ids)


def by_region(rows: Sequence[Row]) -> dict[Region | None, list[Row]]:
    """Rows by the lesion or eye that their cases show, in the order of the first of each; those of
    which nobody has said come last."""
    groups: dict[Region | None, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.case.region is None):
        groups.setdefault(row.case.region, []).append(row)
    return groups


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
                selectinload(AssessedImage.predictions).options(
                    joinedload(Prediction.finding), joinedload(Prediction.terms)
                ),
            ),
        )
    ).all()


def case_of_form(*, actor: User, form_token: str) -> Case | None:
    """The case that this form of the actor's was made into, if it was sent before."""
    return db.session.scalars(
        select(Case).where(Case.form_token == form_token, Case.submitted_by_id == actor.id)
    ).one_or_none()


def saved_filters(actor: User) -> Sequence[SavedFilter]:
    """The actor's own, by name."""
    return db.session.scalars(
        select(SavedFilter).where(SavedFilter.user_id == actor.id).order_by(SavedFilter.name)
    ).all()


def offered_reading_tasks() -> Sequence[ReadingTask]:
    """The reading tasks that a model serves, by name."""
    return db.session.scalars(
        select(ReadingTask)
        .join(ModelAlias, ModelAlias.reading_task_id == ReadingTask.id)
        .where(ModelAlias.alias == Alias.CHAMPION)
        .order_by(ReadingTask.name)
        .options(selectinload(ReadingTask.findings))
    ).all()


def body_sites() -> dict[int, list[str]]:
    """The places on the body that models which serve tell apart, by the numbers of their reading
    tasks; those that ask for none are left out."""
    sites = {version.reading_task_id: version.facts.body_sites for version in champions()}
    return {task_id: known for task_id, known in sites.items() if known}


def _is_current() -> ColumnElement[bool]:
    """A condition that the partial indexes answer: they need the purpose in the statement."""
    triage: ColumnElement[Purpose] = bindparam(None, Purpose.TRIAGE, literal_execute=True)
    return Assessment.superseded_at.is_(None) & (Assessment.purpose == triage)


def _is_by_reading(filters: Filters) -> bool:
    return bool(filters.state or filters.priority or filters.order is Sort.DUE)


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
    if filters.scope is not Scope.ALL:
        matching = matching.where(Assessment.settled_at.is_(None))
    if filters.scope is Scope.MINE:
        matching = matching.where(Case.assigned_to_id == actor.id)
    if filters.identifier:
        matching = matching.where(_has_identifier(site_ids, filters.identifier, case_id))
    if filters.state:
        matching = matching.where(_stands(actor, filters.state))
    if filters.priority:
        matching = matching.where(Assessment.priority_rank == filters.priority.rank)
    if filters.reading_task_id:
        matching = matching.where(Case.reading_task_id == filters.reading_task_id)
    if filters.finding_id:
        matching = matching.where(_names(filters.finding_id, case_id), is_told(actor))
    if filters.reviewer_id:
        matching = matching.where(_is_decided(case_id, Review.reviewer_id == filters.reviewer_id))
    if filters.status is ReportStatus.PRELIMINARY:
        matching = matching.where(Assessment.settled_at.is_(None), _is_read(actor))
    elif filters.status:
        matching = matching.where(_is_decided(case_id, has_status(filters.status)))
    if filters.first_day or filters.last_day:
        matching = matching.where(*_was_sent(filters, case_id + 0 if misleads else case_id))
    return matching


def _stands(actor: User, state: State) -> ColumnElement[bool]:
    """A condition for readings that stand so, as far as the actor may be told: before an own
    impression, all that has ended is as if it were answered."""
    is_so = Assessment.state == state
    if state.is_open or not any(site.own_impression_first for site in actor.sites):
        return is_so
    if state is not State.COMPLETED:
        return is_so & is_told(actor)
    return Assessment.state.in_(ENDED) & (is_so | ~is_told(actor))


def _is_read(actor: User) -> ColumnElement[bool]:
    """The same for readings that a model has ended, with an answer or without."""
    is_read = Assessment.completed_at.is_not(None)
    if not any(site.own_impression_first for site in actor.sites):
        return is_read
    return is_read | ((Assessment.state == State.FAILED) & ~is_told(actor))


def _count(matching: Select[int]) -> Select[int]:
    """How many fit, up to one more than is told."""
    return select(func.count()).select_from(matching.limit(COUNT_CAP + 1).subquery())


def _slice(matching: Select[int], filters: Filters, start: int, stop: int) -> Select[int]:
    """Those from `start` to before `stop`, in the order asked for, which an index has from one end
    to the other."""
    case_id = Assessment.case_id if _is_by_reading(filters) else Case.id
    order = {
        Sort.DUE: (Assessment.due_at, case_id),
        Sort.NEWEST: (case_id.desc(),),
        Sort.OLDEST: (case_id.asc(),),
    }
    return matching.order_by(*order[filters.order]).limit(stop - start).offset(start)


def _has_identifier(
    site_ids: frozenset[int], prefix: str, case_id: InstrumentedAttribute[int]
) -> ColumnElement[bool]:
    begins = Patient.identifier >= prefix, Patient.identifier < prefix + "\U0010ffff"
    of_patients = (
        select(Case.id)
        .join(Patient, Case.patient_id == Patient.id)
        .where(Patient.site_id.in_(site_ids), *begins)
    )
    return _is_among(
        case_id, [of_patients], otherwise=exists().where(Patient.id == Case.patient_id, *begins)
    )


def _is_among(
    case_id: InstrumentedAttribute[int],
    ways: Sequence[Select[int]],
    *,
    otherwise: ColumnElement[bool],
) -> ColumnElement[bool]:
    """A condition that is quick for a few cases and for many.

    A few are looked up and listed. Many are met soon by going through the worklist, where looking
    all of them up and sorting them would take long.
    """
    few = {one for way in ways for one in db.session.scalars(way.limit(FEW_CASES + 1))}
    return case_id.in_(few) if len(few) <= FEW_CASES else otherwise


def _names(finding_id: int, case_id: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Cases of which the model or a decision says this."""
    is_answer = (Assessment.finding_id == finding_id) & (Assessment.state == State.COMPLETED)
    is_decision = Review.finding_id == finding_id
    answered = select(Assessment.case_id).where(is_answer, _is_current())
    decided = select(Review.case_id).where(is_decision, is_latest())
    return _is_among(case_id, [answered, decided], otherwise=is_answer | _has_decision(is_decision))


def _is_decided(
    case_id: InstrumentedAttribute[int], decision: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Cases whose decision that counts is such a one."""
    decided = select(Review.case_id).where(decision, is_latest())
    return _is_among(case_id, [decided], otherwise=_has_decision(decision))


def _has_decision(decision: ColumnElement[bool]) -> ColumnElement[bool]:
    """Looks up the one decision of each case that counts. Asked for in another way, SQLite goes
    through all decisions that are such, for each case anew."""
    newest = aliased(Review)
    latest_id = (
        select(newest.id)
        .where(newest.case_id == Case.id)
        .order_by(newest.version.desc())
        .limit(1)
        .correlate(Case)
        .scalar_subquery()
    )
    return exists().where(Review.id == latest_id, decision)


def _was_sent(
    filters: Filters, case_id: ColumnElement[int] | InstrumentedAttribute[int]
) -> Sequence[ColumnElement[bool]]:
    """Conditions for when a case was sent. Cases are numbered as they come, so the first and the
    last number leave little of an index to be gone through."""
    within = []
    if filters.first_day:
        begin = dt.datetime.combine(filters.first_day, dt.time.min, dt.UTC)
        within.append(Case.submitted_at >= begin)
    if filters.last_day:
        end = dt.datetime.combine(filters.last_day, dt.time.max, dt.UTC)
        within.append(Case.submitted_at <= end)
    lowest, highest = db.session.execute(
        select(func.min(Case.id), func.max(Case.id)).where(*within)
    ).one()
    return [case_id.between(lowest, highest), *within] if lowest else [false()]


def _rows(actor: User, case_ids: Sequence[int]) -> Sequence[Row]:
    assessments = db.session.scalars(
        select(Assessment)
        .join(Assessment.case)
        .where(Assessment.case_id.in_(case_ids), _is_current())
        .options(
            contains_eager(Assessment.case).options(
                joinedload(Case.patient).joinedload(Patient.site),
                joinedload(Case.reading_task),
                joinedload(Case.region).joinedload(Region.reading_task),
                selectinload(Case.images),
                raiseload("*"),
            ),
            joinedload(Assessment.finding),
            joinedload(Assessment.raised_by).joinedload(FindingTerms.finding),
            selectinload(Assessment.model_version).load_only(ModelVersion.manifest, raiseload=True),
            raiseload("*"),
        )
    )
    by_case = {assessment.case_id: assessment for assessment in assessments}
    return as_rows(actor=actor, readings=[by_case[case_id] for case_id in case_ids])


def as_rows(*, actor: User, readings: Sequence[Assessment]) -> Sequence[Row]:
    """The rows of cases whose current assessments are at hand."""
    case_ids = [reading.case_id for reading in readings]
    unanswered = _unanswered_counts([reading.id for reading in readings])
    signs = _signs(readings)
    reviews = latest_reviews(case_ids)
    shown = may_see_answer(actor=actor, case_ids=case_ids)
    return [
        Row(
            case=reading.case,
            assessment=reading,
            unanswered_count=unanswered.get(reading.id, 0),
            sign=signs.get(reading.id),
            review=reviews.get(reading.case_id),
            shows_answer=reading.case_id in shown,
        )
        for reading in readings
    ]


def _signs(assessments: Collection[Assessment]) -> dict[int, Sign]:
    """Of each assessment that findings have made urgent, the one that speaks most clearly."""
    urgent = {reading.id: reading for reading in assessments if reading.priority_rank > 0}
    is_the_answer = (Prediction.finding_id == AssessedImage.finding_id) & ~AssessedImage.abstained
    said = db.session.execute(
        select(
            AssessedImage.assessment_id,
            AssessedImage.abstained,
            Prediction.probability,
            Prediction.supported,
            FindingTerms.urgency,
            FindingTerms.mark,
            Finding,
        )
        .join(Prediction, Prediction.assessed_image_id == AssessedImage.id)
        .join(Prediction.terms)
        .join(Prediction.finding)
        .where(AssessedImage.assessment_id.in_(urgent), Prediction.supported | is_the_answer)
    )
    signs: dict[int, list[Sign]] = {}
    for assessment_id, abstained, probability, supported, urgency, mark, finding in said:
        reading = urgent[assessment_id]
        if urgency is reading.priority:
            if mark is None:
                mark = reading.model_version.facts.thresholds.get(finding.code)
            sign = Sign(finding, probability, mark if supported else None, not abstained)
            signs.setdefault(assessment_id, []).append(sign)
    return {assessment_id: max(some, key=_clarity) for assessment_id, some in signs.items()}


def _clarity(sign: Sign) -> tuple[bool, bool, int, float]:
    return sign.has_answer, sign.mark is not None, sign.finding.severity, sign.probability


def _unanswered_counts(assessment_ids: Sequence[int]) -> dict[int, int]:
    counted = db.session.execute(
        select(AssessedImage.assessment_id, func.count().label("image_count"))
        .where(AssessedImage.assessment_id.in_(assessment_ids), AssessedImage.abstained.is_(True))
        .group_by(AssessedImage.assessment_id)
    )
    return {row.assessment_id: row.image_count for row in counted}
