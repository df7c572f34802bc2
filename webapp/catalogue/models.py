"""Reading tasks and findings, what each finding means for the work, and how long what is urgent may
wait. What administrators change is kept in versions, which the database lets nobody change or
remove."""

import datetime as dt
import enum

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

from webapp.accounts.models import Site, User
from webapp.db import Base, value_enum


class Priority(enum.StrEnum):
    """How soon something must be looked at; the codes of FHIR's request priority."""

    ROUTINE = "routine"
    URGENT = "urgent"
    ASAP = "asap"
    STAT = "stat"

    @property
    def rank(self) -> int:
        """0 for routine, up to 3 for stat."""
        return list(Priority).index(self)

    @property
    def label(self) -> str:
        return _PRIORITY_LABELS[self]

    @property
    def tone(self) -> str:
        return _PRIORITY_TONES[self]


_PRIORITY_LABELS = {
    Priority.ROUTINE: _l("Routine"),
    Priority.URGENT: _l("Urgent"),
    Priority.ASAP: _l("As soon as possible"),
    Priority.STAT: _l("Immediately"),
}
_PRIORITY_TONES = {
    Priority.ROUTINE: "neutral",
    Priority.URGENT: "notice",
    Priority.ASAP: "warning",
    Priority.STAT: "danger",
}


class Malignancy(enum.StrEnum):
    """Whether a finding is a malignant tumour."""

    NONE = "none"
    BENIGN = "benign"
    MALIGNANT = "malignant"

    @property
    def label(self) -> str:
        return _MALIGNANCY_LABELS[self]

    @property
    def tone(self) -> str:
        return _MALIGNANCY_TONES[self]


_MALIGNANCY_LABELS = {
    Malignancy.NONE: _l("Not a tumour"),
    Malignancy.BENIGN: _l("Benign"),
    Malignancy.MALIGNANT: _l("Malignant or premalignant"),
}
_MALIGNANCY_TONES = {
    Malignancy.NONE: "neutral",
    Malignancy.BENIGN: "good",
    Malignancy.MALIGNANT: "danger",
}


class RegionKind(enum.StrEnum):
    """What of a patient an image shows, where the same can be looked at again."""

    LESION = "lesion"
    EYE = "eye"

    @property
    def label(self) -> str:
        return _REGION_LABELS[self]


_REGION_LABELS = {RegionKind.LESION: _l("Lesion"), RegionKind.EYE: _l("Eye")}


class ReadingTask(Base):
    """What a model reads: one kind of image, and one question asked of it."""

    __tablename__ = "reading_tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(Text)
    dicom_modalities: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Codes of the modalities whose DICOM files show what is read; empty where any may."""
    has_sides: Mapped[bool] = mapped_column(default=False)
    """It is asked of which side of the body an image is."""
    region_kind: Mapped[RegionKind | None] = mapped_column(value_enum(RegionKind))
    """What its images are followed by; None where the next image shows something else."""
    created_at: Mapped[dt.datetime]

    findings: Mapped[list["Finding"]] = relationship(
        back_populates="reading_task", order_by="Finding.position"
    )


class Finding(Base):
    """One class of a reading task: what an answer may say.

    Name and severity are the model's. The rest is what counts today wherever no site has terms of
    its own, as the latest general `FindingTerms` say it.
    """

    __tablename__ = "findings"
    __table_args__ = (UniqueConstraint("reading_task_id", "code"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"))
    code: Mapped[str] = mapped_column(String(60))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(Text)
    malignancy: Mapped[str] = mapped_column(String(20))
    severity: Mapped[int]
    urgency: Mapped[Priority] = mapped_column(value_enum(Priority))
    recommendation: Mapped[str] = mapped_column(Text)

    reading_task: Mapped[ReadingTask] = relationship(back_populates="findings")

    @property
    def kind(self) -> Malignancy:
        """Its malignancy, with its words."""
        return Malignancy(self.malignancy)


class Version:
    """One version of something that administrators keep; the latest one of a place counts."""

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int | None] = mapped_column(ForeignKey("sites.id"))
    """None: general, for every site without its own."""
    version: Mapped[int]
    """From 1 in each place."""
    is_own: Mapped[bool]
    """False: from then on it is as everywhere else, and the rest of the row does not count."""
    reason: Mapped[str] = mapped_column(Text)
    changed_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None: it came with Firstlook, or with a bundle."""
    changed_at: Mapped[dt.datetime]


class FindingTerms(Version, Base):
    """What a finding means for the work, in one version. An answer names the one that it was given
    with."""

    __tablename__ = "finding_terms"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint("site_id IS NOT NULL OR is_own", name="general_is_own"),
        CheckConstraint("mark > 0 AND mark <= 1", name="mark_range"),
        UniqueConstraint("finding_id", "site_id", "version"),
        Index(
            "uq_finding_terms_general",
            "finding_id",
            "version",
            unique=True,
            sqlite_where=text("site_id IS NULL"),
            postgresql_where=text("site_id IS NULL"),
        ),
    )

    finding_id: Mapped[int] = mapped_column(ForeignKey("findings.id"))
    description: Mapped[str] = mapped_column(Text)
    about: Mapped[str | None] = mapped_column(Text)
    """The longer text of its page; None: the one that comes with Firstlook, if there is one."""
    malignancy: Mapped[Malignancy] = mapped_column(value_enum(Malignancy))
    urgency: Mapped[Priority] = mapped_column(value_enum(Priority))
    recommendation: Mapped[str] = mapped_column(Text)
    mark: Mapped[float | None]
    """The operating point: from which probability on the finding counts, also where it is not the
    answer. None: each model's own."""

    finding: Mapped[Finding] = relationship()
    site: Mapped[Site | None] = relationship()
    changed_by: Mapped[User | None] = relationship()


class Allowance(Version, Base):
    """How long what has a priority may wait, counted from when it was sent, in one version.

    What is said for a reading task at a site counts before what is said for the reading task, and
    that before what is said for all.
    """

    __tablename__ = "allowances"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint("reading_task_id IS NOT NULL OR is_own", name="general_is_own"),
        CheckConstraint("site_id IS NULL OR reading_task_id IS NOT NULL", name="site_of_a_task"),
        CheckConstraint(
            "0 <= stat_minutes AND stat_minutes <= asap_minutes AND asap_minutes <= urgent_minutes"
            " AND urgent_minutes <= routine_minutes",
            name="more_urgent_waits_no_longer",
        ),
        UniqueConstraint("reading_task_id", "site_id", "version"),
        *(
            Index(
                name,
                *columns,
                unique=True,
                sqlite_where=text(condition),
                postgresql_where=text(condition),
            )
            for name, columns, condition in (
                ("uq_allowances_for_all", ["version"], "reading_task_id IS NULL"),
                (
                    "uq_allowances_general",
                    ["reading_task_id", "version"],
                    "reading_task_id IS NOT NULL AND site_id IS NULL",
                ),
            )
        ),
    )

    reading_task_id: Mapped[int | None] = mapped_column(ForeignKey("reading_tasks.id"))
    """None: for every reading task without its own."""
    routine_minutes: Mapped[int]
    urgent_minutes: Mapped[int]
    asap_minutes: Mapped[int]
    stat_minutes: Mapped[int]

    reading_task: Mapped[ReadingTask | None] = relationship()
    site: Mapped[Site | None] = relationship()
    changed_by: Mapped[User | None] = relationship()

    @property
    def by_priority(self) -> dict[Priority, dt.timedelta]:
        """The time that each priority allows."""
        return {
            priority: dt.timedelta(minutes=getattr(self, f"{priority.value}_minutes"))
            for priority in Priority
        }
