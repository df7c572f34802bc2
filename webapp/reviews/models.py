"""Decisions on cases: rows that the database lets nobody change or remove."""

import datetime as dt
import enum

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.accounts.models import User
from webapp.assessments.models import Assessment
from webapp.cases.models import Case
from webapp.catalogue.models import Finding
from webapp.catalogue.wording import translated
from webapp.db import Base, value_enum
from webapp.rendering import day


class Decision(enum.StrEnum):
    """What a clinician decides on a case."""

    AGREE = "agree"
    OVERRIDE = "override"
    UNCERTAIN = "uncertain"
    VOID = "void"
    """The case should not be there: sent by mistake, or of the wrong patient."""

    @property
    def label(self) -> str:
        return _DECISION_LABELS[self]

    @property
    def names_finding(self) -> bool:
        return self in (Decision.AGREE, Decision.OVERRIDE)


_DECISION_LABELS = {
    Decision.AGREE: _l("Agrees with the model"),
    Decision.OVERRIDE: _l("Own finding"),
    Decision.UNCERTAIN: _l("Uncertain"),
    Decision.VOID: _l("Void"),
}


class ReportStatus(enum.StrEnum):
    """How binding what is said of a case is; the codes of FHIR's DiagnosticReport."""

    PRELIMINARY = "preliminary"
    """Read by a model, and signed by nobody."""
    FINAL = "final"
    AMENDED = "amended"
    CANCELLED = "cancelled"

    @property
    def label(self) -> str:
        return _STATUS_LABELS[self]

    @property
    def tone(self) -> str:
        return _STATUS_TONES[self]


_STATUS_LABELS = {
    ReportStatus.PRELIMINARY: _l("Preliminary"),
    ReportStatus.FINAL: _l("Final"),
    ReportStatus.AMENDED: _l("Amended"),
    ReportStatus.CANCELLED: _l("Cancelled"),
}
_STATUS_TONES = {
    ReportStatus.PRELIMINARY: "notice",
    ReportStatus.FINAL: "good",
    ReportStatus.AMENDED: "good",
    ReportStatus.CANCELLED: "neutral",
}


class OutcomeSource(enum.StrEnum):
    """How it became known what a case really was."""

    HISTOLOGY = "histology"
    FOLLOW_UP = "follow_up"
    OTHER = "other"

    @property
    def label(self) -> str:
        return _SOURCE_LABELS[self]


_SOURCE_LABELS = {
    OutcomeSource.HISTOLOGY: _l("Histology"),
    OutcomeSource.FOLLOW_UP: _l("Follow-up"),
    OutcomeSource.OTHER: _l("Another source, named in the note"),
}


class Review(Base):
    """One version of the decision on a case; the latest one counts."""

    __tablename__ = "reviews"
    __table_args__ = (
        UniqueConstraint("case_id", "version"),
        UniqueConstraint("case_id", "form_token"),
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint(
            "(decision IN ('agree', 'override')) = (finding_id IS NOT NULL)",
            name="finding_when_decided",
        ),
        CheckConstraint(
            "decision <> 'agree' OR assessment_id IS NOT NULL", name="agrees_with_an_assessment"
        ),
        CheckConstraint(
            "(version > 1 OR decision = 'void') = (reason IS NOT NULL)", name="reason_when_changed"
        ),
        Index(None, "reviewer_id"),
        Index(None, "finding_id"),
        Index(None, "decision", "version"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    version: Mapped[int]
    """From 1; a later one is an amendment."""
    assessment_id: Mapped[int | None] = mapped_column(ForeignKey("assessments.id"))
    """The one that was shown; None if there was none."""
    decision: Mapped[Decision] = mapped_column(value_enum(Decision))
    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id"))
    """The model's own where the reviewer agrees."""
    comment: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    """Why the decision was amended, or the case is void."""
    form_token: Mapped[str] = mapped_column(String(64))
    """Names the form that was sent: the same one sent again is the same review."""
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    signed_at: Mapped[dt.datetime]

    case: Mapped[Case] = relationship()
    assessment: Mapped[Assessment | None] = relationship()
    finding: Mapped[Finding | None] = relationship()
    reviewer: Mapped[User] = relationship()

    @property
    def status(self) -> ReportStatus:
        """Of the report, as long as this version is the latest."""
        if self.decision is Decision.VOID:
            return ReportStatus.CANCELLED
        return ReportStatus.FINAL if self.version == 1 else ReportStatus.AMENDED

    @property
    def in_words(self) -> str:
        """The decision, and the finding if it names one."""
        words = str(self.decision.label)
        return f"{words}: {translated(self.finding.name)}" if self.finding else words


class Impression(Base):
    """What a clinician saw before they were shown what the model or a colleague says."""

    __tablename__ = "impressions"
    __table_args__ = (UniqueConstraint("case_id", "reader_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    reader_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id"))
    """None where the reader was uncertain."""
    saved_at: Mapped[dt.datetime]

    case: Mapped[Case] = relationship()
    reader: Mapped[User] = relationship()
    finding: Mapped[Finding | None] = relationship()


def outcome_in_words(name: str, source: OutcomeSource, found_on: dt.date) -> str:
    """What was found, by what, and when."""
    return f"{name}, {source.label}, {day(found_on)}"


class Outcome(Base):
    """What a case turned out to be; the latest version is its reference label."""

    __tablename__ = "outcomes"
    __table_args__ = (
        UniqueConstraint("case_id", "version"),
        UniqueConstraint("case_id", "form_token"),
        CheckConstraint(
            "(finding_id IS NOT NULL AND source <> 'other') OR note <> ''",
            name="note_when_not_clear",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    version: Mapped[int]
    """From 1; a later one corrects those before it."""
    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id"))
    """None where it is no finding of the reading task."""
    source: Mapped[OutcomeSource] = mapped_column(value_enum(OutcomeSource))
    found_on: Mapped[dt.date]
    note: Mapped[str] = mapped_column(Text)
    form_token: Mapped[str] = mapped_column(String(64))
    """Names the form that was sent: the same one sent again is the same outcome."""
    recorded_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    recorded_at: Mapped[dt.datetime]

    case: Mapped[Case] = relationship()
    finding: Mapped[Finding | None] = relationship()
    recorded_by: Mapped[User] = relationship()

    @property
    def in_words(self) -> str:
        """What was found, by what, and when."""
        name = translated(self.finding.name) if self.finding else _("none of the findings")
        return outcome_in_words(name, self.source, self.found_on)


class SecondRead(Base):
    """What a second reader says of a signed decision; a later version of it is read anew."""

    __tablename__ = "second_reads"
    __table_args__ = (UniqueConstraint("review_id", "reader_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    review_id: Mapped[int] = mapped_column(ForeignKey("reviews.id"))
    reader_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    finding_id: Mapped[int | None] = mapped_column(ForeignKey("findings.id"))
    """None where the reader is uncertain."""
    comment: Mapped[str] = mapped_column(Text)
    read_at: Mapped[dt.datetime]

    review: Mapped[Review] = relationship()
    reader: Mapped[User] = relationship()
    finding: Mapped[Finding | None] = relationship()

    @property
    def agrees(self) -> bool:
        return self.finding_id == self.review.finding_id
