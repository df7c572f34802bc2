"""Change plans, comparisons, and requests that a model serve. (Which one serves, and the ledger of
which one did when, is `registry`'s.)"""

import datetime as dt
import enum
from typing import Any, cast

from flask_babel import lazy_gettext as _l
from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.accounts.models import User
from webapp.assessments.models import Leased, lease_checks
from webapp.catalogue.models import ReadingTask
from webapp.db import Base, now, value_enum
from webapp.promotion.plans import Plan
from webapp.registry.models import ModelVersion

_WAITS = text("state = 'scheduled'")
_IS_HELD = text("state = 'in_progress'")
_IS_OPEN = text("state IN ('scheduled', 'in_progress')")
_IS_UNDECIDED = text("decision IS NULL")


class ChangePlan(Base):
    """What a candidate for a reading task has to show, in one version; the latest one counts. The
    database lets nobody change or remove one."""

    __tablename__ = "change_plans"
    __table_args__ = (
        UniqueConstraint("reading_task_id", "version"),
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint("changed_by_id IS NULL OR reason <> ''", name="reason_given"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"))
    version: Mapped[int]
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text)
    changed_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None: the one that comes with Firstlook."""
    changed_at: Mapped[dt.datetime]

    reading_task: Mapped[ReadingTask] = relationship()
    changed_by: Mapped[User | None] = relationship()

    @property
    def plan(self) -> Plan:
        """The document, read."""
        return Plan.from_document(self.document)


class Verdict(enum.StrEnum):
    """What a comparison came to."""

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def label(self) -> str:
        return _VERDICT_LABELS[self]

    @property
    def tone(self) -> str:
        return _VERDICT_TONES[self]


_VERDICT_LABELS = {
    Verdict.PASSED: _l("Passed"),
    Verdict.FAILED: _l("Not passed"),
    Verdict.REFUSED: _l("Could not be compared"),
}
_VERDICT_TONES = {
    Verdict.PASSED: "good",
    Verdict.FAILED: "danger",
    Verdict.REFUSED: "warning",
}


class Comparison(Leased, Base):
    """A candidate and the version that serves, picture by picture on the locked test set, and what
    the plan makes of it."""

    __tablename__ = "comparisons"
    __table_args__ = (
        *lease_checks(),
        CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)", name="completed_at_when_made"
        ),
        CheckConstraint("(state = 'completed') = (verdict IS NOT NULL)", name="verdict_when_made"),
        CheckConstraint(
            "verdict IS NULL OR (verdict = 'refused') = (refusal IS NOT NULL)",
            name="refusal_when_refused",
        ),
        CheckConstraint(
            "verdict IS NULL OR verdict = 'refused' OR (result IS NOT NULL AND checks IS NOT NULL"
            " AND test_sha256 IS NOT NULL AND predictions_sha256 IS NOT NULL)",
            name="result_when_judged",
        ),
        CheckConstraint("candidate_id <> champion_id", name="of_two"),
        Index(
            "ix_comparisons_claimable",
            "id",
            "not_before_at",
            sqlite_where=_WAITS,
            postgresql_where=_WAITS,
        ),
        Index(
            "ix_comparisons_leased",
            "lease_expires_at",
            sqlite_where=_IS_HELD,
            postgresql_where=_IS_HELD,
        ),
        Index(
            "uq_comparisons_open",
            "candidate_id",
            unique=True,
            sqlite_where=_IS_OPEN,
            postgresql_where=_IS_OPEN,
        ),
    )

    candidate_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    champion_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    """What served when it was asked for."""
    plan_id: Mapped[int] = mapped_column(ForeignKey("change_plans.id"))
    requested_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None: the command line."""
    progress: Mapped[dict[str, int] | None] = mapped_column(JSON)
    """How many readings are done, as `read`, and of how many, as `of`: two of each picture; None
    before the first."""
    verdict: Mapped[Verdict | None] = mapped_column(value_enum(Verdict))
    refusal: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """Why it could not be made: a `code`, and what a sentence needs to name."""
    test_sha256: Mapped[str | None] = mapped_column(String(64))
    """Over the hashes of the pictures, in order."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """As `ml.prove` gives it."""
    checks: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    """As `verdicts.judge` gives them."""
    predictions_sha256: Mapped[str | None] = mapped_column(String(64))
    """What both said of each picture: a CSV table in the store."""

    candidate: Mapped[ModelVersion] = relationship(foreign_keys=candidate_id)
    champion: Mapped[ModelVersion] = relationship(foreign_keys=champion_id)
    plan: Mapped[ChangePlan] = relationship()
    requested_by: Mapped[User | None] = relationship()

    @property
    def seconds_left(self) -> float | None:
        """How long the readings that are left take if they take as long as those that are done;
        None where nothing tells."""
        if self.started_at is None or not self.progress:
            return None
        read, of = self.progress["read"], self.progress["of"]
        return (now() - self.started_at).total_seconds() * (of - read) / read


class Decision(enum.StrEnum):
    """What became of a request."""

    APPROVED = "approved"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    OVERTAKEN = "overtaken"

    @property
    def label(self) -> str:
        return _DECISION_LABELS[self]

    @property
    def tone(self) -> str:
        return _DECISION_TONES[self]


_DECISION_LABELS = {
    Decision.APPROVED: _l("Approved"),
    Decision.DECLINED: _l("Declined"),
    Decision.WITHDRAWN: _l("Withdrawn"),
    Decision.OVERTAKEN: _l("Overtaken: another version serves since"),
}
_DECISION_TONES = {
    Decision.APPROVED: "good",
    Decision.DECLINED: "danger",
    Decision.WITHDRAWN: "neutral",
    Decision.OVERTAKEN: "neutral",
}


class PromotionRequest(Base):
    """Somebody asks that a candidate which passed serve, or the first version of a reading task,
    which there is nothing to compare with; somebody else decides, or two others do. Where the plan
    asks for two, the first of them is noted, and the second one decides."""

    __tablename__ = "promotion_requests"
    __table_args__ = (
        CheckConstraint(
            "(decision IS NULL) = (decided_at IS NULL)", name="decided_at_when_decided"
        ),
        CheckConstraint(
            "decision IS NULL OR decision <> 'approved'"
            " OR (decided_by_id IS NOT NULL AND decided_by_id <> requested_by_id)",
            name="approved_by_another",
        ),
        CheckConstraint(
            "(first_approved_by_id IS NULL) = (first_approved_at IS NULL)",
            name="first_approved_at_when_approved",
        ),
        CheckConstraint(
            "first_approved_by_id IS NULL OR (first_approved_by_id <> requested_by_id"
            " AND (decision IS NULL OR decision <> 'approved'"
            " OR first_approved_by_id <> decided_by_id))",
            name="first_approved_by_another",
        ),
        CheckConstraint("reason <> ''", name="reason_given"),
        CheckConstraint(
            "(comparison_id IS NULL) = (uncompared_id IS NOT NULL)",
            name="uncompared_without_comparison",
        ),
        CheckConstraint(
            "(uncompared_id IS NULL) = (plan_id IS NULL)", name="plan_where_uncompared"
        ),
        Index(
            "uq_promotion_requests_open",
            "reading_task_id",
            unique=True,
            sqlite_where=_IS_UNDECIDED,
            postgresql_where=_IS_UNDECIDED,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"))
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparisons.id"), index=True)
    uncompared_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    """The version, where none served that it could be compared with; the database wants either."""
    plan_id: Mapped[int | None] = mapped_column(ForeignKey("change_plans.id"))
    """The plan in force, where no comparison names it."""
    reason: Mapped[str] = mapped_column(Text)
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    requested_at: Mapped[dt.datetime]
    first_approved_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """Who approved first where it takes two; None where one is enough."""
    first_approved_at: Mapped[dt.datetime | None]
    decision: Mapped[Decision | None] = mapped_column(value_enum(Decision))
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[dt.datetime | None]

    reading_task: Mapped[ReadingTask] = relationship()
    comparison: Mapped[Comparison | None] = relationship()
    uncompared: Mapped[ModelVersion | None] = relationship()
    uncompared_by: Mapped[ChangePlan | None] = relationship()
    requested_by: Mapped[User] = relationship(foreign_keys=requested_by_id)
    first_approved_by: Mapped[User | None] = relationship(foreign_keys=first_approved_by_id)
    decided_by: Mapped[User | None] = relationship(foreign_keys=decided_by_id)

    @property
    def candidate(self) -> ModelVersion:
        """The version that is to serve."""
        return self.comparison.candidate if self.comparison else cast(ModelVersion, self.uncompared)

    @property
    def plan(self) -> Plan:
        """The one that its comparison was asked for with; that it was itself, without one."""
        kept = self.comparison.plan if self.comparison else cast(ChangePlan, self.uncompared_by)
        return kept.plan

    @property
    def missing_count(self) -> int:
        """How many have still to approve."""
        return self.plan.approvals_needed - (self.first_approved_by_id is not None)

    def hindrance(self, user: User) -> str | None:
        """Why somebody whose role lets them approve models may not approve this, in a code; None
        if they may."""
        if user.id == self.requested_by_id:
            return "own_request"
        if not self.plan.lets_approve(user.username):
            return "not_named"
        return "approved_already" if user.id == self.first_approved_by_id else None
