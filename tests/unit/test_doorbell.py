"""Ringing for a worker, and waiting for a broker that is away."""

import contextlib
import time
from types import SimpleNamespace

import pytest
from celery.exceptions import WorkerShutdown
from flask import Flask
from kombu import Connection

from tests.conftest import People
from tests.factories import scheduled, serving_model
from webapp import queue
from webapp.db import transaction
from webapp.worker import consumer
from webapp.worker.consumer import PatientConsumer


def test_ringing_without_a_broker_is_quick_and_harmless(app: Flask) -> None:
    began = time.monotonic()
    assert not queue.ring()
    assert not queue.ring()
    assert time.monotonic() - began < 2


def test_the_sweeper_can_tell_that_the_broker_is_away(app: Flask) -> None:
    with pytest.raises(queue.BROKER_ERRORS):
        queue.unheard_count()


def test_a_case_is_scheduled_without_a_broker(core: Flask, people: People) -> None:
    site = people.site()
    assessment = scheduled(
        actor=people.clinician(site), site=site, reading_task=serving_model().reading_task
    )
    assert assessment.state.is_open


def test_the_bell_rings_after_the_commit_only(core: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda *_: heard.append("ring"))
    with transaction():
        queue.ring_after_commit()
        assert heard == []
    assert heard == ["ring"]
    with contextlib.suppress(ZeroDivisionError), transaction():
        queue.ring_after_commit()
        _ = 1 / 0
    assert heard == ["ring"]


def test_the_bell_rings_once_a_commit(core: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda *_: heard.append("ring"))
    for count in (1, 2):
        with transaction():
            for _ in range(5):
                queue.ring_after_commit()
        assert len(heard) == count


def test_the_worker_looks_for_the_broker_every_second_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)

    def give_up_after_ten_minutes() -> None:
        if sum(slept) > 600:
            raise WorkerShutdown

    monkeypatch.setattr(consumer, "maybe_shutdown", give_up_after_ten_minutes)
    looks: list[None] = []
    connection = Connection("redis+socket:///nowhere/valkey.sock?virtual_host=0")
    connect = connection._establish_connection
    monkeypatch.setattr(
        connection, "_establish_connection", lambda: (looks.append(None), connect())[1]
    )
    with pytest.raises(WorkerShutdown):
        PatientConsumer.ensure_connected(SimpleNamespace(), connection)
    assert len(looks) >= sum(slept) - 1
