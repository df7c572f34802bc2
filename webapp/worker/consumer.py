"""How the worker waits for a broker that is away."""

import logging

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu import Connection

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1


class PatientConsumer(Consumer):
    """Looks for a lost broker every second, for as long as it is away.

    Celery's own pauses grow to half a minute, and end for good after a hundred.
    """

    def ensure_connected(self, conn: Connection) -> Connection:
        def report(error: Exception, interval: float) -> None:
            log.warning("the broker is away, looking again in %s s: %s", interval, error)

        conn.ensure_connection(
            errback=report,
            interval_start=RECONNECT_SECONDS,
            interval_step=0,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn
