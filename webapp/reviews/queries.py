"""What was decided on cases, and what a decision would be made on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import aliased, contains_eager, joinedload

from webapp.accounts.models import Site, User, UserRole
from webapp.assessments.models import Assessment, State
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case, CaseParticulars, Particulars, Patient
from webapp.cases.queries import visible_site_ids
from webapp.db import db
from webapp.permissions import Permission, Role
from webapp.reviews.models import Decision, Impression, Outcome, ReportStatus, Review, SecondRead

QUEUE_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Basis:
    """What someone who decides on a case has before them."""

    assessment: Assessment | None
    """The current one."""
    review: Review | None
    """The latest version."""
    particulars: Particulars
    """What is on record of the patient."""
    said: CaseParticulars
    """What is said of the case."""

    @property
    def has_answer(self) -> bool:
        """Whether there is a finding of the model's to agree with."""
        return self.assessment is not None and self.assessment.state is State.COMPLETED

    @property
    def mark(self) -> str:
        """Differs as soon as there is something else to look at."""
        number, stage = 0, "none"
        if self.assessment is not None:
            number, state = self.assessment.id, self.assessment.state
            stage = "open" if state.is_open else state.value
        known = f"{self.particulars.birth_year or ''} {self.particulars.sex}"
        return f"{number} {stage} {self.next_version - 1} {known} {self.said.mark}"

    @property
    def next_version(self) -> int:
        return 1 if self.review is None else self.review.version + 1

    @property
    def status(self) -> ReportStatus | None:
        """None as long as neither a model nor a clinician has said anything."""
        if self.review is not None:
            return self.review.status
        is_read = self.assessment is not None and self.assessment.completed_at is not None
        return ReportStatus.PRELIMINARY if is_read else None


def may_see_answer(*, actor: User, case_ids: Collection[int]) -> frozenset[int]:
    """Those of the cases of which the actor may be told what a model or a colleague found.

    The one gate for every page, list, search and export. Where a site asks for an own impression
    first, others of its cases show how soon they must be looked at, and no more: no finding, no
    probability, no heat map, no decision, and not whether the model gave an answer. What is signed
    is a report, which everyone reads, but for second readers: they read it by themselves first.
    """
    seen = db.session.scalars(
        select(Case.id).where(
            Case.id.in_(case_ids), Case.site_id.in_(visible_site_ids(actor)), is_told(actor)
        )
    )
    return frozenset(seen)


def is_told(actor: User) -> ColumnElement[bool]:
    """The same for a list: a condition for the cases of the actor's sites of which they may be
    told, whatever else the list is about."""
    review, second = aliased(Review), aliased(SecondRead)
    asking = select(Site.id).where(Site.own_impression_first)
    has_impression = exists().where(Impression.case_id == Case.id, Impression.reader_id == actor.id)
    is_signed = exists().where(review.case_id == Case.id)
    if actor.can(Permission.SECOND_READ):
        has_read = exists().where(second.review_id == review.id, second.reader_id == actor.id)
        is_signed = is_signed.where((review.reviewer_id == actor.id) | has_read)
    return Case.site_id.not_in(asking) | has_impression | is_signed


def impressions(case: Case) -> Sequence[Impression]:
    """What clinicians saw in a case by themselves, in order."""
    return db.session.scalars(
        select(Impression)
        .where(Impression.case_id == case.id)
        .order_by(Impression.id)
        .options(joinedload(Impression.finding), joinedload(Impression.reader))
    ).all()


def outcomes(case: Case) -> Sequence[Outcome]:
    """What a case turned out to be, the latest version first."""
    return db.session.scalars(
        select(Outcome)
        .where(Outcome.case_id == case.id)
        .order_by(Outcome.version.desc())
        .options(joinedload(Outcome.finding), joinedload(Outcome.recorded_by))
    ).all()


_SAID = [*(field.name for field in fields(CaseParticulars)), "age_is_derived"]


def basis(case: Case) -> Basis:
    """What a decision on a case would be made on, as it is now."""
    on_record = select(Patient.birth_year, Patient.sex).where(Patient.id == case.patient_id)
    birth_year, sex = db.session.execute(on_record).one()
    db.session.refresh(case, _SAID)
    return Basis(
        current_assessment(case),
        latest_reviews([case.id]).get(case.id),
        Particulars(birth_year=birth_year, sex=sex),
        CaseParticulars.of(case),
    )


def reviews(case: Case) -> Sequence[Review]:
    """All versions of the decision on a case, the latest first."""
    return db.session.scalars(
        select(Review)
        .where(Review.case_id == case.id)
        .order_by(Review.version.desc())
        .options(joinedload(Review.finding), joinedload(Review.reviewer))
    ).all()


