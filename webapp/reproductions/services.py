"""Ask for a reproduction, claim it, compare what comes of it, fail: as explanations are."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select

from webapp import audit
from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments import services as assessments
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import AssessedImage, Assessment, Failure, State
from webapp.assessments.queries import expired_count, is_due
from webapp.assessments.services import AssessmentResult, ImageResult, named_code
from webapp.catalogue.models import Finding
from webapp.catalogue.queries import findings_by_code
from webapp.db import db, now, transaction
from webapp.errors import Conflict
from webapp.queue import ring_to_reproduce_after_commit
from webapp.registry.models import ModelVersion
from webapp.reproductions.models import Reproduction

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
        reproduction = Reproduction(assessment_id=assessment.id)
        leases.back_to_the_queue(reproduction)
        db.session.add(reproduction)
        db.session.flush()
        ring_to_reproduce_after_commit()
        audit.record(
            actor=actor,
            action="reproduction.requested",
            subject=reproduction,
            case_id=assessment.case_id,
            assessment_id=assessment.id,
        )
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


def extend_lease(*, lease_token: str, lease_seconds: int) -> bool:
    """Keep what one claim took for longer. False if it is not held any more."""
    return leases.extend(Reproduction, lease_token=lease_token, lease_seconds=lease_seconds)


def complete(*, claim: Claim, result: AssessmentResult, tolerance: float) -> bool:
    """Compare what came of a claim with what is on record, and end the work. False, and nothing
    written, if it was lost."""
    with transaction():
        reproduction = _held(claim)
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
        _record("reproduction.completed", reproduction, is_same=reproduction.is_same)
    return True


def fail_attempt(*, claim: Claim, attempt: FailedAttempt) -> bool:
    """End an attempt that did not succeed: the work waits for a while and then for a worker again,
    or has failed for good. False, and nothing written, if it was lost."""
    with transaction():
        reproduction = _held(claim)
        if reproduction is None:
            return False
        _end_attempt(reproduction, attempt)
    return True


def return_expired_leases() -> int:
    """End the attempts of workers that went silent; says how many there were."""
    if not expired_count(Reproduction):
        return 0
    with transaction():
        expired = leases.expired(Reproduction)
        for reproduction in expired:
            _end_attempt(reproduction, leases.went_silent(reproduction))
    return len(expired)


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


def _held(claim: Claim) -> Reproduction | None:
    """The claimed row, locked, if its lease is still this claim's."""
    return db.session.scalars(
        select(Reproduction)
        .where(
            Reproduction.id == claim.reproduction_id,
            Reproduction.lease_token == claim.lease_token,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def _end_attempt(reproduction: Reproduction, attempt: FailedAttempt) -> None:
    if leases.end_attempt(reproduction, attempt):
        _record("reproduction.failed", reproduction, failure=attempt.failure)
    elif attempt.failure is Failure.WORKER_LOST:
        ring_to_reproduce_after_commit()


def _record(action: str, reproduction: Reproduction, **detail: Any) -> None:
    case_id = reproduction.assessment.case_id
    db.session.flush()
    audit.record(actor=None, action=action, subject=reproduction, case_id=case_id, **detail)
