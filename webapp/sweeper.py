"""Sees to it that nothing is forgotten: `python -m webapp.sweeper`.

Every two seconds it ends the attempts of workers that went silent, and rings for work that nobody
has claimed: a message can get lost, a row cannot. Every minute it anchors the audit record, and
ends what was to be read unseen for a time. Four times a minute it rings for every worker, also
where nothing waits: whoever comes is known to live. Every ten minutes it erases patients who were
kept for long enough. Beside that, in a thread of its own, it does the work of imports, which needs
no model, and forgets what nobody confirms.
"""

import datetime as dt
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from flask import Flask

from webapp import audit, queue
from webapp.assessments import leases
from webapp.assessments.models import Assessment, Leased
from webapp.assessments.queries import unclaimed_count
from webapp.assessments.services import return_expired_leases
from webapp.config import InvalidSettings, Settings
from webapp.core import create_core
from webapp.db import now
from webapp.erasures import services as erasures
from webapp.imports import services as imports
from webapp.jobs import ASSESS, WORKERS
from webapp.monitoring import services as monitoring
from webapp.monitoring.models import Part
from webapp.promotion import services as promotion
from webapp.work import KINDS

log = logging.getLogger(__name__)

SWEEP_SECONDS = 2
ANCHOR_SECONDS = 60
IMPORT_SECONDS = 1
PRESENCE_SECONDS = 15
ERASURE_SECONDS = 600
TIDYING_SECONDS = 600


def main() -> None:
    """Sweep until told to stop. Trouble with the database or the broker is waited out."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        app = create_core()
    except InvalidSettings as error:
        sys.exit(str(error))
    settings: Settings = app.config["FIRSTLOOK"]
    threading.Thread(target=work_on_imports, args=(app, stop), name="imports", daemon=True).start()
    started_at = now()
    anchored_at = looked_at = erased_at = float("-inf")
    while not stop.is_set():
        anchors = time.monotonic() - anchored_at >= ANCHOR_SECONDS
        with app.app_context():
            sweep(bells=settings.worker_processes, anchors=anchors)
            if time.monotonic() - looked_at >= PRESENCE_SECONDS:
                _attempt(partial(show_presence, started_at))
                _attempt(ring_for_presence)
                looked_at = time.monotonic()
        if anchors:
            anchored_at = time.monotonic()
        if time.monotonic() - erased_at >= ERASURE_SECONDS:
            with app.app_context():
                erase(retention_days=settings.retention_days)
            erased_at = time.monotonic()
        stop.wait(SWEEP_SECONDS)


def sweep(*, bells: int, anchors: bool) -> None:
    """Do each duty once, whatever becomes of the others."""
    _attempt(return_expired_leases)
    _attempt(lambda: ring_for_unclaimed(Assessment, ASSESS, bells=bells))
    for kind in KINDS:
        _attempt(kind.return_expired_leases)
        _attempt(partial(ring_for_unclaimed, kind.rows, kind.job, bells=bells))
    if anchors:
        _attempt(audit.append_anchor)
        _attempt(promotion.end_shadows)


def erase(*, retention_days: int) -> None:
    """Finish what erasures could not, and erase what has been kept for long enough."""
    _attempt(erasures.let_go_of_the_rest)
    if retention_days:
        _attempt(lambda: erasures.erase_old(days=retention_days))


def work_on_imports(app: Flask, stop: threading.Event) -> None:
    """Go on with imports until told to stop. One that is cut off goes on at the next start."""
    tidied_at = float("-inf")
    while not stop.is_set():
        with app.app_context():
            if time.monotonic() - tidied_at >= TIDYING_SECONDS:
                _attempt(imports.end_unconfirmed)
                _attempt(imports.let_go)
                tidied_at = time.monotonic()
            try:
                is_busy = imports.work()
            except Exception:
                log.exception("an import went wrong and is tried again")
                is_busy = False
        if not is_busy:
            stop.wait(IMPORT_SECONDS)


def ring_for_unclaimed(rows: type[Leased], job: str, *, bells: int) -> int:
    """Ring until `bells` rings wait for a worker, or as many as there is work; says how often."""
    waiting = unclaimed_count(rows)
    if not waiting:
        return 0
    missing = max(min(bells, waiting) - queue.unheard_count(job), 0)
    for count in range(missing):
        if not queue.ring(job):
            return count
    return missing


def show_presence(started_at: dt.datetime) -> None:
    """Write down that the sweeper lives."""
    monitoring.note_alive(name=leases.own_name(), part=Part.SWEEPER, started_at=started_at)


def ring_for_presence() -> None:
    """Have every worker show that it hears and does its work. A ring that nobody has heard yet is
    enough."""
    for jobs in WORKERS.values():
        if not queue.unheard_count(jobs[0]):
            queue.ring(jobs[0])


def _attempt(duty: Callable[[], object]) -> None:
    try:
        duty()
    except queue.BROKER_ERRORS as error:
        log.warning("the broker is away: %s", error)
    except Exception:
        log.exception("a sweep went wrong and is tried again")


if __name__ == "__main__":
    main()
