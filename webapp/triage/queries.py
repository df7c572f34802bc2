"""What a clinician may see: the worklist, and how each of its cases stands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Select, func, select
from sqlalchemy.orm import contains_eager, joinedload, raiseload, selectinload

from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage, Assessment, Prediction, Purpose, State
from webapp.cases.models import Case, Image, Patient, Region
from webapp.cases.queries import visible_site_ids
from webapp.catalogue.models import Finding, FindingTerms, Priority, ReadingTask
from webapp.db import db
from webapp.registry.models import Alias, ModelAlias, ModelVersion
from webapp.registry.queries import champions
from webapp.reviews.models import Decision, Review
from webapp.reviews.queries import latest_reviews, may_see_answer
from webapp.triage.filters import Filters, behind, is_current, matching_cases, part_of
from webapp.triage.models import SavedFilter

PAGE_SIZE = 25
MAX_PAGE_NUMBER = 400
"""The last page that can be turned to: the list then goes on behind its last case."""
COUNT_CAP = 1000


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
    also: Sign | None
    """What its answer is not told without, as `Assessment.also` says."""
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
    goes_on: bool
    """There are more, behind the last one, that no page can be turned to."""
    behind_id: int | None
    """The case that all of these come behind; None where they are all that there are."""


def worklist(
    *, actor: User, filters: Filters, number: int = 1, behind_id: int | None = None
) -> Page:
    """One page of the cases of the actor's sites, or of those that come behind one of them.

    The number of statements does not depend on what is found.
    """
    number = min(max(number, 1), MAX_PAGE_NUMBER)
    matching = matching_cases(actor, filters)
    last = _current_of(actor, behind_id) if behind_id else None
    if last is not None:
        matching = behind(matching, filters, last)
    total = db.session.scalars(_count(matching)).one()
    start = (number - 1) * PAGE_SIZE
    ids = db.session.scalars(part_of(matching, filters, start, start + PAGE_SIZE + 1)).all()
    return Page(
        items=_rows(actor, ids[:PAGE_SIZE]),
        number=number,
        has_next=len(ids) > PAGE_SIZE and number < MAX_PAGE_NUMBER,
        total=Count.of(total),
        goes_on=len(ids) > PAGE_SIZE and number == MAX_PAGE_NUMBER,
        behind_id=last.case_id if last else None,
    )


def has_cases(*, actor: User) -> bool:
    """Whether there is any case at the actor's sites, decided or not, that is no demonstration."""
    site_ids = visible_site_ids(actor)
    real = select(Case.id).where(Case.site_id.in_(site_ids), Case.is_demonstration.is_(False))
    return db.session.scalar(real.limit(1)) is not None


def counts_by_priority(*, actor: User) -> dict[Priority, Count]:
    """How many cases of each priority wait at the actor's sites, the highest first."""
    priorities = [*reversed(Priority)]
    counts = (_count(matching_cases(actor, Filters(priority=one))) for one in priorities)
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
    matching = matching_cases(actor, filters)
    return _rows(actor, db.session.scalars(part_of(matching, filters, 0, limit)).all())


def rows_of_patient(*, actor: User, patient: Patient) -> Sequence[Row]:
    """All cases of a patient, newest first."""
    case_ids = db.session.scalars(
        select(Case.id)
        .where(Case.patient_id == patient.id)
        .order_by(Case.submitted_at.desc(), Case.id.desc())
    ).all()
    return _rows(actor, case_ids)


def by_region(rows: Sequence[Row]) -> dict[Region | None, list[Row]]:
    """Rows by the lesions and eyes that their cases show, in the order of the first of each; those
    with an image of which nobody has said come last."""
    groups: dict[Region | None, list[Row]] = {}
    for row in rows:
        for region in row.case.images_by_region:
            groups.setdefault(region, []).append(row)
    return dict(sorted(groups.items(), key=lambda group: group[0] is None))


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


