"""Data sets and snapshots: what a training may learn from, and which cases are in it."""

import datetime as dt
import enum
from typing import Any

from flask_babel import lazy_gettext as _l
from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.accounts.models import User
from webapp.assessments.models import Leased, State, lease_checks
from webapp.cases.models import Case, Patient
from webapp.catalogue.models import ReadingTask
from webapp.db import Base

_WAITS = text("state = 'scheduled'")
_IS_HELD = text("state = 'in_progress'")


class Standing(enum.StrEnum):
    """Where a data set stands."""

    WAITING = "waiting"
    CHECKING = "checking"
    REGISTERED = "registered"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def label(self) -> str:
        return _STANDING_LABELS[self]

    @property
    def tone(self) -> str:
        return _STANDING_TONES[self]

    @property
    def is_open(self) -> bool:
        """Something will still happen by itself."""
        return self in (Standing.WAITING, Standing.CHECKING)


_STANDING_LABELS = {
    Standing.WAITING: _l("Waits to be checked"),
    Standing.CHECKING: _l("Being checked"),
    Standing.REGISTERED: _l("Registered"),
    Standing.REFUSED: _l("Refused"),
    Standing.FAILED: _l("Failed"),
}
_STANDING_TONES = {
    Standing.WAITING: "neutral",
    Standing.CHECKING: "progress",
    Standing.REGISTERED: "good",
    Standing.REFUSED: "danger",
    Standing.FAILED: "danger",
}


class Problem(enum.StrEnum):
    """What stands against a data set, or against some of its pictures."""

    UNREADABLE_TABLE = "unreadable_table"
    MISSING_FILES = "missing_files"
    NO_PICTURES = "no_pictures"
    REGISTERED_BEFORE = "registered_before"
    UNREADABLE = "unreadable"
    UNKNOWN_LABELS = "unknown_labels"
    SAME_BYTES = "same_bytes"
    CONTRADICTORY = "contradictory"

    @property
    def label(self) -> str:
        return _PROBLEM_LABELS[self]


_PROBLEM_LABELS = {
    Problem.UNREADABLE_TABLE: _l("The table cannot be read."),
    Problem.MISSING_FILES: _l("The table or the pictures are not there."),
    Problem.NO_PICTURES: _l("No picture is left that could be learnt from."),
    Problem.REGISTERED_BEFORE: _l("The same pictures with the same labels are registered already."),
    Problem.UNREADABLE: _l("Pictures that are missing or cannot be decoded; they are left out."),
    Problem.UNKNOWN_LABELS: _l(
        "Pictures whose labels are no finding of the reading task; they are left out."
    ),
    Problem.SAME_BYTES: _l("Pictures that are there more than once; one of each is kept."),
    Problem.CONTRADICTORY: _l("The same picture with different labels; none of them is kept."),
}


class Dataset(Leased, Base):
    """Published pictures with labels, copied here once they are checked. To register one is work
    for a worker, and its row is that work."""

    __tablename__ = "datasets"
    __table_args__ = (
        *lease_checks(),
        CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)", name="completed_at_when_checked"
        ),
        CheckConstraint(
            "content_sha256 IS NULL OR (state = 'completed' AND image_count IS NOT NULL"
            " AND subject_count IS NOT NULL AND counts IS NOT NULL AND sides IS NOT NULL"
            " AND duplicates IS NOT NULL)",
            name="counted_when_registered",
        ),
        CheckConstraint("length(content_sha256) = 64", name="content_sha256_length"),
        CheckConstraint("length(pictures_sha256) = 64", name="pictures_sha256_length"),
        Index(
            "ix_datasets_claimable",
            "id",
            "not_before_at",
            sqlite_where=_WAITS,
            postgresql_where=_WAITS,
        ),
        Index(
            "ix_datasets_leased",
            "lease_expires_at",
            sqlite_where=_IS_HELD,
            postgresql_where=_IS_HELD,
        ),
        Index("uq_datasets_content", "reading_task_id", "content_sha256", unique=True),
    )

    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"))
    name: Mapped[str] = mapped_column(String(120))
    source: Mapped[str] = mapped_column(Text)
    """Who published it, and where; empty where nobody said."""
    licence: Mapped[str] = mapped_column(Text)
    requested_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None: it was registered from the command line."""
    folder: Mapped[str | None] = mapped_column(Text)
    """Where its files were found on the worker's machine; None where they were uploaded."""
    table_sha256: Mapped[str | None] = mapped_column(String(64))
    archive_sha256: Mapped[str | None] = mapped_column(String(64))
    """What was uploaded: its table and its pictures, in the store until they are checked."""
    content_sha256: Mapped[str | None] = mapped_column(String(64))
    """Names the checked copy: over its table and the hashes of its pictures. None until then, and
    for one that is refused. The store has the table under this name."""
    pictures_sha256: Mapped[str | None] = mapped_column(String(64))
    """The archive of its pictures in the store. None where only the machine has them that checked
    them, before data sets were kept there."""
    image_count: Mapped[int | None]
    subject_count: Mapped[int | None]
    """0 where no subject is named."""
    counts: Mapped[dict[str, int] | None] = mapped_column(JSON)
    """Pictures by the code of the finding; one that shows several counts for each."""
    sides: Mapped[dict[str, int] | None] = mapped_column(JSON)
    """Pictures by what a training does with them: `train`, `tune`, `test` or `left_out`."""
    duplicates: Mapped[dict[str, int] | None] = mapped_column(JSON)
    """Pairs that are alike though no common subject explains it: `near`, and how many of them
    `disagree` in what they show."""
    problems: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """`Problem` by `kind`, the `count` of pictures, and some `examples` by their file names."""

    reading_task: Mapped[ReadingTask] = relationship()
    requested_by: Mapped[User | None] = relationship()

    @property
    def standing(self) -> Standing:
        match self.state:
            case State.SCHEDULED:
                return Standing.WAITING
            case State.IN_PROGRESS:
                return Standing.CHECKING
            case State.FAILED:
                return Standing.FAILED
            case _:
                return Standing.REGISTERED if self.content_sha256 else Standing.REFUSED

    @property
    def is_registered(self) -> bool:
        return self.content_sha256 is not None


