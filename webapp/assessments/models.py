"""Assessments and predictions: the rows that are the work, and what came of it."""

import datetime as dt
import enum
from collections.abc import Iterable
from typing import Any

from flask_babel import lazy_gettext as _l
from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.cases.models import Case, Image
from webapp.catalogue.models import Finding, FindingTerms, Priority
from webapp.db import Base, now, value_enum
from webapp.registry.models import ModelVersion

MAX_ATTEMPTS = 3
PAUSES_SECONDS = (5, 60)
"""After the first failed attempt, and after the second: a store that is away comes back."""


SHADOW_RANK = -1
"""Of what waits for a worker unseen: after everything that somebody waits for."""

WITHOUT_ANSWER = Priority.URGENT
"""Somebody has to read an image that a model gave no answer for, and before what has one."""

_IS_CURRENT = text("superseded_at IS NULL AND purpose = 'triage'")
_IS_OPEN = text("superseded_at IS NULL AND purpose = 'triage' AND settled_at IS NULL")
_IS_SHADOW = text("purpose = 'shadow'")


class State(enum.StrEnum):
    """Where the work stands."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    ABSTAINED = "abstained"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def label(self) -> str:
        return _STATE_LABELS[self]

    @property
    def tone(self) -> str:
        return _STATE_TONES[self]

    @property
    def is_open(self) -> bool:
        """Something will still happen by itself."""
        return self in (State.SCHEDULED, State.IN_PROGRESS)


_STATE_LABELS = {
    State.SCHEDULED: _l("Waiting"),
    State.IN_PROGRESS: _l("Being read"),
    State.COMPLETED: _l("Read by model"),
    State.ABSTAINED: _l("Model abstained"),
    State.FAILED: _l("Failed"),
    State.CANCELLED: _l("Cancelled"),
}
_STATE_TONES = {
    State.SCHEDULED: "neutral",
    State.IN_PROGRESS: "progress",
    State.COMPLETED: "good",
    State.ABSTAINED: "warning",
    State.FAILED: "danger",
    State.CANCELLED: "neutral",
}


class Failure(enum.StrEnum):
    """Why an assessment failed for good."""

    UNREADABLE_IMAGE = "unreadable_image"
    MISSING_IMAGE = "missing_image"
    MISSING_BUNDLE = "missing_bundle"
    WORKER_LOST = "worker_lost"
    UNEXPECTED = "unexpected"

    @property
    def label(self) -> str:
        return _FAILURE_LABELS[self]

    @property
    def is_final(self) -> bool:
        """Another attempt would end in the same way."""
        return self is Failure.UNREADABLE_IMAGE


_FAILURE_LABELS = {
    Failure.UNREADABLE_IMAGE: _l("A stored image could not be read."),
    Failure.MISSING_IMAGE: _l(
        "A stored image could not be fetched, or was damaged, several times."
    ),
    Failure.MISSING_BUNDLE: _l("The model's files are missing, or damaged, where it should run."),
    Failure.WORKER_LOST: _l("The reading was cut off several times and was given up."),
    Failure.UNEXPECTED: _l("The reading ended in an error several times and was given up."),
}


class Purpose(enum.StrEnum):
    """Why an assessment is made."""

    TRIAGE = "triage"
    SHADOW = "shadow"
    """To see what another version would have said. It is no answer: clinicians' pages, lists and
    exports know of `TRIAGE` only."""


class Leased:
    """Work that is a row: scheduled, claimed with a lease, and ended once."""

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[State] = mapped_column(value_enum(State))
    scheduled_at: Mapped[dt.datetime]
    not_before_at: Mapped[dt.datetime | None]
    """While it waits after a failed attempt: when the next one may begin."""
    attempt_count: Mapped[int]
    lease_token: Mapped[str | None] = mapped_column(String(64))
    """Made anew by each claim: only its holder may end the work."""
    lease_expires_at: Mapped[dt.datetime | None]
    claimed_by: Mapped[str | None] = mapped_column(String(120))
    """Host and process of the latest claim."""
    started_at: Mapped[dt.datetime | None]
    completed_at: Mapped[dt.datetime | None]
    failure: Mapped[Failure | None] = mapped_column(value_enum(Failure))
    last_error: Mapped[str | None] = mapped_column(Text)
    """What the latest failed attempt reported; for administrators, never shown to clinicians."""
    engine: Mapped[str | None] = mapped_column(String(120))
    code_version: Mapped[str | None] = mapped_column(String(60))


def lease_checks() -> tuple[CheckConstraint, ...]:
    """What holds for every table of leased work; made anew for each."""
    return (
        CheckConstraint(
            "(state = 'in_progress') = (lease_token IS NOT NULL)", name="lease_when_in_progress"
        ),
        CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"
        ),
        CheckConstraint("(state = 'failed') = (failure IS NOT NULL)", name="failure_when_failed"),
    )


class Assessment(Leased, Base):
    """One model version on one case: scheduled, claimed with a lease, and ended once."""

    __tablename__ = "assessments"
    __table_args__ = (
        UniqueConstraint("case_id", "model_version_id", "input_sha256", "purpose"),
        CheckConstraint(
            "(state IN ('completed', 'abstained')) = (completed_at IS NOT NULL)",
            name="completed_at_when_read",
        ),
        *lease_checks(),
        CheckConstraint(
            "state NOT IN ('completed', 'abstained') OR (finding_id IS NOT NULL"
            " AND probability IS NOT NULL AND engine IS NOT NULL AND code_version IS NOT NULL"
            " AND metadata_encoded IS NOT NULL)",
            name="answer_when_read",
        ),
        Index(
            "ix_assessments_claimable",
            "priority_rank",
            "id",
            "model_version_id",
            "not_before_at",
            sqlite_where=text("state = 'scheduled'"),
            postgresql_where=text("state = 'scheduled'"),
        ),
        Index(
            "ix_assessments_leased",
            "lease_expires_at",
            sqlite_where=text("state = 'in_progress'"),
            postgresql_where=text("state = 'in_progress'"),
        ),
        Index(
            "ix_assessments_failed",
            "id",
            sqlite_where=text("state = 'failed'"),
            postgresql_where=text("state = 'failed'"),
        ),
        Index(
            "ix_assessments_by_state",
            "state",
            "case_id",
            "priority_rank",
            sqlite_where=_IS_CURRENT,
            postgresql_where=_IS_CURRENT,
        ),
        Index(
            "ix_assessments_by_priority",
            "priority_rank",
            "case_id",
            "state",
            sqlite_where=_IS_CURRENT,
            postgresql_where=_IS_CURRENT,
        ),
        Index(
            "ix_assessments_by_finding",
            "finding_id",
            "state",
            "case_id",
            sqlite_where=_IS_CURRENT,
            postgresql_where=_IS_CURRENT,
        ),
        *(
            Index(name, *columns, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN)
            for name, *columns in (
                ("ix_assessments_by_due", "due_at", "case_id", "state", "priority_rank"),
                ("ix_assessments_by_state_due", "state", "due_at", "case_id", "priority_rank"),
                ("ix_assessments_by_priority_due", "priority_rank", "due_at", "case_id", "state"),
            )
        ),
        Index(
            "ix_assessments_shadow",
            "model_version_id",
            "case_id",
            sqlite_where=_IS_SHADOW,
            postgresql_where=_IS_SHADOW,
        ),
        Index(
            "uq_assessments_current",
            "case_id",
            unique=True,
            sqlite_where=_IS_CURRENT,
            postgresql_where=_IS_CURRENT,
        ),
    )

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    purpose: Mapped[Purpose] = mapped_column(value_enum(Purpose))
    priority_rank: Mapped[int]
    """`Priority.rank` as requested for the case, so that the most urgent is claimed first; once it
    is read, the highest of what was requested, what was found in any image, and `WITHOUT_ANSWER`
    where it failed or an image has no answer. A reading that supersedes an urgent one begins where
    that one stood. Of what is read unseen, `SHADOW_RANK` until it is read."""
    due_at: Mapped[dt.datetime]
    """When somebody has to have looked at the case, which is the order of the worklist: when it was
    sent, and what the shortest of the same priorities allows."""
    raised_by_id: Mapped[int | None] = mapped_column(ForeignKey("finding_terms.id"))
    """The change of the catalogue that made the case more urgent than its answer had, while it
    waited."""
    settled_at: Mapped[dt.datetime | None]
    """When somebody decided on the case, which waits no longer then."""

    metadata_fed: Mapped[dict[str, Any]] = mapped_column(JSON)
    """`raw` values and which were `missing`, when the work was scheduled; never changed after."""
    metadata_encoded: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What the network received for it: `vector`, `units`, `encoding_version`; set once."""
    input_sha256: Mapped[str] = mapped_column(String(64))
    """Over the hashes of the images, in order, and `metadata_fed`."""
    superseded_at: Mapped[dt.datetime | None]

    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id"))
    """The most severe finding that is the answer for an image; of all of them if it abstained."""
    probability: Mapped[float | None]
    inference_ms: Mapped[float | None]

    case: Mapped[Case] = relationship()
    model_version: Mapped[ModelVersion] = relationship()
    finding: Mapped[Finding | None] = relationship()
    raised_by: Mapped[FindingTerms | None] = relationship()
    images: Mapped[list["AssessedImage"]] = relationship(
        back_populates="assessment",
        order_by="AssessedImage.position",
        cascade="all, delete-orphan",
    )

    @property
    def priority(self) -> Priority:
        """How soon the case must be looked at: as was requested, or sooner for what was found or
        because there is no answer."""
        return list(Priority)[self.priority_rank]

    @property
    def is_overdue(self) -> bool:
        return self.due_at < now()

    @property
    def terms(self) -> FindingTerms | None:
        """What its finding meant when the answer was given; None until it has been read."""
        said = (one for image in self.images for one in image.predictions)
        return next((one.terms for one in said if one.finding_id == self.finding_id), None)

    @property
    def also(self) -> "Prediction | None":
        """What the answer is not told without: over its mark in an image with an answer, and more
        severe than what is named; of several the most severe."""
        if self.finding is None or self.state is not State.COMPLETED:
            return None
        return worst_over_mark(self.images, than=self.finding)

    @property
    def marks(self) -> list[tuple[Finding, float]]:
        """From which probability on each finding counted as present, the least first; none until
        it has been read."""
        own = self.model_version.facts.thresholds
        said = self.images[0].predictions if self.images else []
        found = [
            (one.finding, one.terms.mark if one.terms and one.terms.mark else own[one.finding.code])
            for one in said
            if (one.terms and one.terms.mark) or one.finding.code in own
        ]
        return sorted(found, key=lambda each: each[1])


