"""Where the worker begins: `celery -A webapp.worker.app worker`.

The parent forks the processes that read images, and loads no model itself: torch used before a
fork hangs the child.
"""

import logging
import os
import signal
from ctypes import c_bool
from multiprocessing.sharedctypes import RawValue
from typing import Any

import celery
from billiard.process import current_process
from celery.signals import celeryd_init, task_prerun, worker_process_init, worker_shutting_down

from webapp import queue
from webapp.config import Settings
from webapp.core import create_core
from webapp.db import db
from webapp.worker import fetching, jobs, predictors, presence
from webapp.worker.consumer import PatientConsumer

log = logging.getLogger(__name__)

CHILD_START_SECONDS = 60

reads_cases = RawValue(c_bool, False)
"""Whether this is the triage worker."""

flask_app = create_core()
settings: Settings = flask_app.config["FIRSTLOOK"]


class Job(celery.Task):
    """A job runs in an application context of its own; once it is done, its worker is known to
    live."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with flask_app.app_context():
            done = super().__call__(*args, **kwargs)
            presence.note(self.name)
            return done


app = queue.app
app.Task = Job
app.conf.update(
    worker_concurrency=predictors.process_count(settings),
    worker_consumer=PatientConsumer,
    worker_pool_start_method="fork",
    worker_proc_alive_timeout=CHILD_START_SECONDS,
    worker_redirect_stdouts=False,
    broker_transport_options=app.conf.broker_transport_options | {"socket_timeout": 10},
)


@celeryd_init.connect
def _note_which(sender: str, **_: Any) -> None:
    reads_cases.value = sender.startswith("triage@")


@worker_process_init.connect
def _begin_child(**_: Any) -> None:
    """Make a forked process ready, its models loaded before the first case comes."""
    # A process manager may signal the whole group: the parent decides when its children end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if predictors.gpu_count(settings):
        os.environ["CUDA_VISIBLE_DEVICES"] = predictors.own_gpu(current_process().index)
    with flask_app.app_context():
        db.engine.dispose(close=False)  # its connections are the parent's
        if not reads_cases.value:
            return
        try:
            predictors.load_champions()
        except Exception:
            log.exception("no model could be loaded ahead of the first case")


@task_prerun.connect
def _fetch_what_is_missing(**_: Any) -> None:
    """Have models brought here that waiting cases ask for, while those that are here are read."""
    if not reads_cases.value:
        return
    with flask_app.app_context():
        try:
            if fetching.missing(predictors.at_hand()):
                fetching.begin()
        except Exception:
            log.exception("what models are missing could not be found out")


@worker_shutting_down.connect
def _stop_children(**_: Any) -> None:
    """Have the children end after the case that they are reading."""
    jobs.stopping.value = True