class LabelSource(enum.StrEnum):
    """How it is known what a case of the house shows, the surest first."""

    OUTCOME = "outcome"
    IMPRESSION = "impression"
    OVERRIDE = "override"
    AGREEMENT = "agreement"

    @property
    def label(self) -> str:
        return _SOURCE_LABELS[self]


_SOURCE_LABELS = {
    LabelSource.OUTCOME: _l("What it turned out to be"),
    LabelSource.IMPRESSION: _l("Own impression first, and the same decision"),
    LabelSource.OVERRIDE: _l("Own finding in the place of the model's"),
    LabelSource.AGREEMENT: _l("Agreement with the model alone"),
}


class Side(enum.StrEnum):
    """What a training does with a picture."""

    TRAIN = "train"
    TUNE = "tune"
    TEST = "test"

    @property
    def label(self) -> str:
        return _SIDE_LABELS[self]


_SIDE_LABELS = {
    Side.TRAIN: _l("Learnt from"),
    Side.TUNE: _l("Tuned on"),
    Side.TEST: _l("Test for ever"),
}


class LeftOut(enum.StrEnum):
    """Why a case of the house is not in a snapshot."""

    NOT_ASKED = "not_asked"
    WITHDRAWN = "withdrawn"
    VOID = "void"
    UNDECIDED = "undecided"
    AGREEMENT = "agreement"
    LOCKED = "locked"

    @property
    def label(self) -> str:
        return _LEFT_OUT_LABELS[self]


_LEFT_OUT_LABELS = {
    LeftOut.NOT_ASKED: _l("The patient was not asked for consent"),
    LeftOut.WITHDRAWN: _l("The patient has refused or withdrawn consent"),
    LeftOut.VOID: _l("Void"),
    LeftOut.UNDECIDED: _l("No finding is decided: not signed, uncertain, or none of the findings"),
    LeftOut.AGREEMENT: _l("Agreement with the model alone"),
    LeftOut.LOCKED: _l("A picture is in the locked test, or of a test patient too"),
}


class Snapshot(Base):
    """What the clinicians of the house decided, frozen for trainings, with the data set that they
    learn from beside it. The database lets nobody change or remove it."""

    __tablename__ = "snapshots"
    __table_args__ = (CheckConstraint("length(manifest_sha256) = 64", name="manifest_hash_length"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"), index=True)
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id"))
    """The base; None where a training learns from the house's own cases alone."""
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    """The table of the house's pictures, in the store: a row each, as `manifest` writes it."""
    includes_agreement: Mapped[bool]
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Of the house's own: `images`, `cases`, `patients`; pictures in `findings`, `label_sources`
    and `subgroups` by side; cases `left_out` by reason."""
    note: Mapped[str] = mapped_column(Text)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None: from the command line."""
    created_at: Mapped[dt.datetime]

    reading_task: Mapped[ReadingTask] = relationship()
    dataset: Mapped[Dataset | None] = relationship()
    created_by: Mapped[User | None] = relationship()


class SnapshotCase(Base):
    """A case that a snapshot holds, and whose it was then."""

    __tablename__ = "snapshot_cases"
    __table_args__ = (Index(None, "patient_id", "snapshot_id"),)

    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id"), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    is_test: Mapped[bool]
    """Held back for comparing models: no training learns from it."""

    snapshot: Mapped[Snapshot] = relationship()
    case: Mapped[Case] = relationship()
    patient: Mapped[Patient] = relationship()
