"""Which cases of a worklist are asked for, and how they are found."""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields

from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement, Select, bindparam, exists, false, func, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage, Assessment, Prediction, Purpose, State
from webapp.cases.models import Case, Patient
from webapp.cases.queries import visible_site_ids
from webapp.catalogue.models import Finding, Priority
from webapp.db import db
from webapp.reviews.models import ReportStatus, Review
from webapp.reviews.queries import has_status, is_latest, is_told

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
    """Named by the model's answer, or over its mark and more severe than that, or named by the
    decision that counts."""
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
    def names(self) -> list[str]:
        """Those that are used, by name; the order alone finds nobody."""
        used = (one for one in fields(self) if getattr(self, one.name) != one.default)
        return [one.name for one in used if one.name != "sort"]

    @property
    def wants_decided(self) -> bool:
        """Only what somebody has signed can fit."""
        return self.reviewer_id is not None or self.status in list(ReportStatus)[1:]


def matching_cases(actor: User, filters: Filters) -> Select[int]:
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
        .join(Assessment, (Assessment.case_id == Case.id) & is_current())
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


def part_of(matching: Select[int], filters: Filters, start: int, stop: int) -> Select[int]:
    """Those from `start` to before `stop`, in the order asked for, which an index has from one end
    to the other."""
    case_id = Assessment.case_id if _is_by_reading(filters) else Case.id
    order = {
        Sort.DUE: (Assessment.due_at, case_id),
        Sort.NEWEST: (case_id.desc(),),
        Sort.OLDEST: (case_id.asc(),),
    }
    return matching.order_by(*order[filters.order]).limit(stop - start).offset(start)


def behind(matching: Select[int], filters: Filters, last: Assessment) -> Select[int]:
    """Those that come behind the case of a current assessment, in the order asked for."""
    case_id = Assessment.case_id if _is_by_reading(filters) else Case.id
    match filters.order:
        case Sort.DUE:
            is_later = (Assessment.due_at > last.due_at) | (case_id > last.case_id)
            return matching.where(Assessment.due_at >= last.due_at, is_later)
        case Sort.NEWEST:
            return matching.where(case_id < last.case_id)
        case Sort.OLDEST:
            return matching.where(case_id > last.case_id)


def is_current() -> ColumnElement[bool]:
    """A condition that the partial indexes answer: they need the purpose in the statement."""
    triage: ColumnElement[Purpose] = bindparam(None, Purpose.TRIAGE, literal_execute=True)
    return Assessment.superseded_at.is_(None) & (Assessment.purpose == triage)


def _is_by_reading(filters: Filters) -> bool:
    return bool(filters.state or filters.priority or filters.order is Sort.DUE)


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
    few: set[int] = set()
    for way in ways:
        few.update(db.session.scalars(way.limit(FEW_CASES + 1)))
        if len(few) > FEW_CASES:
            return otherwise
    return case_id.in_(few)


def _names(finding_id: int, case_id: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Cases of which the model or a decision says this, or that have it over its mark beside a less
    severe answer."""
    is_completed = Assessment.state == State.COMPLETED
    is_answer = (Assessment.finding_id == finding_id) & is_completed
    is_decision = Review.finding_id == finding_id
    # The sum keeps SQLite from going through all readings that have a less severe answer.
    is_less_severe = (Assessment.finding_id + 0).in_(_less_severe(finding_id)) & is_completed
    is_over_mark = (Prediction.finding_id == finding_id) & Prediction.supported
    answered = select(Assessment.case_id).where(is_answer, is_current())
    beside = (
        select(Assessment.case_id)
        .select_from(Prediction)
        .join(AssessedImage, AssessedImage.id == Prediction.assessed_image_id)
        .join(AssessedImage.assessment)
        .where(is_over_mark, ~AssessedImage.abstained, is_less_severe, is_current())
    )
    decided = select(Review.case_id).where(is_decision, is_latest())
    has_over_mark = exists().where(Prediction.assessed_image_id == AssessedImage.id, is_over_mark)
    has_beside = is_less_severe & exists().where(
        AssessedImage.assessment_id == Assessment.id, ~AssessedImage.abstained, has_over_mark
    )
    otherwise = is_answer | has_beside | _has_decision(is_decision)
    return _is_among(case_id, [answered, beside, decided], otherwise=otherwise)


def _less_severe(finding_id: int) -> Sequence[int]:
    """The findings of the same reading task that are."""
    sought = aliased(Finding)
    is_less = (Finding.reading_task_id == sought.reading_task_id) & (
        Finding.severity < sought.severity
    )
    return db.session.scalars(
        select(Finding.id).join(sought, is_less).where(sought.id == finding_id)
    ).all()


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
