"""The append-only, hash-chained record of who did and saw what.

Each row carries an HMAC over the row before it and all of its own fields; its key is outside the
database. Rows are numbered without gaps, and the head is written to a file outside the database
every minute, so rows that were edited, removed, moved or cut off the end are found by `verify`.
"""

import datetime as dt
import enum
import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from flask import Flask, current_app, g, has_request_context, request
from sqlalchemy import JSON, BigInteger, Index, Row, String, Table, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from webapp.config import Settings, current_settings
from webapp.db import Base, Lock, db, hold, in_transaction, now, transaction
from webapp.keys import kept_key

ANCHORS_STARTED = "audit.anchors_started"
MAX_PROBLEMS = 1000
_BEFORE_THE_FIRST = "0" * 64


class AuditEvent(Base):
    """One thing that someone, or the system, did or saw."""

    __tablename__ = "audit_events"
    __table_args__ = (  # what the record is searched by
        Index("ix_audit_events_action_id", "action", "id"),
        Index("ix_audit_events_actor_id_action_id", "actor_id", "action", "id"),
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(db.Integer(), "sqlite"), primary_key=True, autoincrement=False
    )
    """Place in the chain, from 1, without gaps."""
    at: Mapped[dt.datetime] = mapped_column(index=True)
    actor_id: Mapped[int | None]
    """Not a foreign key: the record outlives what it speaks of."""
    actor_name: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(60))
    subject_type: Mapped[str | None] = mapped_column(String(40))
    subject_id: Mapped[int | None]
    site_id: Mapped[int | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    request_id: Mapped[str | None] = mapped_column(String(32))
    remote_address: Mapped[str | None] = mapped_column(String(64))
    previous_mac: Mapped[str] = mapped_column(String(64))
    mac: Mapped[str] = mapped_column(String(64))


_EVENTS = cast(Table, AuditEvent.__table__)


class Actor(Protocol):
    """Whoever acts: in practice a user of `webapp.accounts`."""

    @property
    def id(self) -> int: ...

    @property
    def username(self) -> str: ...


def init_app(app: Flask) -> None:
    """Find the key, or make it on the very first start."""
    settings: Settings = app.config["FIRSTLOOK"]
    key = settings.audit_key or kept_key(settings.instance_dir / "keys" / "audit.key")
    app.extensions["audit_key"] = key.encode()


@dataclass(frozen=True)
class Entry:
    """One thing that was done; `site_id` is the subject's own, unless given."""

    action: str
    subject: object | None = None
    site_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def record(
    *,
    actor: Actor | None,
    action: str,
    subject: object | None = None,
    site_id: int | None = None,
    **detail: Any,
) -> None:
    """Add a row inside the open `transaction()`, as its last act: other writers wait for it.

    Raises:
        RuntimeError: outside a transaction.
    """
    record_all(actor=actor, entries=[Entry(action, subject, site_id, detail)])


def record_all(*, actor: Actor | None, entries: Iterable[Entry]) -> None:
    """As `record`, several rows in one statement. What was done with an access token names it.

    Raises:
        RuntimeError: outside a transaction.
    """
    if not in_transaction():
        raise RuntimeError("audit.record() needs a transaction()")
    token = {"token_id": g.token_id} if has_request_context() and "token_id" in g else {}
    session = db.session
    session.flush()  # a subject that was just added has its number from here on
    hold(Lock.RECORD)
    head = _head()
    last_id, last_mac = head or (0, _BEFORE_THE_FIRST)
    rows: list[dict[str, Any]] = []
    for entry in entries:
        fields: dict[str, Any] = {
            "id": last_id + 1,
            "at": now(),
            "actor_id": actor.id if actor else None,
            "actor_name": actor.username if actor else "",
            "action": entry.action,
            "subject_type": entry.subject.__class__.__name__ if entry.subject is not None else None,
            "subject_id": getattr(entry.subject, "id", None),
            "site_id": entry.site_id if entry.site_id is not None else _site_of(entry.subject),
            "detail": json.loads(json.dumps({**entry.detail, **token}, default=str)),
            "request_id": g.get("request_id") if has_request_context() else None,
            "remote_address": request.remote_addr if has_request_context() else None,
            "previous_mac": last_mac,
        }
        last_id, last_mac = last_id + 1, _mac(fields)
        rows.append(fields | {"mac": last_mac})
    if rows:
        session.execute(insert(_EVENTS), rows)


def record_look(*, actor: Actor, action: str, subject: object | None = None, **detail: Any) -> None:
    """Record that someone saw something: `record` in a transaction of its own."""
    with transaction():
        record(actor=actor, action=action, subject=subject, **detail)


def append_anchor() -> bool:
    """Write the head of the chain to the anchors file; False if it has not moved since.

    The chain says itself when the file is begun, so that a missing file is noticed.
    """
    with transaction():
        if _head() is None:
            return False
    descriptor = os.open(current_settings().audit_anchors, os.O_CREAT | os.O_RDWR, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        last = _last_anchor(file)
        with transaction():
            if last is None:
                record(actor=None, action=ANCHORS_STARTED)
            head = _head()
            newer = select(func.count()).where(AuditEvent.id > (last["id"] if last else 0))
            newer_count = db.session.scalar(newer) or 0
        if head is None or (last and (last["id"], last["mac"]) == (head.id, head.mac)):
            return False
        anchor = {
            "at": now().isoformat(),
            "id": head.id,
            "count": newer_count + (last["count"] if last else 0),
            "mac": head.mac,
        }
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(anchor).encode() + b"\n")
        file.flush()
        os.fsync(descriptor)
    return True


def last_anchored_at() -> dt.datetime | None:
    """When the head of the chain was last written to the anchors file; None if it is not there."""
    try:
        with current_settings().audit_anchors.open("rb") as file:
            last = _last_anchor(file)
    except FileNotFoundError:
        return None
    return last["at"] if last else None


class ProblemKind(enum.StrEnum):
    """What `verify` can find."""

    EDITED = "edited"
    REMOVED = "removed"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    ANCHORS_MISSING = "anchors missing"
    ANCHOR_UNREADABLE = "anchor unreadable"
    ANCHORS_RESTARTED = "anchors restarted"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the record."""

    kind: ProblemKind
    event_id: int | None
    sentence: str

    @property
    def is_warning(self) -> bool:
        """It may have an innocent cause, such as a move to another machine."""
        return self.kind is ProblemKind.ANCHORS_RESTARTED


def verify() -> list[Problem]:
    """Check every row, every link and every anchor; at most `MAX_PROBLEMS` are named."""
    return list(islice(_problems(), MAX_PROBLEMS))


def _problems() -> Iterator[Problem]:
    path = current_settings().audit_anchors
    anchors_bytes = path.stat().st_size if path.exists() else None  # later ones name later rows
    starts = 0
    suspects: set[int] = set()
    previous_id, previous_mac = 0, _BEFORE_THE_FIRST
    for row in _rows():
        is_next = row.id == previous_id + 1
        is_linked = row.previous_mac == previous_mac
        is_own = hmac.compare_digest(row.mac, _mac(dict(row._mapping)))
        if row.id > previous_id + 1:
            yield _removed(previous_id + 1, row.id - 1)
        if not is_own and is_linked:
            yield Problem(ProblemKind.EDITED, row.id, f"row {row.id} was edited")
        elif not is_linked and not (is_own and (not is_next or previous_id in suspects)):
            sentence = f"row {row.id} does not follow the row before it, as when rows are moved"
            yield Problem(ProblemKind.REORDERED, row.id, sentence)
        if not is_own:
            suspects.add(row.id)
        starts += row.action == ANCHORS_STARTED
        if starts > 1 and row.action == ANCHORS_STARTED:
            sentence = f"the anchors file was begun again at row {row.id}"
            yield Problem(ProblemKind.ANCHORS_RESTARTED, row.id, sentence)
        previous_id, previous_mac = row.id, row.mac
    if anchors_bytes is not None:
        yield from _anchor_problems(
            path=path, size_bytes=anchors_bytes, head_id=previous_id, suspects=suspects
        )
    elif starts:
        sentence = f"the anchors were begun, but {path} is missing"
        yield Problem(ProblemKind.ANCHORS_MISSING, None, sentence)


def _removed(first: int, last: int) -> Problem:
    sentence = (
        f"row {first} was removed" if first == last else f"rows {first} to {last} were removed"
    )
    return Problem(ProblemKind.REMOVED, first, sentence)


def _anchor_problems(
    *, path: Path, size_bytes: int, head_id: int, suspects: set[int]
) -> Iterator[Problem]:
    """What the first `size_bytes` of the anchors file say that the rows do not."""
    cut_to = rewritten_to = 0
    numbered = enumerate(_lines(path, size_bytes), start=1)
    while batch := list(islice(numbered, 500)):
        anchors = {number: _parse_anchor(line) for number, line in batch}
        ids = [anchor["id"] for anchor in anchors.values() if anchor]
        rows = select(AuditEvent.id, AuditEvent.mac).where(AuditEvent.id.in_(ids))
        macs = {row.id: row.mac for row in db.session.execute(rows)}
        for number, anchor in anchors.items():
            if anchor is None:
                sentence = f"line {number} of {path} cannot be read"
                yield Problem(ProblemKind.ANCHOR_UNREADABLE, None, sentence)
            elif anchor["id"] > head_id:
                cut_to = max(cut_to, anchor["id"])
            elif anchor["id"] in macs.keys() - suspects and macs[anchor["id"]] != anchor["mac"]:
                rewritten_to = max(rewritten_to, anchor["id"])
    if cut_to:
        sentence = f"rows {head_id + 1} to {cut_to} were cut off the end"
        yield Problem(ProblemKind.TRUNCATED, cut_to, sentence)
    if rewritten_to:
        sentence = f"rows up to {rewritten_to} were cut off the end and written anew"
        yield Problem(ProblemKind.TRUNCATED, rewritten_to, sentence)


def _lines(path: Path, size_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while file.tell() < size_bytes:
            yield file.readline()


def _rows() -> Iterator[Row[Any]]:
    """All rows in order, a few at a time, from the database and not from the session."""
    columns = AuditEvent.__table__.columns
    last_id = -(2**31)  # a forged row may have any number
    while batch := db.session.execute(
        select(*columns).where(AuditEvent.id > last_id).order_by(AuditEvent.id).limit(1000)
    ).all():
        yield from batch
        last_id = batch[-1].id


def _head() -> Row[int, str] | None:
    return db.session.execute(
        select(AuditEvent.id, AuditEvent.mac).order_by(AuditEvent.id.desc()).limit(1)
    ).one_or_none()


def _site_of(subject: object) -> int | None:
    owner = subject if hasattr(subject, "site_id") else getattr(subject, "case", None)
    return getattr(owner, "site_id", None)


def _mac(fields: dict[str, Any]) -> str:
    """HMAC-SHA256 over all fields but `mac`, `previous_mac` among them, in canonical JSON."""
    own = {name: value for name, value in fields.items() if name != "mac"}
    own["at"] = own["at"].astimezone(dt.UTC).isoformat(timespec="microseconds")
    canonical = json.dumps(own, sort_keys=True, separators=(",", ":"))
    key: bytes = current_app.extensions["audit_key"]
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


def _parse_anchor(line: bytes) -> dict[str, Any] | None:
    try:
        anchor = json.loads(line)
        return {
            "at": dt.datetime.fromisoformat(anchor["at"]),
            "id": int(anchor["id"]),
            "count": int(anchor["count"]),
            "mac": str(anchor["mac"]),
        }
    except (ValueError, KeyError, TypeError):
        return None


def _last_anchor(file: BinaryIO) -> dict[str, Any] | None:
    """The last whole anchor, from the end of the file: one line is far shorter than a block."""
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, size_bytes - 4096))
    lines = file.read().splitlines()
    return next(filter(None, map(_parse_anchor, reversed(lines))), None)
