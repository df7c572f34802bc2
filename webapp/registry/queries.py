"""Which model versions there are, and which one serves."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, Select, and_, select
from sqlalchemy.orm import aliased, contains_eager, joinedload

from webapp.catalogue.models import ReadingTask
from webapp.db import db
from webapp.errors import NotFound
from webapp.registry.models import (
    Alias,
    ModelAlias,
    ModelVersion,
    Promotion,
    PromotionKind,
    Sample,
)


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed version, and what it does."""

    version: ModelVersion
    champion_since: dt.datetime | None
    shadow_since: dt.datetime | None
    """Since when it reads every new case unseen."""


def champion(reading_task_id: int) -> ModelVersion | None:
    """The version that reads new cases of a reading task; None where none was installed."""
    return _playing(Alias.CHAMPION, reading_task_id)


def shadow(reading_task_id: int) -> ModelVersion | None:
    """The version that reads new cases of a reading task unseen by clinicians; None where none
    does."""
    return _playing(Alias.SHADOW, reading_task_id)


def shadow_until(reading_task_id: int) -> dt.datetime | None:
    """Until when that version does; None where it does not end by itself, or none does."""
    part = db.session.get(ModelAlias, (reading_task_id, Alias.SHADOW))
    return part.until if part else None


def shadows_over(moment: dt.datetime) -> Sequence[ModelVersion]:
    """The versions whose time to read unseen is over."""
    return db.session.scalars(
        select(ModelVersion)
        .join(ModelAlias, ModelAlias.model_version_id == ModelVersion.id)
        .where(ModelAlias.alias == Alias.SHADOW, ModelAlias.until <= moment)
        .order_by(ModelVersion.id)
    ).all()


def _playing(alias: Alias, reading_task_id: int) -> ModelVersion | None:
    return db.session.scalars(
        select(ModelVersion)
        .join(ModelAlias, ModelAlias.model_version_id == ModelVersion.id)
        .where(ModelAlias.reading_task_id == reading_task_id, ModelAlias.alias == alias)
    ).one_or_none()


def champions() -> list[ModelVersion]:
    """Every version that reads new cases now."""
    return list(
        db.session.scalars(
            select(ModelVersion)
            .join(ModelAlias, ModelAlias.model_version_id == ModelVersion.id)
            .where(ModelAlias.alias == Alias.CHAMPION)
            .order_by(ModelVersion.id)
        )
    )


def installed(bundle_sha256: str) -> ModelVersion | None:
    """The version whose bundle has this hash; None if it was never installed."""
    return db.session.scalars(
        select(ModelVersion).where(ModelVersion.bundle_sha256 == bundle_sha256)
    ).one_or_none()


def image_only(version: ModelVersion) -> ModelVersion | None:
    """What a version that uses metadata can be compared with: the latest one of its reading task
    that reads images alone. None where there is none, and for a version that uses none itself."""
    if not version.facts.uses_metadata:
        return None
    others = versions_of(version.reading_task_id)
    return next((other for other in others if not other.facts.uses_metadata), None)


def versions_of(reading_task_id: int) -> list[ModelVersion]:
    """Every installed version of a reading task, the latest first."""
    return list(
        db.session.scalars(
            select(ModelVersion)
            .where(ModelVersion.reading_task_id == reading_task_id)
            .order_by(ModelVersion.installed_at.desc(), ModelVersion.id.desc())
        )
    )


def get_version(model_id: int) -> ModelVersion:
    """
    Raises:
        NotFound: there is none.
    """
    version = db.session.get(ModelVersion, model_id)
    if version is None:
        raise NotFound("model", model_id=model_id)
    return version


def ledger(reading_task_id: int | None = None) -> Sequence[Promotion]:
    """Every time that another version began to serve, the latest first: of one reading task, or of
    all."""
    lines = select(Promotion).order_by(Promotion.id.desc())
    if reading_task_id is not None:
        lines = lines.where(Promotion.reading_task_id == reading_task_id)
    people = (
        joinedload(Promotion.requested_by),
        joinedload(Promotion.first_approved_by),
        joinedload(Promotion.approved_by),
    )
    versions = joinedload(Promotion.model_version), joinedload(Promotion.former)
    return db.session.scalars(lines.options(*people, *versions)).all()


