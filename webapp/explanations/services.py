"""Ask for an explanation, claim it, complete it, fail: as assessments are, with the same leases."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from webapp import storage
from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments.models import AssessedImage, Assessment, State
from webapp.assessments.queries import is_due
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid
from webapp.explanations.models import Explanation
from webapp.jobs import EXPLAIN
from webapp.registry.models import ModelVersion
from webapp.registry.queries import image_only

KIND = leases.Kind(
    rows=Explanation,
    job=EXPLAIN,
    word="explanation",
    detail=lambda explanation: {"case_id": explanation.assessed_image.assessment.case_id},
)


@dataclass(frozen=True)
class ImageOnly:
    """A version that reads images alone, to compare with."""

    version: str
    bundle_sha256: str


@dataclass(frozen=True)
class Claim:
    """One explanation that a worker holds, with everything that it needs to make it."""

    explanation_id: int
    lease_token: str
    bundle_sha256: str
    image_sha256: str
    finding: str
    """Its code."""
    metadata: Mapping[str, Any]
    """The raw values, as they were fed."""
    image_only: ImageOnly | None = None


@dataclass(frozen=True)
class Explained:
    """What a model says of how it came to a probability."""

    heat_map_sha256: str | None
    metadata_effects: Mapping[str, float]
    engine: str
    code_version: str
    image_only: Mapping[str, Any] | None = None


def request(*, actor: User, read: AssessedImage, finding_id: int | None = None) -> Explanation:
    """Have a probability explained, of the finding that the model names unless told otherwise.

    What was asked for before is not made again, unless it failed.

    Raises:
        Conflict: `no_answer`: the image has none, or it was held back.
        Invalid: `finding`: the model does not know it.
    """
    if read.finding_id is None or read.abstained is not False:
        raise Conflict("no_answer")
    wanted = read.finding_id if finding_id is None else finding_id
    if wanted not in {said.finding_id for said in read.predictions}:
        raise Invalid("finding")
    with transaction():
        # Whoever asks for the same at the same time waits here, and finds the row.
        db.session.execute(
            select(AssessedImage.id).where(AssessedImage.id == read.id).with_for_update()
        )
        explanation = db.session.scalars(
            select(Explanation)
            .where(Explanation.assessed_image_id == read.id, Explanation.finding_id == wanted)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one_or_none()
        if explanation is not None and explanation.state is not State.FAILED:
            return explanation
        if explanation is None:
            explanation = Explanation(assessed_image_id=read.id, finding_id=wanted)
        KIND.put_in_queue(explanation)
        KIND.record("requested", explanation, actor=actor)
    return explanation


def claim(*, worker: str, bundle_sha256s: Collection[str], lease_seconds: int) -> Claim | None:
    """Take what has waited longest, of the bundles that the worker has; None if nothing waits."""
    with transaction():
        explanation = db.session.scalars(
            select(Explanation)
            .join(Explanation.assessed_image)
            .join(AssessedImage.assessment)
            .join(Assessment.model_version)
            .where(is_due(Explanation), ModelVersion.bundle_sha256.in_(bundle_sha256s))
            .order_by(Explanation.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=Explanation)
        ).one_or_none()
        if explanation is None:
            return None
        read = explanation.assessed_image
        return Claim(
            explanation_id=explanation.id,
            lease_token=leases.take(
                Explanation, [explanation.id], worker=worker, lease_seconds=lease_seconds
            ),
            bundle_sha256=read.assessment.model_version.bundle_sha256,
            image_sha256=read.image_sha256,
            finding=explanation.finding.code,
            metadata=read.assessment.metadata_fed["raw"],
            image_only=_image_only(read.assessment.model_version, bundle_sha256s),
        )


def discard(*, claim: Claim, explained: Explained) -> None:
    """Remove a heat map that was made for nothing, since the work was cancelled meanwhile: what was
    erased must not come back. Of a claim that was only lost somebody else makes the same."""
    sha256 = explained.heat_map_sha256
    names_it = select(Explanation.id).where(Explanation.heat_map_sha256 == sha256)
    with transaction():
        storage.hold_all()
        explanation = db.session.get_one(Explanation, claim.explanation_id, populate_existing=True)
        if sha256 and explanation.state is State.CANCELLED and not db.session.scalar(names_it):
            storage.remove(sha256)


def complete(*, claim: Claim, explained: Explained) -> bool:
    """Write what came of a claim, and end the work. False, and nothing written, if it was lost.

    Raises:
        storage.Gone: the heat map was removed meanwhile, as somebody's who has the same one.
    """
    with transaction():
        explanation = KIND.held(claim.explanation_id, claim.lease_token)
        if explanation is None:
            return False
        if explained.heat_map_sha256:
            storage.hold([explained.heat_map_sha256])
        explanation.state = State.COMPLETED
        explanation.completed_at = now()
        explanation.heat_map_sha256 = explained.heat_map_sha256
        explanation.metadata_effects = dict(explained.metadata_effects)
        explanation.image_only = dict(explained.image_only) if explained.image_only else None
        explanation.engine = explained.engine
        explanation.code_version = explained.code_version
        leases.let_go(explanation)
        KIND.record("completed", explanation)
    return True


def _image_only(version: ModelVersion, bundle_sha256s: Collection[str]) -> ImageOnly | None:
    other = image_only(version)
    if other is None or other.bundle_sha256 not in bundle_sha256s:
        return None
    return ImageOnly(other.version, other.bundle_sha256)
