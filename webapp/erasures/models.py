"""Erasures: that a patient was erased, why, what went and what remains."""

import datetime as dt
import enum

from flask_babel import lazy_gettext as _l
from sqlalchemy import JSON, CheckConstraint, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.accounts.models import User
from webapp.cases.models import Patient
from webapp.db import Base, value_enum


class Cause(enum.StrEnum):
    """What a patient was erased for."""

    REQUEST = "request"
    RETENTION = "retention"

    @property
    def label(self) -> str:
        return _CAUSE_LABELS[self]


_CAUSE_LABELS = {
    Cause.REQUEST: _l("On request"),
    Cause.RETENTION: _l("The time for which cases are kept is over"),
}


class Erasure(Base):
    """The end of a patient. Their row remains, without anything that tells who they were."""

    __tablename__ = "erasures"
    __table_args__ = (CheckConstraint("reason <> ''", name="reason_given"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"), unique=True)
    cause: Mapped[Cause] = mapped_column(value_enum(Cause))
    reason: Mapped[str] = mapped_column(Text)
    """By the one who erased; the patient's identifier is not in it."""
    erased_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None for the command line and the sweeper."""
    erased_at: Mapped[dt.datetime]
    removed: Mapped[dict[str, int]] = mapped_column(JSON)
    """How many of each thing went."""
    remains: Mapped[dict[str, int]] = mapped_column(JSON)
    """How many of each thing stay, for statistics and for the record."""
    blobs_left: Mapped[list[str]] = mapped_column(JSON)
    """Stored pictures that are still to be removed: none, once the store has let go of all."""

    patient: Mapped[Patient] = relationship()
    erased_by: Mapped[User | None] = relationship()