class AssessedImage(Base):
    """One image that an assessment was given, named by its hash, and what was said of it."""

    __tablename__ = "assessed_images"
    __table_args__ = (UniqueConstraint("assessment_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    assessment_id: Mapped[int] = mapped_column(
        ForeignKey("assessments.id", ondelete="CASCADE"), index=True
    )
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    position: Mapped[int]
    image_sha256: Mapped[str] = mapped_column(String(64))
    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id"))
    """The finding that the model names, also where it abstained; the most severe of several."""
    abstained: Mapped[bool | None]
    """None until the image has been read."""
    abstention_reason: Mapped[str | None] = mapped_column(String(60))
    """A code that the bundle defines, such as `ambiguous`."""
    brightness: Mapped[float | None]
    """With the next two what light and focus made of the image, as its model measures it; None
    until it has been read, and where that was before this was kept."""
    contrast: Mapped[float | None]
    sharpness: Mapped[float | None]

    assessment: Mapped[Assessment] = relationship(back_populates="images")
    image: Mapped[Image] = relationship()
    finding: Mapped[Finding | None] = relationship()
    predictions: Mapped[list["Prediction"]] = relationship(
        order_by="Prediction.probability.desc()", cascade="all, delete-orphan"
    )

    @property
    def probability(self) -> float | None:
        """Of the finding that the model names; None until the image has been read."""
        named = (said for said in self.predictions if said.finding_id == self.finding_id)
        return next((said.probability for said in named), None)

    @property
    def possible(self) -> list[Finding]:
        """The findings that stay possible, the most probable first: one that is there is among them
        as often as the model's `coverage` says. What is named always is."""
        facts = self.assessment.model_version.facts
        least = facts.possible_from
        named = {self.finding_id}
        if facts.multi_label and self.predictions:
            named.add(self.predictions[0].finding_id)
        return [
            said.finding
            for said in self.predictions
            if said.finding_id in named or said.probability >= least.get(said.finding.code, 0)
        ]


class Prediction(Base):
    """The calibrated probability of one finding on one image."""

    __tablename__ = "predictions"
    __table_args__ = (
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability_range"),
        Index(
            "ix_predictions_over_mark",
            "finding_id",
            "assessed_image_id",
            sqlite_where=text("supported = 1"),
            postgresql_where=text("supported"),
        ),
    )

    assessed_image_id: Mapped[int] = mapped_column(
        ForeignKey("assessed_images.id", ondelete="CASCADE"), primary_key=True
    )
    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id"), primary_key=True)
    probability: Mapped[float]
    supported: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether the probability reaches the operating point for the finding: that of `terms`, or the
    model's own where those have none."""
    terms_id: Mapped[int | None] = mapped_column(ForeignKey("finding_terms.id"))
    """Always set, though SQLite cannot add a column that says so."""

    finding: Mapped[Finding] = relationship()
    terms: Mapped[FindingTerms | None] = relationship()
    """What the finding meant when this was said."""


def worst_over_mark(images: Iterable[AssessedImage], *, than: Finding) -> Prediction | None:
    """The most severe finding over its mark in images with an answer, if it is more severe than the
    other one."""
    over = (
        said
        for image in images
        if not image.abstained
        for said in image.predictions
        if said.supported and said.finding.severity > than.severity
    )
    return max(over, key=lambda said: (said.finding.severity, said.probability), default=None)