def latest_reviews(case_ids: Collection[int]) -> dict[int, Review]:
    """The decisions that count, by the numbers of their cases; none where nobody has signed."""
    found = db.session.scalars(
        select(Review)
        .where(Review.case_id.in_(case_ids), is_latest())
        .options(joinedload(Review.finding), joinedload(Review.reviewer))
    )
    return {review.case_id: review for review in found}


def is_latest() -> ColumnElement[bool]:
    """A condition for the decisions that count."""
    later = aliased(Review)
    return ~exists().where(later.case_id == Review.case_id, later.version > Review.version)


def has_status(status: ReportStatus) -> ColumnElement[bool]:
    """A condition for decisions that make a report so binding as long as they count."""
    is_void = Review.decision == Decision.VOID
    conditions = {
        ReportStatus.FINAL: ~is_void & (Review.version == 1),
        ReportStatus.AMENDED: ~is_void & (Review.version > 1),
        ReportStatus.CANCELLED: is_void,
    }
    return conditions[status]


def review_of_form(case: Case, form_token: str) -> Review | None:
    """What this form was signed as, if it was sent before."""
    return db.session.scalars(
        select(Review).where(Review.case_id == case.id, Review.form_token == form_token)
    ).one_or_none()


def second_reads(case: Case) -> Sequence[SecondRead]:
    """What second readers said of the decisions on a case, the latest first."""
    return db.session.scalars(
        select(SecondRead)
        .join(SecondRead.review)
        .where(Review.case_id == case.id)
        .order_by(SecondRead.id.desc())
        .options(
            contains_eager(SecondRead.review),
            joinedload(SecondRead.finding),
            joinedload(SecondRead.reader),
        )
    ).all()


def disagreements(*, actor: User) -> Sequence[SecondRead]:
    """Second readings that differ from the decisions that count, the longest-standing first; of
    those that the actor may be told of, and one more than `QUEUE_LENGTH` where there are more. An
    amendment, which may say the same again, settles one. Cases that only demonstrate need no second
    reader."""
    return db.session.scalars(
        select(SecondRead)
        .join(SecondRead.review)
        .join(Review.case)
        .where(
            Case.site_id.in_(visible_site_ids(actor)),
            Case.is_demonstration.is_(False),
            is_latest(),
            SecondRead.finding_id.is_distinct_from(Review.finding_id),
            is_told(actor),
        )
        .order_by(SecondRead.id)
        .limit(QUEUE_LENGTH + 1)
        .options(
            contains_eager(SecondRead.review).options(
                contains_eager(Review.case).joinedload(Case.patient),
                joinedload(Review.finding),
                joinedload(Review.reviewer),
            ),
            joinedload(SecondRead.finding),
            joinedload(SecondRead.reader),
        )
    ).all()


def to_read_again(*, actor: User) -> Sequence[Case]:
    """Signed cases that the actor may read a second time and nobody has, the earliest signed
    first; one more than `QUEUE_LENGTH` where there are more. None that only demonstrates."""
    return db.session.scalars(
        select(Case)
        .join(Review, Review.case_id == Case.id)
        .where(
            Case.site_id.in_(visible_site_ids(actor)),
            Case.is_demonstration.is_(False),
            is_latest(),
            Review.decision != Decision.VOID,
            Review.reviewer_id != actor.id,
            ~exists().where(SecondRead.review_id == Review.id),
        )
        .order_by(Review.id)
        .limit(QUEUE_LENGTH + 1)
        .options(joinedload(Case.patient), joinedload(Case.reading_task))
    ).all()


def colleagues(case: Case) -> Sequence[User]:
    """Those who may decide on a case, by name."""
    return db.session.scalars(
        select(User)
        .where(
            User.disabled_at.is_(None),
            User.user_roles.any(UserRole.role.in_(_deciding_roles())),
            User.sites.any(Site.id == case.site_id),
        )
        .order_by(User.full_name, User.id)
    ).all()


def reviewers(*, actor: User) -> Sequence[User]:
    """Those who may have decided on cases of the actor's sites, by name."""
    return db.session.scalars(
        select(User)
        .where(
            User.user_roles.any(UserRole.role.in_(_deciding_roles())),
            User.sites.any(Site.id.in_(visible_site_ids(actor))),
        )
        .order_by(User.full_name, User.id)
    ).all()


def _deciding_roles() -> list[Role]:
    return [role for role in Role if Permission.REVIEW_CASES in role.permissions]
