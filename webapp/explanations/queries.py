"""Which explanations there are, as far as the one who asks may see them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage, Assessment, Prediction, Purpose
from webapp.cases.models import Case
from webapp.cases.queries import visible_site_ids
from webapp.db import db
from webapp.errors import NotFound
from webapp.explanations.models import Explanation
from webapp.reviews.queries import may_see_answer


def of_assessment(assessment: Assessment) -> Mapping[int, Sequence[Explanation]]:
    """What was asked for of an assessment, by the numbers of its assessed images, in order."""
    found: dict[int, list[Explanation]] = {read.id: [] for read in assessment.images}
    for explanation in db.session.scalars(
        select(Explanation)
        .where(Explanation.assessed_image_id.in_(found))
        .order_by(Explanation.id)
        .options(joinedload(Explanation.finding), joinedload(Explanation.assessed_image))
    ):
        found[explanation.assessed_image_id].append(explanation)
    return found


def get_assessed_image(*, actor: User, assessed_image_id: int) -> AssessedImage:
    """What was said of one image, with its probabilities.

    Raises:
        NotFound: there is none, its case is not at a site of the actor, or the actor has to have
            an own impression first.
    """
    read = db.session.scalars(
        select(AssessedImage)
        .join(AssessedImage.assessment)
        .join(Assessment.case)
        .where(
            AssessedImage.id == assessed_image_id,
            Assessment.purpose == Purpose.TRIAGE,
            Case.site_id.in_(visible_site_ids(actor)),
        )
        .options(
            joinedload(AssessedImage.assessment),
            selectinload(AssessedImage.predictions).joinedload(Prediction.finding),
        )
    ).one_or_none()
    if read is None or not _may_see(actor, read):
        raise NotFound("assessed_image", assessed_image_id=assessed_image_id)
    return read


def get_explanation(*, actor: User, explanation_id: int) -> Explanation:
    """An explanation with its image and finding.

    Raises:
        NotFound: there is none, its case is not at a site of the actor, or the actor has to have
            an own impression first.
    """
    explanation = db.session.scalars(
        select(Explanation)
        .join(Explanation.assessed_image)
        .join(AssessedImage.assessment)
        .join(Assessment.case)
        .where(Explanation.id == explanation_id, Case.site_id.in_(visible_site_ids(actor)))
        .options(
            joinedload(Explanation.finding),
            joinedload(Explanation.assessed_image).joinedload(AssessedImage.assessment),
        )
    ).one_or_none()
    if explanation is None or not _may_see(actor, explanation.assessed_image):
        raise NotFound("explanation", explanation_id=explanation_id)
    return explanation


def _may_see(actor: User, read: AssessedImage) -> bool:
    case_id = read.assessment.case_id
    return case_id in may_see_answer(actor=actor, case_ids=[case_id])
