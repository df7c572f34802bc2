"""Explanations: the rows that are the work, and what came of it."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp import storage
from webapp.assessments.models import AssessedImage, Assessment, Leased, lease_checks
from webapp.cases.models import Case, Patient
from webapp.catalogue.models import Finding
from webapp.db import Base, db


class Explanation(Leased, Base):
    """Why one finding has its probability in one image: scheduled, claimed, and ended once."""

    __tablename__ = "explanations"
    __table_args__ = (
        UniqueConstraint("assessed_image_id", "finding_id"),
        *lease_checks(),
        CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)", name="completed_at_when_made"
        ),
        CheckConstraint(
            "state <> 'completed' OR (metadata_effects IS NOT NULL AND engine IS NOT NULL"
            " AND code_version IS NOT NULL)",
            name="explained_when_made",
        ),
        Index(
            "ix_explanations_claimable",
            "id",
            "not_before_at",
            sqlite_where=text("state = 'scheduled'"),
            postgresql_where=text("state = 'scheduled'"),
        ),
        Index(
            "ix_explanations_leased",
            "lease_expires_at",
            sqlite_where=text("state = 'in_progress'"),
            postgresql_where=text("state = 'in_progress'"),
        ),
    )

    assessed_image_id: Mapped[int] = mapped_column(ForeignKey("assessed_images.id"))
    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id"))
    heat_map_sha256: Mapped[str | None] = mapped_column(String(64))
    """A stored PNG to be laid over the whole image; None also where there is nothing to be shown:
    no part of the image speaks for the finding, or the network has no layer that lies over it."""
    metadata_effects: Mapped[dict[str, float] | None] = mapped_column(JSON)
    """By each known particular that the model reads: the finding's probability as it was given,
    less what it is without that particular."""

    image_only: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What the `version` of the model that reads images alone says: the finding's `probability`,
    the codes of the findings that it `names`, and whether it `abstained`. None where there is no
    such version, or the model itself uses no metadata."""

    assessed_image: Mapped[AssessedImage] = relationship()
    finding: Mapped[Finding] = relationship()


@storage.names_pictures
def _laid_over(sha256s: Collection[str]) -> Iterable[str | None]:
    """Heat maps of patients, but for those who are erased."""
    return db.session.scalars(
        select(Explanation.heat_map_sha256)
        .join(Explanation.assessed_image)
        .join(AssessedImage.assessment)
        .join(Assessment.case)
        .join(Case.patient)
        .where(Explanation.heat_map_sha256.in_(sha256s), Patient.erased_at.is_(None))
    )
