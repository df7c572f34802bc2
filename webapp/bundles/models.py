"""Installations: the rows that are the work, and what came of it."""

from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.accounts.models import User
from webapp.assessments.models import Leased, lease_checks
from webapp.db import Base
from webapp.registry.models import ModelVersion

_WAITS = text("state = 'scheduled'")
_IS_HELD = text("state = 'in_progress'")


class Installation(Leased, Base):
    """A bundle that somebody sent, to be verified, exported, tested and registered: completed with
    the model version that it became, or with the problems for which it was refused."""

    __tablename__ = "installations"
    __table_args__ = (
        *lease_checks(),
        CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)", name="completed_at_when_judged"
        ),
        CheckConstraint(
            "(state = 'completed') = (model_version_id IS NOT NULL OR problems IS NOT NULL)"
            " AND (model_version_id IS NULL OR problems IS NULL)",
            name="judged_when_completed",
        ),
        Index(
            "ix_installations_claimable",
            "id",
            "not_before_at",
            sqlite_where=_WAITS,
            postgresql_where=_WAITS,
        ),
        Index(
            "ix_installations_leased",
            "lease_expires_at",
            sqlite_where=_IS_HELD,
            postgresql_where=_IS_HELD,
        ),
    )

    archive_sha256: Mapped[str] = mapped_column(String(64))
    """The archive as it was sent; in the store until it is judged."""
    file_name: Mapped[str] = mapped_column(String(255))
    """As its sender called it; never used as a path."""
    expected_sha256: Mapped[str | None] = mapped_column(String(64))
    """The hash of the bundle that its sender was told, if they were told one."""
    requested_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None for the command line."""
    problems: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    """Why it was refused: a `reason` each, and what its sentence needs to name."""
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))

    requested_by: Mapped[User | None] = relationship()
    model_version: Mapped[ModelVersion | None] = relationship()

    @property
    def is_refused(self) -> bool:
        return bool(self.problems)
