"""Whether the installation does its work, and not only answers."""

import enum
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from flask import Flask, current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from webapp import queue, storage
from webapp.db import db, now
from webapp.jobs import WORKERS
from webapp.monitoring import queries
from webapp.monitoring.models import Part
from webapp.monitoring.queries import SILENT_AFTER, is_alive

PATIENCE_SECONDS = 3
"""With a store that does not answer."""
_ASKED = "store_asked"
UNCLAIMED_AFTER = SILENT_AFTER
"""Work that nobody takes for so long is stuck, however many workers say that they live."""


class Problem(enum.StrEnum):
    """What can be wrong, as programs are told."""

    UNREACHABLE = "cannot be reached"
    SILENT = "no sign of life for 60 seconds"
    UNTAKEN = "waits, and nobody takes it"
    NOWHERE = "cases wait for it, and no worker has it"

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    Problem.UNREACHABLE: _l("It cannot be reached."),
    Problem.SILENT: _l("It has given no sign of life for a minute."),
    Problem.UNTAKEN: _l("It has waited for over a minute, and nobody takes it."),
    Problem.NOWHERE: _l("Cases wait for it, and no worker that lives has it."),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be so."""

    name: str
    problem: Problem | None
    """What is wrong; None where all is well."""


def checks() -> list[Check]:
    """Everything that has to be so. Without a database nothing more can be told."""
    try:
        db.session.execute(select(1))
    except SQLAlchemyError:
        db.session.rollback()
        return [Check("database", Problem.UNREACHABLE)]
    return [Check("database", None), _broker(), _store(), *_processes(), *_work()]


def _broker() -> Check:
    try:
        queue.unheard_count()
    except queue.BROKER_ERRORS:
        return Check("broker", Problem.UNREACHABLE)
    return Check("broker", None)


class _Question(threading.Thread):
    """Asks the store once, beside those who wait for its answer."""

    def __init__(self, app: Flask) -> None:
        super().__init__(name="store", daemon=True)
        self.app = app
        self.is_answered = False

    def run(self) -> None:
        with self.app.app_context(), suppress(OSError):
            storage.ask()
            self.is_answered = True


def _store() -> Check:
    """Where pictures are kept. A mount or a network that hangs would hang whoever asks, and is not
    asked once more before it has answered."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    asked = app.extensions.get(_ASKED)
    if asked is None or not asked.is_alive():
        asked = app.extensions[_ASKED] = _Question(app)
        asked.start()
    asked.join(PATIENCE_SECONDS)
    return Check("store", None if asked.is_answered else Problem.UNREACHABLE)


def _processes() -> Iterator[Check]:
    """The sweeper, and a worker that reads cases: it was rung and answered, or is at work."""
    alive = {worker.part for worker in queries.workers() if is_alive(worker)}
    yield Check("sweeper", None if Part.SWEEPER in alive else Problem.SILENT)
    reads = Part.TRIAGE in alive or any(map(queries.is_busy, WORKERS[Part.TRIAGE]))
    yield Check("worker", None if reads else Problem.SILENT)


def _work() -> Iterator[Check]:
    """That of every kind something is being done where something waits."""
    stuck_before = now() - UNCLAIMED_AFTER
    for kind in queries.kinds():
        since = queries.untaken_since(kind)
        is_stuck = since is not None and since < stuck_before and not queries.is_busy(kind.job)
        yield Check(f"{kind.word} work", Problem.UNTAKEN if is_stuck else None)
    at_hand = {
        sha256
        for worker in queries.workers()
        if worker.part is Part.TRIAGE and is_alive(worker)
        for sha256 in worker.bundle_sha256s
    }
    for version in queries.versions_waited_for() if at_hand else ():
        if version.bundle_sha256 not in at_hand:
            name = f"model {version.reading_task.code} {version.version}"
            yield Check(name, Problem.NOWHERE)
