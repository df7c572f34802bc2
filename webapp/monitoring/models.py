"""Which processes of the installation gave a sign of life."""

import datetime as dt
import enum

from flask_babel import lazy_gettext as _l
from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.db import Base, value_enum


class Part(enum.StrEnum):
    """What a process does for the installation; workers as `jobs.WORKERS` names them."""

    TRIAGE = "triage"
    ADMINISTRATION = "administration"
    TRAINING = "training"
    SWEEPER = "sweeper"

    @property
    def label(self) -> str:
        return _PART_LABELS[self]


_PART_LABELS = {
    Part.TRIAGE: _l("Worker for cases"),
    Part.ADMINISTRATION: _l("Worker for administration"),
    Part.TRAINING: _l("Worker for training"),
    Part.SWEEPER: _l("Sweeper"),
}


class Worker(Base):
    """A process that has done something: a worker says so after each job that it was rung for."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    """Its machine and its number there."""
    part: Mapped[Part] = mapped_column(value_enum(Part))
    started_at: Mapped[dt.datetime]
    seen_at: Mapped[dt.datetime]
    """When it gave its latest sign of life."""
    bundle_sha256s: Mapped[list[str]] = mapped_column(JSON)
    """The models that it has at hand."""
    code_version: Mapped[str] = mapped_column(String(60))
