"""A worker's sign of life: it was rung for, and has done what there was to do."""

import logging
import os
import socket
import time

from sqlalchemy.exc import SQLAlchemyError

from webapp.db import now
from webapp.jobs import WORKERS
from webapp.monitoring import services
from webapp.monitoring.models import Part
from webapp.worker import predictors
from webapp.worker.version import code_version

log = logging.getLogger(__name__)

NOTED_SECONDS = 5
"""A process that does one short job after the other says so no more often."""

_started_at = now()
_noted_at = float("-inf")


def note(job: str) -> None:
    """Write down that this worker has done a job. Trouble with that is no trouble of the job's."""
    global _noted_at
    if time.monotonic() - _noted_at < NOTED_SECONDS:
        return
    part = next(Part(name) for name, jobs in WORKERS.items() if job in jobs)
    try:
        services.note_alive(
            name=f"{socket.gethostname()}:{os.getppid()}",  # jobs run in forked children
            part=part,
            started_at=_started_at,
            bundle_sha256s=predictors.at_hand() if part is Part.TRIAGE else (),
            code_version=code_version(),
        )
    except SQLAlchemyError:
        log.warning("a sign of life could not be written", exc_info=True)
        return
    _noted_at = time.monotonic()
