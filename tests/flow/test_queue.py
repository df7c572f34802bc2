"""The doorbell, on a real broker: what happens when it rings too often, not at all, or is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from tests.stack import Client, Stack, free_port, procfile, redis_server, wait_until
from tests.unit.ml.factories import make_bundle, picture_bytes
from webapp.assessments.models import Assessment, Prediction, State
from webapp.config import REPOSITORY
from webapp.db import db

RESUME_SECONDS = 10
REQUEST_SECONDS = 4
"""What a submission may take without a broker on a busy machine; the ring takes a second of it."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes a few hundredths of a second an image, so that work can be met in progress."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "slow", size=512)


@pytest.fixture
def empty_postgresql_url(postgresql_url: str) -> Iterator[str]:
    """A new database on the session's PostgreSQL server, not migrated yet."""
    url = sa.make_url(postgresql_url)
    admin = sa.create_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE empty")
    yield url.set(database="empty").render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE empty WITH (FORCE)")


on_embedded = pytest.mark.parametrize("stack", ["embedded"], indirect=True, scope="module")
on_both = pytest.mark.parametrize("stack", ["embedded", "server"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    if request.param == "embedded":
        with Stack(bundle=bundle) as stack:
            yield stack
        return
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = (
        f"exec {redis_server()} --port {port} --bind 127.0.0.1 --dir {folder} --appendonly yes"
    )
    environment = {"BROKER_URL": f"redis://127.0.0.1:{port}/0"}
    with Stack(bundle=bundle, environment=environment, commands={"broker": command}) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    return stack.sign_in()


def submit(client: Client, seed: int = 0) -> int:
    return client.submit([picture_bytes(seed=seed)])


def ring(stack: Stack, times: int) -> None:
    program = (
        "from webapp import queue; from webapp.core import create_core; create_core();"
        f"assert all(queue.ring() for _ in range({times}))"
    )
    stack.run("python", "-c", program)


@on_both
def test_a_case_is_read(stack: Stack, client: Client) -> None:
    answer = stack.wait_for(submit(client))
    assert answer.state is State.COMPLETED
    assert answer.attempt_count == 1
    assert sum(answer.probabilities[0].values()) == pytest.approx(1, abs=1e-4)
    assert {child.nice() for child in stack.worker_children()} == {10}  # pages go first


@on_both
def test_rings_that_repeat_do_nothing_twice(stack: Stack, client: Client) -> None:
    stack.kill("worker")
    case_id = submit(client, seed=1)
    ring(stack, times=25)
    stack.start("worker")
    assert stack.wait_for(case_id, 60).attempt_count == 1
    ring(stack, times=5)
    later = submit(client, seed=2)
    stack.wait_for(later)
    with stack.rows():
        prediction_count = db.session.scalar(select(func.count()).select_from(Prediction))
        case_count = db.session.scalar(select(func.count(Assessment.id)))
    assert prediction_count == 8 * case_count


@on_both
def test_a_ring_that_is_lost_is_rung_again(stack: Stack, client: Client) -> None:
    stack.kill("worker")
    stack.kill("sweeper")
    case_id = submit(client, seed=3)
    stack.run("celery", "-A", "webapp.worker.app", "purge", "--force")
    stack.start("worker")
    wait_until(stack.worker_is_ready, "the worker's start", 60)
    time.sleep(1)
    assert stack.answer(case_id).state is State.SCHEDULED
    stack.start("sweeper")
    assert stack.wait_for(case_id).state is State.COMPLETED


@on_both
def test_work_is_accepted_without_a_broker_and_resumes_with_it(
    stack: Stack, client: Client
) -> None:
    stack.wait_for(submit(client, seed=4), 60)
    time.sleep(1)  # the job that read it ends: while it runs, it needs no bell
    stack.kill("broker")
    began = time.monotonic()
    case_ids = [submit(client, seed=seed) for seed in (5, 6)]
    assert time.monotonic() - began < 2 * REQUEST_SECONDS
    time.sleep(8)
    assert {stack.answer(case_id).state for case_id in case_ids} == {State.SCHEDULED}
    stack.start("broker")
    wait_until(stack.broker_answers, "the broker's return")
    for case_id in case_ids:
        assert stack.wait_for(case_id, RESUME_SECONDS).state is State.COMPLETED


@on_embedded
def test_a_frozen_broker_does_not_hold_up_the_web(stack: Stack, client: Client) -> None:
    broker = stack.processes["broker"]
    os.killpg(broker.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        case_id = submit(client, seed=7)
        assert time.monotonic() - began < REQUEST_SECONDS
    finally:
        os.killpg(broker.pid, signal.SIGCONT)
    assert stack.wait_for(case_id).state is State.COMPLETED


@on_embedded
def test_a_worker_that_is_told_to_end_finishes_its_case_and_takes_no_more(
    stack: Stack, client: Client
) -> None:
    stack.kill("worker")
    stack.kill("sweeper")
    images = [picture_bytes(seed=seed) for seed in range(5)]
    case_ids = [client.submit(images) for _ in range(10)]
    stack.start("worker")
    wait_until(
        lambda: any(not stack.answer(case_id).state.is_open for case_id in case_ids),
        "the first answer",
        60,
    )
    os.killpg(stack.processes["worker"].pid, signal.SIGTERM)  # as honcho does it
    try:
        stack.processes["worker"].wait(timeout=30)
    except subprocess.TimeoutExpired:
        where = stack.where_the_worker_is()
        stack.restart("worker")
        pytest.fail(f"the worker did not end:\n{where}")
    answers = [stack.answer(case_id) for case_id in case_ids]
    assert {answer.state for answer in answers} == {State.COMPLETED, State.SCHEDULED}
    assert {answer.attempt_count for answer in answers} == {0, 1}
    for name in ("worker", "sweeper"):
        stack.start(name)
    for case_id in case_ids:
        answer = stack.wait_for(case_id, 60)
        assert (answer.state, answer.attempt_count) == (State.COMPLETED, 1)


@on_embedded
def test_a_killed_worker_is_started_again(stack: Stack, client: Client) -> None:
    wait_until(stack.worker_is_ready, "the worker's start", 60)
    parent = stack.worker_parent()
    assert parent is not None
    parent.kill()
    case_id = submit(client, seed=60)
    assert stack.wait_for(case_id, 60).state is State.COMPLETED


@on_embedded
def test_the_processes_that_read_images_stay_free_of_torch(stack: Stack, client: Client) -> None:
    stack.wait_for(submit(client, seed=61), 60)
    children = stack.worker_children()
    assert len(children) == 2
    loaded = {Path(mapped.path).name for child in children for mapped in child.memory_maps()}
    assert any("onnxruntime" in name for name in loaded)
    assert not any("torch" in name for name in loaded)


def test_the_same_house_on_postgresql(bundle: Path, empty_postgresql_url: str) -> None:
    environment = {"DATABASE_URL": empty_postgresql_url, "AUDIT_KEY": "k" * 32}
    with Stack(bundle=bundle, environment=environment) as stack:
        client = stack.sign_in()
        case_ids = [submit(client, seed=seed) for seed in range(8)]
        stack.worker_children()[0].kill()
        answers = [stack.wait_for(case_id, 60) for case_id in case_ids]
        assert {answer.state for answer in answers} == {State.COMPLETED}
        with stack.rows():
            assert db.session.scalar(select(func.count()).select_from(Prediction)) == 8 * 8


@pytest.mark.parametrize("name", ["web", "broker", "worker", "sweeper"])
def test_a_process_says_which_setting_it_cannot_use(name: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", procfile()[name]],
        cwd=REPOSITORY,
        env={"LEASE_SECONDS": "soon", "PATH": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "LEASE_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr
