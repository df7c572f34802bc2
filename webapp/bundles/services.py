"""Ask for a bundle to be installed, claim it, register what it became or refuse it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from webapp import storage
from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments.models import State
from webapp.assessments.queries import is_due
from webapp.bundles.models import Installation
from webapp.db import db, now, on_commit, transaction
from webapp.jobs import ADMINISTER
from webapp.registry.models import ModelVersion

KIND = leases.Kind(
    rows=Installation,
    job=ADMINISTER,
    word="installation",
    detail=lambda installation: {"archive_sha256": installation.archive_sha256},
)


@dataclass(frozen=True)
class Claim:
    """One installation that a worker holds."""

    installation_id: int
    lease_token: str
    archive_sha256: str
    expected_sha256: str | None
    requested_by: User | None


def request(
    *, actor: User | None, archive: bytes, file_name: str, expected_sha256: str | None = None
) -> Installation:
    """Have the bundle in an archive installed; the archive is kept until that is done."""
    archive_sha256 = storage.put(archive)
    with transaction():
        storage.hold([archive_sha256])
        installation = Installation(
            archive_sha256=archive_sha256,
            file_name=file_name[:255],
            expected_sha256=expected_sha256,
            requested_by=actor,
        )
        KIND.put_in_queue(installation)
        KIND.record("requested", installation, actor=actor)
    return installation


def claim(*, worker: str, lease_seconds: int) -> Claim | None:
    """Take what has waited longest; None if nothing waits."""
    with transaction():
        installation = db.session.scalars(
            select(Installation)
            .where(is_due(Installation))
            .order_by(Installation.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if installation is None:
            return None
        token = leases.take(
            Installation, [installation.id], worker=worker, lease_seconds=lease_seconds
        )
        return Claim(
            installation_id=installation.id,
            lease_token=token,
            archive_sha256=installation.archive_sha256,
            expected_sha256=installation.expected_sha256,
            requested_by=installation.requested_by,
        )


def complete(*, claim: Claim, version: ModelVersion) -> bool:
    """A bundle is installed as this version. False, and nothing written, if the claim was lost."""
    return _end(claim, "completed", version.id, None, version=version.version)


def refuse(*, claim: Claim, problems: Sequence[Mapping[str, Any]]) -> bool:
    """A bundle is not installed, for these reasons. False, and nothing written, if the claim was
    lost."""
    told = [dict(problem) for problem in problems]
    return _end(claim, "refused", None, told, reasons=[one["reason"] for one in told])


def _end(
    claim: Claim,
    what: str,
    version_id: int | None,
    problems: list[dict[str, Any]] | None,
    **said: Any,
) -> bool:
    with transaction():
        installation = KIND.held(claim.installation_id, claim.lease_token)
        if installation is None:
            return False
        installation.state = State.COMPLETED
        installation.completed_at = now()
        installation.model_version_id = version_id
        installation.problems = problems
        leases.let_go(installation)
        KIND.record(what, installation, actor=claim.requested_by, **said)
        on_commit(lambda: forget_archive(claim.archive_sha256))
    return True


def forget_archive(sha256: str) -> None:
    """Remove an archive that was sent, unless it waits again or a model version is kept as it."""
    waits = select(Installation.id).where(
        Installation.archive_sha256 == sha256,
        Installation.state.in_([State.SCHEDULED, State.IN_PROGRESS, State.FAILED]),
    )
    is_kept = select(ModelVersion.id).where(ModelVersion.archive_sha256 == sha256)
    if not db.session.scalars(waits.union_all(is_kept)).first():
        storage.remove(sha256)
