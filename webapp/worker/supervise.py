"""Keeps the triage worker running: `python -m webapp.worker.supervise`.

A worker can crash when its broker is killed under it, and one crash must not stop the house.
"""

import logging
import sys

from webapp.config import InvalidSettings, Settings
from webapp.supervise import keep_running

# Workers have nothing to tell each other, but the rest of Celery's housekeeping must stay: without
# heartbeat and remote control too, a worker does not find back to a broker that was away.
CELERY = [
    *(sys.executable, "-m", "celery", "--quiet", "-A", "webapp.worker.app"),
    *("worker", "--without-gossip", "--without-mingle"),
]


def main() -> None:
    """Start the worker, and start it again whenever it ends, until told to stop."""
    try:
        settings = Settings.from_environment()
    except InvalidSettings as error:
        sys.exit(str(error))
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    keep_running([*CELERY, "--loglevel", settings.log_level], name="worker")


if __name__ == "__main__":
    main()
