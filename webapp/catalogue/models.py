"""Reading tasks and findings, and how long what is urgent may wait."""

import datetime as dt
import enum

from flask_babel import lazy_gettext as _l
from sqlalchemy import CheckConstraint, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

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


class ReadingTask(Base):
    """What a model reads: one kind of image, and one question asked of it."""

    __tablename__ = "reading_tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(Text)
    created_at: Mapped[dt.datetime]

    findings: Mapped[list["Finding"]] = relationship(
        back_populates="reading_task", order_by="Finding.position"
    )


class Finding(Base):
    """One class of a reading task: what an answer may say."""

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


class Allowance(Base):
    """How long what has a priority may wait, counted from when it was sent."""

    __tablename__ = "allowances"
    __table_args__ = (CheckConstraint("minutes >= 0", name="minutes_not_negative"),)

    priority: Mapped[Priority] = mapped_column(value_enum(Priority), primary_key=True)
    minutes: Mapped[int]
