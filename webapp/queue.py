"""The Celery application and the doorbell.

A message carries no work: it only wakes a worker, which claims rows. So losing one loses nothing,
and one that comes twice does nothing.
"""

import logging
from dataclasses import dataclass

import celery
from flask import Flask
from kombu import Exchange, Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from webapp.config import Settings
from webapp.db import on_commit
from webapp.jobs import ASSESS, QUEUES

log = logging.getLogger(__name__)

BROKER_ERRORS = (KombuError, RedisError, OSError)
"""What a broker that is away, frozen, full or starting raises."""

app = celery.Celery("firstlook", set_as_current=True)


def init_app(flask_app: Flask) -> None:
    """Point the Celery application at the broker of this installation."""
    settings: Settings = flask_app.config["FIRSTLOOK"]
    app.conf.update(celery_settings(settings))
    flask_app.extensions["celery"] = app


def celery_settings(settings: Settings) -> dict[str, object]:
    """What Celery is told, the same in the web and in the worker."""
    return {
        "broker_url": settings.celery_broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": 300,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            # Nobody waits for the doorbell: a second at most, and no second try.
            "socket_connect_timeout": 1,
            "socket_timeout": 1,
            "max_retries": 0,
        },
        "task_default_queue": QUEUES[ASSESS],
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES.values()],
        "task_routes": {job: {"queue": name} for job, name in QUEUES.items()},
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
    }


@dataclass(frozen=True)
class Bell:
    """Rings for a job; two for the same job are equal, so that one commit rings once."""

    job: str

    def __call__(self) -> bool:
        return ring(self.job)


def ring_after_commit(job: str = ASSESS) -> None:
    """Wake a worker once the rows just written are there to be claimed."""
    on_commit(Bell(job))


def ring(job: str = ASSESS) -> bool:
    """Wake a worker. False if the broker is away: the sweeper rings again until someone comes."""
    try:
        celery.signature(job, app=app).apply_async(retry=False)
    except BROKER_ERRORS as error:
        log.warning("the broker is away, work waits in its rows: %s", error)
        return False
    return True


def unheard_count(job: str = ASSESS) -> int:
    """Rings for a job that no worker has taken yet.

    Raises one of `BROKER_ERRORS` while the broker is away.
    """
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        return channel.queue_declare(queue=QUEUES[job], durable=True).message_count
