"""Install model versions, and say which one serves."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from webapp import audit, storage
from webapp.accounts.models import User
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import findings_by_code
from webapp.catalogue.services import add_reading_task
from webapp.db import db, now, transaction
from webapp.errors import Conflict
from webapp.registry.models import (
    Alias,
    ModelAlias,
    ModelReference,
    ModelVersion,
    Promotion,
    PromotionKind,
    Sample,
)
from webapp.registry.queries import champion, installed, samples_of, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSample:
    """A picture of a bundle, whose bytes are in the store."""

    name: str
    finding: str | None
    """By its code."""
    image_sha256: str
    media_type: str
    source: str


def register(
    *,
    manifest: Mapping[str, Any],
    bundle_sha256: str,
    model_card: str,
    actor: User | None = None,
) -> ModelVersion:
    """Record an installed bundle, and the reading task that it brings along. The same bundle again
    is the same version.

    Raises:
        Conflict: this version of the reading task is another bundle, or its findings differ.
    """
    with transaction():
        version = installed(bundle_sha256)
        if version is not None:
            return version
        task = add_reading_task(manifest=manifest)
        if any(other.version == manifest["version"] for other in versions_of(task.id)):
            raise Conflict("version_taken", reading_task=task.code, version=manifest["version"])
        version = ModelVersion(
            reading_task=task,
            version=manifest["version"],
            bundle_sha256=bundle_sha256,
            licence=manifest["licence"],
            intended_use=manifest["intended_use"],
            model_card=model_card,
            manifest=dict(manifest),
            installed_at=now(),
        )
        db.session.add(version)
        db.session.flush()
        audit.record(
            actor=actor,
            action="model.installed",
            subject=version,
            reading_task=task.code,
            version=version.version,
            bundle_sha256=bundle_sha256,
        )
        return version


def keep_archive(*, version: ModelVersion, archive_sha256: str) -> None:
    """Note where in the store a version's bundle is, for workers of other machines."""
    with transaction():
        storage.hold([archive_sha256])
        version.archive_sha256 = archive_sha256


def promote_first(*, version: ModelVersion, actor: User | None = None) -> bool:
    """Let a version serve if none serves its reading task yet; says whether it does so now.

    A bundle may say that it is not made to serve, but to be compared with.
    """
    with transaction():
        lock_parts(reading_task_id=version.reading_task_id)
        if not version.may_serve or champion(version.reading_task_id):
            return False
        let_serve(
            line=Promotion(kind=PromotionKind.FIRST, model_version=version, reason=""), actor=actor
        )
        return True


def keep_reference(*, version: ModelVersion, figures: Mapping[str, Any]) -> None:
    """Keep what pictures and answers were like where a version was tuned; the first one stays."""
    with transaction():
        if db.session.get(ModelReference, version.id) is None:
            db.session.add(ModelReference(model_version_id=version.id, figures=dict(figures)))


def let_serve(*, line: Promotion, actor: User | None) -> None:
    """Have a version serve its reading task from now on, and write the line of the ledger that says
    so. In an open `transaction()` that holds the parts."""
    version = line.model_version
    line.former = champion(version.reading_task_id)
    line.reading_task_id = version.reading_task_id
    line.serves_from = give_part(version=version, alias=Alias.CHAMPION).since
    db.session.add(line)
    db.session.flush()
    audit.record(
        actor=actor,
        action="model.rolled_back" if line.kind is PromotionKind.ROLLBACK else "model.promoted",
        subject=version,
        version=version.version,
        former=line.former.version if line.former else None,
        bundle_sha256=version.bundle_sha256,
        comparison_id=line.comparison_id,
    )


def give_part(
    *, version: ModelVersion, alias: Alias, until: dt.datetime | None = None
) -> ModelAlias:
    """Have a version play a part in place of the one that did. In an open `transaction()` that
    holds the parts."""
    key = (version.reading_task_id, alias)
    part = db.session.get(ModelAlias, key, populate_existing=True)
    if part is None:
        part = ModelAlias(reading_task_id=version.reading_task_id, alias=alias)
        db.session.add(part)
    part.model_version = version
    part.since = now()
    part.until = until
    db.session.flush()
    return part


def take_part(*, version: ModelVersion, alias: Alias) -> bool:
    """Have a version play a part no longer; False if it does not. In an open `transaction()` that
    holds the parts."""
    part = db.session.get(ModelAlias, (version.reading_task_id, alias), populate_existing=True)
    if part is None or part.model_version_id != version.id:
        return False
    db.session.delete(part)
    db.session.flush()
    return True


def lock_parts(*, reading_task_id: int) -> None:
    """Keep others from changing who plays which part for a reading task, to the end of the open
    `transaction()`."""
    db.session.execute(
        select(ReadingTask.id)
        .where(ReadingTask.id == reading_task_id)
        .with_for_update(key_share=True)  # cases that refer to it may come in meanwhile
    )


def add_samples(*, version: ModelVersion, samples: Sequence[NewSample]) -> None:
    """Keep the pictures that a version brings along; those that are there are left as they are."""
    with transaction():
        storage.hold(sample.image_sha256 for sample in samples)
        findings = findings_by_code(version.reading_task_id)
        known = {sample.name for sample in samples_of(version)}
        db.session.add_all(
            Sample(
                model_version=version,
                finding=findings[sample.finding] if sample.finding else None,
                name=sample.name,
                image_sha256=sample.image_sha256,
                media_type=sample.media_type,
                source=sample.source,
            )
            for sample in samples
            if sample.name not in known
        )