def serving_at(reading_task_id: int, moment: dt.datetime) -> Promotion | None:
    """The line of the ledger that held at a moment; None before the first."""
    return db.session.scalars(
        select(Promotion)
        .where(Promotion.reading_task_id == reading_task_id, Promotion.serves_from <= moment)
        .order_by(Promotion.id.desc())
        .limit(1)
    ).one_or_none()


def began_to_serve(*, since: dt.datetime) -> Sequence[int]:
    """The numbers of the versions that serve today and began to since then, in place of another."""
    serves = and_(
        ModelAlias.model_version_id == Promotion.model_version_id,
        ModelAlias.alias == Alias.CHAMPION,
        ModelAlias.since <= Promotion.serves_from,
    )
    return db.session.scalars(
        select(Promotion.model_version_id)
        .join(ModelAlias, serves)
        .where(Promotion.serves_from > since, Promotion.former_id.is_not(None))
    ).all()


def version_before(reading_task_id: int) -> ModelVersion | None:
    """What a rollback leads to: the version that served before the one that serves. Whoever rolls
    back twice gets to the version before that. None where nothing served before."""
    served: list[ModelVersion] = []
    for line in reversed(ledger(reading_task_id)):
        if line.kind is PromotionKind.ROLLBACK:
            served.pop()
        else:
            served.append(line.model_version)
    return served[-2] if len(served) > 1 else None


def samples_of(version: ModelVersion) -> Sequence[Sample]:
    """The pictures that a version brings along, in its order."""
    return db.session.scalars(
        select(Sample).where(Sample.model_version_id == version.id).order_by(Sample.id)
    ).all()


def sample_of_finding(finding_id: int) -> Sample | None:
    """A picture of a finding: of the version that serves, or else of the latest."""
    return db.session.scalars(
        select(Sample)
        .outerjoin(
            ModelAlias,
            and_(
                ModelAlias.model_version_id == Sample.model_version_id,
                ModelAlias.alias == Alias.CHAMPION,
            ),
        )
        .where(Sample.finding_id == finding_id)
        .order_by(ModelAlias.since.is_(None), Sample.id.desc())
        .limit(1)
    ).one_or_none()


def get_sample(sample_id: int) -> Sample:
    """
    Raises:
        NotFound: there is none.
    """
    sample = db.session.get(Sample, sample_id)
    if sample is None:
        raise NotFound("sample", sample_id=sample_id)
    return sample


def installed_by_task() -> list[tuple[ReadingTask, Sequence[Installed]]]:
    """Each reading task by name, with its versions: the champion first, then the latest."""
    rows = db.session.execute(
        _installed().order_by(
            ReadingTask.name,
            ReadingTask.id,
            ModelAlias.since.is_(None),
            ModelVersion.installed_at.desc(),
            ModelVersion.id.desc(),
        )
    )
    tasks: dict[ReadingTask, list[Installed]] = {}
    for version, *since in rows:
        tasks.setdefault(version.reading_task, []).append(Installed(version, *since))
    return list(tasks.items())


def get_installed(model_id: int) -> Installed:
    """
    Raises:
        NotFound: there is none.
    """
    row: Row[ModelVersion, dt.datetime | None, dt.datetime | None] | None = db.session.execute(
        _installed().where(ModelVersion.id == model_id)
    ).one_or_none()
    if row is None:
        raise NotFound("model")
    return Installed(*row)


def _installed() -> Select[ModelVersion, dt.datetime | None, dt.datetime | None]:
    unseen = aliased(ModelAlias)
    serves = and_(
        ModelAlias.model_version_id == ModelVersion.id, ModelAlias.alias == Alias.CHAMPION
    )
    reads = and_(unseen.model_version_id == ModelVersion.id, unseen.alias == Alias.SHADOW)
    return (
        select(ModelVersion, ModelAlias.since, unseen.since)
        .join(ModelVersion.reading_task)
        .outerjoin(ModelAlias, serves)
        .outerjoin(unseen, reads)
        .options(contains_eager(ModelVersion.reading_task))
    )
