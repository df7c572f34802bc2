"""Reproductions: the rows that are the work, and how the two answers compare."""

from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.assessments.models import Assessment, Leased, lease_checks
from webapp.db import Base

_WAITS = text("state = 'scheduled'")
_IS_HELD = text("state = 'in_progress'")
_IS_OPEN = text("state IN ('scheduled', 'in_progress')")


class Reproduction(Leased, Base):
    """The stored input of an assessment, read once more with the stored bundle.

    It says how far an answer can be had again, and is never an answer itself: no list, order or
    report knows of it.
    """

    __tablename__ = "reproductions"
    __table_args__ = (
        *lease_checks(),
        CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)", name="completed_at_when_made"
        ),
        CheckConstraint(
            "state <> 'completed' OR (answers IS NOT NULL AND largest_difference IS NOT NULL"
            " AND tolerance IS NOT NULL AND same_answers IS NOT NULL AND same_input IS NOT NULL"
            " AND engine IS NOT NULL AND code_version IS NOT NULL)",
            name="compared_when_made",
        ),
        Index(
            "ix_reproductions_claimable",
            "id",
            "not_before_at",
            sqlite_where=_WAITS,
            postgresql_where=_WAITS,
        ),
        Index(
            "ix_reproductions_leased",
            "lease_expires_at",
            sqlite_where=_IS_HELD,
            postgresql_where=_IS_HELD,
        ),
        Index(
            "uq_reproductions_open",
            "assessment_id",
            unique=True,
            sqlite_where=_IS_OPEN,
            postgresql_where=_IS_OPEN,
        ),
    )

    assessment_id: Mapped[int] = mapped_column(ForeignKey("assessments.id"), index=True)
    answers: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    """Of each image in order: the code of the `finding` that is named, the `reason` for which the
    answer was held back or None, and the `probabilities` by the codes of the findings."""
    largest_difference: Mapped[float | None]
    """Of any probability of any image from the one on record."""
    tolerance: Mapped[float | None]
    """The largest difference that counts as the same: the one of the bundle's own test."""
    same_answers: Mapped[bool | None]
    """Each image is named, or held back for a reason, as it was."""
    same_input: Mapped[bool | None]
    """The network received the same for the metadata."""

    assessment: Mapped[Assessment] = relationship()

    @property
    def is_within_tolerance(self) -> bool:
        """Whether no probability differs by more than counts as the same."""
        if self.largest_difference is None or self.tolerance is None:
            return False
        return self.largest_difference <= self.tolerance

    @property
    def is_same(self) -> bool:
        """Whether the answer was had again."""
        return bool(self.is_within_tolerance and self.same_answers and self.same_input)
