"""Recipes, and the runs that train by them: the rows that are the work."""

import datetime as dt
import enum
from typing import Any

from flask_babel import lazy_gettext as _l
from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.accounts.models import User
from webapp.assessments.models import Failure, Leased, State, lease_checks
from webapp.catalogue.models import ReadingTask
from webapp.datasets.models import Snapshot
from webapp.db import Base, value_enum
from webapp.registry.models import ModelVersion

_WAITS = text("state = 'scheduled'")
_IS_HELD = text("state = 'in_progress'")


class RecipeEntry(Base):
    """A recipe that the trainer knows, as data: it writes them all here when it starts."""

    __tablename__ = "recipes"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    """Of its file."""
    reading_task: Mapped[str] = mapped_column(String(60), index=True)
    """By its code: no bundle of it needs to be installed."""
    about: Mapped[str] = mapped_column(Text)
    """What its file says at the top."""
    table: Mapped[dict[str, Any]] = mapped_column(JSON)
    """All of its values, also those that its file leaves to the defaults."""
    schema: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """What may be in it: tables with keys, as `ml.recipe_schema` says."""


class Device(enum.StrEnum):
    """What a run is computed on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    @property
    def label(self) -> str:
        return _DEVICE_LABELS[self]


_DEVICE_LABELS = {
    Device.AUTO: _l("A GPU where the trainer has one, else the processor"),
    Device.CPU: _l("The processor"),
    Device.CUDA: _l("A GPU: the run waits for a trainer that has one"),
}


class Stage(enum.StrEnum):
    """What a run that a trainer holds is at. All but the first and last are `ml`'s own."""

    PREPARING = "preparing"
    READING = "reading"
    TRAINING = "training"
    BUNDLING = "bundling"
    FINISHED = "finished"

    @property
    def label(self) -> str:
        return _STAGE_LABELS[self]


_STAGE_LABELS = {
    Stage.PREPARING: _l("The pictures of the snapshot are put together"),
    Stage.READING: _l("The pictures are decoded"),
    Stage.TRAINING: _l("The network learns"),
    Stage.BUNDLING: _l("What was learnt is calibrated, and tested on the locked test"),
    Stage.FINISHED: _l("The model is tried out here, and registered"),
}


class Trouble(enum.StrEnum):
    """What ended an attempt."""

    REFUSED = "refused"
    NO_PICTURES = "no_pictures"
    NO_START = "no_start"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"
    DISK_FULL = "disk_full"
    UNFIT = "unfit"
    ERROR = "error"

    @property
    def label(self) -> str:
        return _TROUBLE_LABELS[self]

    @property
    def is_final(self) -> bool:
        """Another attempt would end in the same way, unless somebody changes something."""
        return self not in (Trouble.KILLED, Trouble.ERROR, Trouble.NO_PICTURES)


_TROUBLE_LABELS = {
    Trouble.REFUSED: _l("The recipe and the data do not go together; the log says why."),
    Trouble.NO_PICTURES: _l("The pictures of the snapshot could not be put together."),
    Trouble.NO_START: _l("The model to start from is not on the trainer's machine."),
    Trouble.OUT_OF_MEMORY: _l(
        "Memory ran out, also with half as large batches. Ask for smaller batches, or a smaller"
        " network or size."
    ),
    Trouble.KILLED: _l(
        "The training was killed from outside several times without getting further. As a rule"
        " that is the system when memory runs out."
    ),
    Trouble.DISK_FULL: _l(
        "The trainer's disk is full. Make room there, then start it again: it goes on from its last"
        " whole epoch."
    ),
    Trouble.UNFIT: _l("The new model failed its own test here, and was not registered."),
    Trouble.ERROR: _l("The training ended in an error several times; the log has it."),
}
_LOST = _l("The trainer was lost several times without getting further, and the run was given up.")
_BEING_CANCELLED = _l("Being cancelled")
_STATE_LABELS = {
    State.SCHEDULED: _l("Waiting for a trainer"),
    State.IN_PROGRESS: _l("Running"),
    State.COMPLETED: _l("Finished"),
    State.FAILED: _l("Failed"),
    State.CANCELLED: _l("Cancelled"),
}


