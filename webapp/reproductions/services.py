"""Ask for a reproduction, claim it, compare what comes of it, fail: as explanations are."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select

from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments import services as assessments
from webapp.assessments.models import AssessedImage, Assessment, State
from webapp.assessments.queries import is_due
from webapp.assessments.services import AssessmentResult, ImageResult, named_code
from webapp.catalogue.models import Finding
from webapp.catalogue.queries import findings_by_code
from webapp.db import db, now, transaction
from webapp.errors import Conflict
from webapp.jobs import REPRODUCE
from webapp.registry.models import ModelVersion
from webapp.reproductions.models import Reproduction

KIND = leases.Kind(
    rows=Reproduction,
    job=REPRODUCE,
    word="reproduction",
    detail=lambda reproduction: {"case_id": reproduction.assessment.case_id},
)

ELSEWHERE_SECONDS = 15
"""So long what needs a bundle that a worker has not is left to one that has it."""


@dataclass(frozen=True)
class Claim:
    """One reproduction that a worker holds."""

    reproduction_id: int
    reading: assessments.Claim
    """The input as it was fed, and the bundle."""
    engine: str
    """That the answer on record came from."""

    @property
    def lease_token(self) -> str:
        return self.reading.lease_token


def request(*, actor: User, assessment: Assessment) -> Reproduction:
    """Have the input of an assessment read once more with its own bundle; what is asked for
    already is not asked for twice.

    Raises:
        Conflict: `not_read`: there is nothing to compare with.
    """
    if assessment.completed_at is None:
        raise Conflict("not_read")
    with transaction():
        # Whoever asks for the same at the same time waits here, and finds the row.
        db.session.execute(
            select(Assessment.id).where(Assessment.id == assessment.id).with_for_update()
        )
        for asked in db.session.scalars(
            select(Reproduction).where(Reproduction.assessment_id == assessment.id)
        ):
            if asked.state.is_open:
                return asked
        reproduction = Reproduction(assessment=assessment)
        KIND.put_in_queue(reproduction)
        KIND.record("requested", reproduction, actor=actor, assessment_id=assessment.id)
    return reproduction


def claim(*, worker: str, bundle_sha256s: Collection[str], lease_seconds: int) -> Claim | None:
    """Take what has waited longest, of the bundles that the worker has; None if nothing waits.

    What nobody with its bundle has taken for a while is taken too, so that it fails, and says that
    the bundle is missing, instead of waiting for ever.
    """
    is_left = Reproduction.scheduled_at < now() - dt.timedelta(seconds=ELSEWHERE_SECONDS)
    with transaction():
        reproduction = db.session.scalars(
            select(Reproduction)
            .join(Reproduction.assessment)
            .join(Assessment.model_version)
            .where(
                is_due(Reproduction),
                or_(ModelVersion.bundle_sha256.in_(bundle_sha256s), is_left),
            )
            .order_by(Reproduction.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=Reproduction)
        ).one_or_none()
        if reproduction is None:
            return None
        token = leases.take(
            Reproduction, [reproduction.id], worker=worker, lease_seconds=lease_seconds
        )
        return Claim(
            reproduction_id=reproduction.id,
            reading=assessments.input_of(reproduction.assessment, lease_token=token),
            engine=reproduction.assessment.engine or "",
        )


def complete(*, claim: Claim, result: AssessmentResult, tolerance: float) -> bool:
    """Compare what came of a claim with what is on record, and end the work. False, and nothing
    written, if it was lost."""
    with transaction():
        reproduction = KIND.held(claim.reproduction_id, claim.lease_token)
        if reproduction is None:
            return False
        assessment = reproduction.assessment
        findings = findings_by_code(assessment.model_version.reading_task_id)
        pairs = list(zip(assessment.images, result.images, strict=True))
        largest = max(_difference(read, said) for read, said in pairs)
        reproduction.state = State.COMPLETED
        reproduction.completed_at = now()
        reproduction.answers = [_answer(said, findings) for said in result.images]
        reproduction.largest_difference = largest
        reproduction.tolerance = tolerance
        reproduction.same_answers = all(_is_same(read, said, findings) for read, said in pairs)
        reproduction.same_input = assessment.metadata_encoded == dict(result.metadata_encoded)
        reproduction.engine = result.engine
        reproduction.code_version = result.code_version
        leases.let_go(reproduction)
        KIND.record("completed", reproduction, is_same=reproduction.is_same)
    return True


def _answer(said: ImageResult, findings: Mapping[str, Finding]) -> dict[str, Any]:
    return {
        "finding": named_code(said, findings),
        "reason": said.reason if said.abstained else None,
        "probabilities": dict(said.probabilities),
    }


def _difference(read: AssessedImage, said: ImageResult) -> float:
    """The largest, of any probability of one image."""
    return max(
        abs(kept.probability - said.probabilities[kept.finding.code]) for kept in read.predictions
    )


def _is_same(read: AssessedImage, said: ImageResult, findings: Mapping[str, Finding]) -> bool:
    return (read.finding_id, read.abstained, read.abstention_reason) == (
        findings[named_code(said, findings)].id,
        said.abstained,
        said.reason,
    )
