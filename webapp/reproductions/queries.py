"""Which reproductions there are, as far as the one who asks may see them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from webapp.accounts.models import User
from webapp.assessments.models import Assessment, Purpose
from webapp.cases.models import Case
from webapp.cases.queries import visible_site_ids
from webapp.db import db
from webapp.errors import NotFound
from webapp.reproductions.models import Reproduction
from webapp.reviews.queries import may_see_answer


def of_assessments(assessments: Sequence[Assessment]) -> Mapping[int, Sequence[Reproduction]]:
    """What was asked for of assessments, by their numbers, the latest first."""
    found: dict[int, list[Reproduction]] = {assessment.id: [] for assessment in assessments}
    for reproduction in db.session.scalars(
        select(Reproduction)
        .where(Reproduction.assessment_id.in_(found))
        .order_by(Reproduction.id.desc())
    ):
        found[reproduction.assessment_id].append(reproduction)
    return found


def get_assessment(*, actor: User, assessment_id: int) -> Assessment:
    """
    Raises:
        NotFound: there is none, its case is not at a site of the actor, or the actor has to have
            an own impression first.
    """
    assessment = db.session.scalars(
        select(Assessment)
        .join(Assessment.case)
        .where(
            Assessment.id == assessment_id,
            Assessment.purpose == Purpose.TRIAGE,
            Case.site_id.in_(visible_site_ids(actor)),
        )
    ).one_or_none()
    if assessment is None or not _may_see(actor, assessment):
        raise NotFound("assessment", assessment_id=assessment_id)
    return assessment


def get_reproduction(*, actor: User, reproduction_id: int) -> Reproduction:
    """A reproduction with the assessment that it is of.

    Raises:
        NotFound: there is none, its case is not at a site of the actor, or the actor has to have
            an own impression first.
    """
    reproduction = db.session.scalars(
        select(Reproduction)
        .join(Reproduction.assessment)
        .join(Assessment.case)
        .where(Reproduction.id == reproduction_id, Case.site_id.in_(visible_site_ids(actor)))
        .options(joinedload(Reproduction.assessment))
    ).one_or_none()
    if reproduction is None or not _may_see(actor, reproduction.assessment):
        raise NotFound("reproduction", reproduction_id=reproduction_id)
    return reproduction


def _may_see(actor: User, assessment: Assessment) -> bool:
    case_id = assessment.case_id
    return case_id in may_see_answer(actor=actor, case_ids=[case_id])
