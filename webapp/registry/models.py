"""Model versions, and the alias under which one of them serves."""

import datetime as dt
import enum
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.catalogue.models import Finding, ReadingTask
from webapp.db import Base, value_enum
from webapp.registry.facts import Facts


class Alias(enum.StrEnum):
    """A part that a model version plays for its reading task."""

    CHAMPION = "champion"


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


class ModelAlias(Base):
    """Which version plays which part for a reading task now."""

    __tablename__ = "model_aliases"

    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"), primary_key=True)
    alias: Mapped[Alias] = mapped_column(value_enum(Alias), primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    since: Mapped[dt.datetime]

    model_version: Mapped[ModelVersion] = relationship()


class ModelReference(Base):
    """What pictures and answers were like where a version was tuned, for monitoring to hold later
    ones against."""

    __tablename__ = "model_references"

    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    figures: Mapped[dict[str, Any]] = mapped_column(JSON)
    """As `ml.reference` makes them."""


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