class TrainingRun(Leased, Base):
    """One training of a recipe on a snapshot: scheduled, claimed by a trainer, and ended once.

    A trainer that ends, or is killed, gives it back; whoever claims it next goes on from its last
    whole epoch where its folder is.
    """

    __tablename__ = "training_runs"
    __table_args__ = (
        *lease_checks(),
        CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)", name="completed_at_when_made"
        ),
        CheckConstraint(
            "(state = 'completed') = (model_version_id IS NOT NULL)", name="candidate_when_made"
        ),
        CheckConstraint(
            "(model_version_id IS NULL) = (bundle_sha256 IS NULL)", name="candidate_has_a_bundle"
        ),
        Index(
            "ix_training_runs_claimable",
            "id",
            "not_before_at",
            sqlite_where=_WAITS,
            postgresql_where=_WAITS,
        ),
        Index(
            "ix_training_runs_leased",
            "lease_expires_at",
            sqlite_where=_IS_HELD,
            postgresql_where=_IS_HELD,
        ),
    )

    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"), index=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id"), index=True)
    recipe_name: Mapped[str] = mapped_column(String(80))
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Whole, as it is trained by."""
    overrides: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What was asked for in the place of the recipe's own values, by `table.key`."""
    init: Mapped[str] = mapped_column(String(120))
    """What the network starts from, as recipes have it."""
    device: Mapped[Device] = mapped_column(value_enum(Device))
    requested_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None: from the command line."""
    requested_at: Mapped[dt.datetime]
    cancel_requested_at: Mapped[dt.datetime | None]
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """`stage`, and while it trains `epoch` (from 1), `epochs`, `batch`, `batches` and
    `seconds_left`; None before it was ever claimed."""
    curves: Mapped[list[dict[str, float | None]]] = mapped_column(JSON)
    """A row for each whole epoch: its number, from 0, losses and figures."""
    log_tail: Mapped[str] = mapped_column(Text)
    """How its log ends."""
    trouble: Mapped[Trouble | None] = mapped_column(value_enum(Trouble))
    """What ended the latest attempt, where that is known."""
    bundle_sha256: Mapped[str | None] = mapped_column(String(64))
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    """The candidate that came of it."""

    reading_task: Mapped[ReadingTask] = relationship()
    snapshot: Mapped[Snapshot] = relationship()
    requested_by: Mapped[User | None] = relationship()
    model_version: Mapped[ModelVersion | None] = relationship()

    @property
    def label(self) -> str:
        """Where it stands."""
        if self.is_being_cancelled:
            return _BEING_CANCELLED
        return _STATE_LABELS[self.state]

    @property
    def tone(self) -> str:
        return self.state.tone

    @property
    def is_being_cancelled(self) -> bool:
        return self.state.is_open and self.cancel_requested_at is not None

    @property
    def stage(self) -> Stage | None:
        """What it is at, while a trainer holds it."""
        if self.state is not State.IN_PROGRESS or self.progress is None:
            return None
        return Stage(self.progress["stage"])

    @property
    def share_done(self) -> float:
        """Of its epochs, from 0 to 1."""
        said = self.progress or {}
        if "epochs" not in said:
            return 1.0 if said.get("stage") in (Stage.BUNDLING, Stage.FINISHED) else 0.0
        begun = said["epoch"] - 1 + said["batch"] / max(1, said["batches"])
        return min(1.0, begun / max(1, said["epochs"]))

    @property
    def why(self) -> str:
        """What made it fail, or ended its latest attempt; empty where nothing did."""
        if self.trouble is not None:
            return self.trouble.label
        if self.failure is Failure.WORKER_LOST:
            return _LOST
        return ""
