"""Model versions, the alias under which one serves, and the ledger of which one did when."""

import datetime as dt
import enum
from collections.abc import Collection, Iterable
from typing import Any

from flask_babel import lazy_gettext as _l
from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp import storage
from webapp.accounts.models import User
from webapp.catalogue.models import Finding, ReadingTask
from webapp.db import Base, db, value_enum
from webapp.registry.facts import Facts


class Alias(enum.StrEnum):
    """A part that a model version plays for its reading task."""

    CHAMPION = "champion"
    """Reads new cases."""
    SHADOW = "shadow"
    """Reads them too, unseen by clinicians."""


class ModelVersion(Base):
    """One installed bundle. The web knows a model only as this row."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("reading_task_id", "version"),
        CheckConstraint("length(bundle_sha256) = 64", name="bundle_sha256_length"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"))
    version: Mapped[str] = mapped_column(String(40))
    bundle_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    licence: Mapped[str] = mapped_column(Text)
    intended_use: Mapped[str] = mapped_column(Text)
    model_card: Mapped[str] = mapped_column(Text)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    """bundle.json as it was when the bundle was installed."""
    installed_at: Mapped[dt.datetime]
    archive_sha256: Mapped[str | None] = mapped_column(String(64))
    """The whole bundle in the store, where workers of other machines find it; None until the one
    who installs it has put it there."""

    reading_task: Mapped[ReadingTask] = relationship()

    @property
    def facts(self) -> Facts:
        """What the manifest says of the model."""
        return Facts(self.manifest)

    @property
    def may_serve(self) -> bool:
        """False for a bundle that was made only to be compared with."""
        return bool(self.manifest.get("serves", True))


class ModelAlias(Base):
    """Which version plays which part for a reading task now."""

    __tablename__ = "model_aliases"
    __table_args__ = (
        CheckConstraint("until IS NULL OR alias = 'shadow'", name="until_of_a_shadow"),
    )

    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"), primary_key=True)
    alias: Mapped[Alias] = mapped_column(value_enum(Alias), primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    since: Mapped[dt.datetime]
    until: Mapped[dt.datetime | None]
    """When it ends by itself; None where it does not."""

    model_version: Mapped[ModelVersion] = relationship()


class ModelReference(Base):
    """What pictures and answers were like where a version was tuned, for monitoring to hold later
    ones against."""

    __tablename__ = "model_references"

    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    figures: Mapped[dict[str, Any]] = mapped_column(JSON)
    """As `ml.reference` makes them."""


class PromotionKind(enum.StrEnum):
    """How a version came to serve."""

    FIRST = "first"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"

    @property
    def label(self) -> str:
        return _KIND_LABELS[self]

    @property
    def tone(self) -> str:
        return _KIND_TONES[self]


_KIND_LABELS = {
    PromotionKind.FIRST: _l("First of its reading task"),
    PromotionKind.PROMOTION: _l("Promoted"),
    PromotionKind.ROLLBACK: _l("Rolled back to"),
}
_KIND_TONES = {
    PromotionKind.FIRST: "neutral",
    PromotionKind.PROMOTION: "good",
    PromotionKind.ROLLBACK: "warning",
}


class Promotion(Base):
    """One line of the ledger: from this moment on a version serves its reading task. The database
    lets nobody change or remove one."""

    __tablename__ = "promotions"
    __table_args__ = (
        CheckConstraint("(kind = 'first') = (former_id IS NULL)", name="first_has_no_former"),
        CheckConstraint(
            "(kind = 'promotion') = (comparison_id IS NOT NULL)", name="promotion_is_proven"
        ),
        CheckConstraint(
            "kind = 'rollback' OR (kind = 'first' AND approved_by_id IS NULL)"
            " OR (requested_by_id IS NOT NULL AND approved_by_id IS NOT NULL"
            " AND requested_by_id <> approved_by_id)",
            name="promotion_by_two",
        ),
        CheckConstraint(
            "first_approved_by_id IS NULL OR (kind <> 'rollback'"
            " AND first_approved_by_id <> requested_by_id"
            " AND first_approved_by_id <> approved_by_id)",
            name="first_approved_by_a_third",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"), index=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    former_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    """What served until then; None where nothing did."""
    kind: Mapped[PromotionKind] = mapped_column(value_enum(PromotionKind))
    requested_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None: the installation itself, or the command line."""
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    first_approved_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """Who approved before, where it took two; None where one was enough."""
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparisons.id"))
    """What proved it; none of a first version, which there was nothing to compare with."""
    reason: Mapped[str] = mapped_column(Text)
    serves_from: Mapped[dt.datetime]

    reading_task: Mapped[ReadingTask] = relationship()
    model_version: Mapped[ModelVersion] = relationship(foreign_keys=model_version_id)
    former: Mapped[ModelVersion | None] = relationship(foreign_keys=former_id)
    requested_by: Mapped[User | None] = relationship(foreign_keys=requested_by_id)
    approved_by: Mapped[User | None] = relationship(foreign_keys=approved_by_id)
    first_approved_by: Mapped[User | None] = relationship(foreign_keys=first_approved_by_id)

    @property
    def is_uncompared(self) -> bool:
        """People let it serve without a comparison."""
        return self.kind is PromotionKind.FIRST and self.approved_by_id is not None

    @property
    def approvers(self) -> list[User]:
        """Who approved, in order."""
        return [user for user in (self.first_approved_by, self.approved_by) if user]


class Sample(Base):
    """A picture that a bundle brings along, and that its licence lets be shown; its bytes are in
    the store."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("model_version_id", "name"),
        CheckConstraint("source <> ''", name="source_known"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id"), index=True)
    """What it shows; None where nobody says."""
    name: Mapped[str] = mapped_column(String(120))
    """Of its file."""
    image_sha256: Mapped[str] = mapped_column(String(64))
    media_type: Mapped[str] = mapped_column(String(40))
    source: Mapped[str] = mapped_column(Text)
    """Where it is from, who made it, and under which licence."""

    model_version: Mapped[ModelVersion] = relationship()
    finding: Mapped[Finding | None] = relationship()


@storage.names_pictures
def _brought_along(sha256s: Collection[str]) -> Iterable[str]:
    return db.session.scalars(select(Sample.image_sha256).where(Sample.image_sha256.in_(sha256s)))
