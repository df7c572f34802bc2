"""Imports and their rows: what was sent, what stands against it, and which cases it became."""

import datetime as dt
import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from flask_babel import lazy_gettext as _l
from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp import storage
from webapp.accounts.models import Site, User
from webapp.db import Base, db, value_enum

UNCONFIRMED_DAYS = 7
"""For so long what was sent waits for a decision."""


class ImportState(enum.StrEnum):
    """Where an import stands."""

    CHECKING = "checking"
    CHECKED = "checked"
    FILING = "filing"
    FINISHED = "finished"
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
        return self in (ImportState.CHECKING, ImportState.FILING)


_STATE_LABELS = {
    ImportState.CHECKING: _l("Being checked"),
    ImportState.CHECKED: _l("Waits for your decision"),
    ImportState.FILING: _l("Cases are being filed"),
    ImportState.FINISHED: _l("Finished"),
    ImportState.CANCELLED: _l("Cancelled"),
}
_STATE_TONES = {
    ImportState.CHECKING: "progress",
    ImportState.CHECKED: "warning",
    ImportState.FILING: "progress",
    ImportState.FINISHED: "good",
    ImportState.CANCELLED: "neutral",
}


class RowState(enum.StrEnum):
    """Where a row of the table stands."""

    WAITING = "waiting"
    READY = "ready"
    REFUSED = "refused"
    FILED = "filed"

    @property
    def label(self) -> str:
        return _ROW_LABELS[self]

    @property
    def tone(self) -> str:
        return _ROW_TONES[self]


_ROW_LABELS = {
    RowState.WAITING: _l("Not checked yet"),
    RowState.READY: _l("Ready"),
    RowState.REFUSED: _l("Left out"),
    RowState.FILED: _l("Filed"),
}
_ROW_TONES = {
    RowState.WAITING: "neutral",
    RowState.READY: "good",
    RowState.REFUSED: "danger",
    RowState.FILED: "good",
}


class Import(Base):
    """A table and an archive that somebody sent for one site: the row that is the work."""

    __tablename__ = "imports"
    __table_args__ = (
        CheckConstraint(
            "(state = 'checking') = (archive_sha256 IS NOT NULL)", name="archive_while_checking"
        ),
        CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"
        ),
        CheckConstraint(
            "(state IN ('finished', 'cancelled')) = (ended_at IS NOT NULL)", name="ended_at"
        ),
        Index(
            "ix_imports_open",
            "id",
            sqlite_where=text("state IN ('checking', 'filing')"),
            postgresql_where=text("state IN ('checking', 'filing')"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"), index=True)
    created_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[dt.datetime]
    state: Mapped[ImportState] = mapped_column(value_enum(ImportState))
    archive_sha256: Mapped[str | None] = mapped_column(String(64))
    """The archive as it was sent, in the store until its pictures are checked and cleaned."""
    file_name: Mapped[str] = mapped_column(String(255))
    """Of the table."""
    unmatched: Mapped[list[str]] = mapped_column(JSON)
    """Files of the archive that no row names; some of them, where there are very many."""
    lease_token: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]

    site: Mapped[Site] = relationship()
    created_by: Mapped[User] = relationship()
    rows: Mapped[list["ImportRow"]] = relationship(
        back_populates="owner", order_by="ImportRow.number", cascade="all, delete-orphan"
    )

    @property
    def kept_until(self) -> dt.datetime:
        """When it is forgotten, unless its cases are filed before."""
        return self.created_at + dt.timedelta(days=UNCONFIRMED_DAYS)


class ImportRow(Base):
    """One row of the table, which becomes one case."""

    __tablename__ = "import_rows"
    __table_args__ = (
        UniqueConstraint("import_id", "number"),
        CheckConstraint("(state = 'filed') = (case_id IS NOT NULL)", name="case_when_filed"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"))
    number: Mapped[int]
    """The line of the table, as a spreadsheet counts it."""
    values: Mapped[dict[str, str]] = mapped_column(JSON)
    """The cells as they came, by column."""
    state: Mapped[RowState] = mapped_column(value_enum(RowState))
    attempt_count: Mapped[int]
    problems: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """What stands against the row, or should be known of it: `Problem`s as plain values."""
    particulars: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What the case is to say, once the row is checked: `Particulars` as plain values."""
    images: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    """Its pictures, cleaned and stored: `NewImage`s as plain values."""
    case_id: Mapped[int | None] = mapped_column(ForeignKey("cases.id"))

    owner: Mapped[Import] = relationship(back_populates="rows")

    @property
    def blobs(self) -> set[str]:
        """What the store has of its pictures."""
        return blobs(self.images or ())


def blobs(images: Iterable[Mapping[str, Any]]) -> set[str]:
    """What the store has of pictures, which are `NewImage`s as plain values."""
    return {image[name] for image in images for name in ("sha256", "thumbnail_sha256")}


@storage.names_pictures
def _to_be_filed(_sha256s: Collection[str]) -> Iterable[str]:
    """Pictures of rows that wait. Those of a row that is filed are its case's, and of one that is
    left out nobody needs them."""
    # The column alone: a row that this session knows already may be another one by now.
    waiting = select(ImportRow.images).where(ImportRow.state == RowState.READY)
    return (sha256 for images in db.session.scalars(waiting) for sha256 in blobs(images or ()))
