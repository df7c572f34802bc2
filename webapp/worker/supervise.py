"""Keeps a worker running: `python -m webapp.worker.supervise [triage|administration|training]`.

A worker can crash when its broker is killed under it, and one crash must not stop the house. Cases
have a worker of their own, which lets pages go first; the other two run only when nothing else
wants the processor.
"""

import argparse
import logging
import subprocess
import sys

from webapp.config import REPOSITORY, InvalidSettings, Settings
from webapp.jobs import QUEUES, WORKERS
from webapp.supervise import keep_running

BEHIND_THE_WEB = ("nice", "-n", "10")
IDLE = ("nice", "-n", "19")

# Workers have nothing to tell each other, but the rest of Celery's housekeeping must stay: without
# heartbeat and remote control too, a worker does not find back to a broker that was away.
CELERY = [
    *(sys.executable, "-m", "celery", "--quiet", "-A", "webapp.worker.app"),
    *("worker", "--without-gossip", "--without-mingle"),
]

log = logging.getLogger(__name__)


def main() -> None:
    """Start the worker, and start it again whenever it ends, until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m webapp.worker.supervise", description=__doc__)
    parser.add_argument("worker", nargs="?", choices=WORKERS, default="triage")
    name = parser.parse_args().worker
    try:
        settings = Settings.from_environment()
    except InvalidSettings as error:
        sys.exit(str(error))
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if name == "training":
        recipes = [*IDLE, sys.executable, "-m", "webapp.worker.recipes"]
        if subprocess.run(recipes, cwd=REPOSITORY, check=False).returncode:
            log.warning("the web was not told which recipes there are")
    keep_running(command(name, settings), name=f"{name} worker")


def command(name: str, settings: Settings) -> list[str]:
    """How Celery is started for one of the workers."""
    queues = ",".join(QUEUES[job] for job in WORKERS[name])
    celery = [*CELERY, "--loglevel", settings.log_level, "-Q", queues, "--hostname", f"{name}@%h"]
    if name == "triage":
        return [*BEHIND_THE_WEB, *celery]
    # What one job loads is much, and of no use to the next one.
    return [*IDLE, *celery, "--concurrency", "1", "--max-tasks-per-child", "1"]


if __name__ == "__main__":
    main()