def _current_of(actor: User, case_id: int) -> Assessment | None:
    """The current assessment of a case, if the actor may see that."""
    return db.session.scalars(
        select(Assessment)
        .join(Assessment.case)
        .where(Case.id == case_id, Case.site_id.in_(visible_site_ids(actor)), is_current())
    ).one_or_none()


def _count(matching: Select[int]) -> Select[int]:
    """How many fit, up to one more than is told."""
    return select(func.count()).select_from(matching.limit(COUNT_CAP + 1).subquery())


def _rows(actor: User, case_ids: Sequence[int]) -> Sequence[Row]:
    assessments = db.session.scalars(
        select(Assessment)
        .join(Assessment.case)
        .where(Assessment.case_id.in_(case_ids), is_current())
        .options(
            contains_eager(Assessment.case).options(
                joinedload(Case.patient).joinedload(Patient.site),
                joinedload(Case.reading_task),
                selectinload(Case.images).joinedload(Image.region).joinedload(Region.reading_task),
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
    said = _said(readings)
    reviews = latest_reviews(case_ids)
    shown = may_see_answer(actor=actor, case_ids=case_ids)
    return [
        Row(
            case=reading.case,
            assessment=reading,
            unanswered_count=unanswered.get(reading.id, 0),
            sign=_sign(reading, said.get(reading.id, ())),
            also=_also(reading, said.get(reading.id, ())),
            review=reviews.get(reading.case_id),
            shows_answer=reading.case_id in shown,
        )
        for reading in readings
    ]


@dataclass(frozen=True, slots=True)
class _Said:
    """A finding of one image that is over its mark, or the answer."""

    sign: Sign
    is_over_mark: bool
    urgency: Priority


def _said(readings: Collection[Assessment]) -> dict[int, list[_Said]]:
    """By the numbers of readings."""
    by_id = {reading.id: reading for reading in readings}
    is_the_answer = (Prediction.finding_id == AssessedImage.finding_id) & ~AssessedImage.abstained
    found = db.session.execute(
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
        .where(AssessedImage.assessment_id.in_(by_id), Prediction.supported | is_the_answer)
    )
    said: dict[int, list[_Said]] = {}
    for reading_id, abstained, probability, supported, urgency, mark, finding in found:
        if mark is None:
            mark = by_id[reading_id].model_version.facts.thresholds.get(finding.code)
        sign = Sign(finding, probability, mark if supported else None, not abstained)
        said.setdefault(reading_id, []).append(_Said(sign, supported, urgency))
    return said


def _sign(reading: Assessment, said: Sequence[_Said]) -> Sign | None:
    """Where findings have made it urgent, the one that speaks most clearly."""
    if reading.priority_rank == 0:
        return None
    signs = [one.sign for one in said if one.urgency is reading.priority]
    return max(signs, key=_clarity, default=None)


def _also(reading: Assessment, said: Sequence[_Said]) -> Sign | None:
    """As `Assessment.also`, for a list."""
    if reading.finding is None or reading.state is not State.COMPLETED:
        return None
    severity = reading.finding.severity
    over = [one.sign for one in said if one.is_over_mark and one.sign.has_answer]
    graver = [sign for sign in over if sign.finding.severity > severity]
    return max(graver, key=lambda sign: (sign.finding.severity, sign.probability), default=None)


def _clarity(sign: Sign) -> tuple[bool, bool, int, float]:
    return sign.has_answer, sign.mark is not None, sign.finding.severity, sign.probability


def _unanswered_counts(assessment_ids: Sequence[int]) -> dict[int, int]:
    counted = db.session.execute(
        select(AssessedImage.assessment_id, func.count().label("image_count"))
        .where(AssessedImage.assessment_id.in_(assessment_ids), AssessedImage.abstained.is_(True))
        .group_by(AssessedImage.assessment_id)
    )
    return {row.assessment_id: row.image_count for row in counted}
