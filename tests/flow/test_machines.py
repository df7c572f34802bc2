"""Several machines: one database, one broker, one store; each machine has an instance of its own.

The house: web, sweeper and the worker for administration, on PostgreSQL, Redis and S3. Machines
beside it run one command each, begin with an empty instance, and know the house by its addresses.
"""

import contextlib
import dataclasses
import hashlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from tests import datasets, s3
from tests.stack import Client, Stack, free_port, redis_server, wait_until
from tests.unit.ml.factories import make_bundle, picture_bytes
from webapp.assessments.models import Assessment, State
from webapp.catalogue.queries import reading_task_by_code
from webapp.config import REPOSITORY
from webapp.datasets.models import Dataset
from webapp.datasets.queries import get_dataset
from webapp.datasets.services import freeze, register
from webapp.db import db
from webapp.permissions import Role
from webapp.training import queries, services
from webapp.training.models import TrainingRun

FETCH_SECONDS = 120
TRAINING_SECONDS = 300
"""What starts of torch may take on a busy machine, at idle priority."""
RECIPE = "s2-blood-plain"
SETTINGS = {
    "preprocess.native_short_side_px": 32,
    "preprocess.size_px": 32,
    "training.epochs": 1,
}


@pytest.fixture(scope="module")
def empty_postgresql_url(postgresql_url: str) -> Iterator[str]:
    """A new database on the session's PostgreSQL server, not migrated yet."""
    url = sa.make_url(postgresql_url)
    admin = sa.create_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE machines")
    yield url.set(database="machines").render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE machines WITH (FORCE)")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes long enough for two machines to share the work."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "slow", size=512)


@pytest.fixture(scope="module")
def house(
    bundle: Path, empty_postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    environment = {
        "DATABASE_URL": empty_postgresql_url,
        "BROKER_URL": f"redis://127.0.0.1:{port}/0",
        "STORAGE_URL": f"s3://{s3.BUCKET}/house",
        "LOCKED_TESTS_DIR": str(tmp_path_factory.mktemp("locked")),
        "AUDIT_KEY": "k" * 32,
        "SECRET_KEY": "s" * 32,
    }
    command = f"exec {redis_server()} --port {port} --bind 127.0.0.1 --dir {folder} --save ''"
    with (
        s3.server() as found,
        s3.reached(found),  # by what the tests themselves do in the house
        Stack(
            bundle=bundle,
            environment=environment | found,
            processes=("broker", "web", "sweeper"),
            commands={"broker": command},
        ) as stack,
    ):
        yield stack


@dataclasses.dataclass
class Machine:
    """A machine that runs one command of docs/deploy.md."""

    instance: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def bundles(self) -> Sequence[Path]:
        """What it has fetched."""
        return list((self.instance / "bundles").glob("[!.]*/bundle.json"))

    def stop(self) -> None:
        """kill -9 everything of it, as a power cut would; it may be off already."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                process.kill()
        self.process.kill()
        self.process.wait()


def switch_on(house: Stack, folder: Path, command: str) -> Machine:
    """Start one command of docs/deploy.md on a machine of its own."""
    environment = house.environment | {
        "INSTANCE_DIR": str(folder / "instance"),
        "WORKER_PROCESSES": "1",
        "TRAINING_PRIORITY": "normal",  # others use this machine too
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["honcho", "--env", "/dev/null", "start", command],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Machine(folder / "instance", process, folder / "log")


@pytest.fixture(scope="module")
def machines(house: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Machine]]:
    started: list[Machine] = []
    try:
        for name in ("one", "two"):
            folder = tmp_path_factory.mktemp(f"machine-{name}")
            started.append(switch_on(house, folder, "worker"))
        yield started
    finally:
        for machine in started:
            machine.stop()


@pytest.fixture(scope="module")
def client(house: Stack) -> Client:
    return house.sign_in()


def readers(house: Stack) -> set[str]:
    """Who has read cases, by host and process."""
    with house.rows():
        return set(
            db.session.scalars(
                select(Assessment.claimed_by).where(Assessment.state == State.COMPLETED)
            )
        )


def test_machines_fetch_what_serves_and_share_the_work(
    house: Stack, machines: Sequence[Machine], client: Client, bundle: Path
) -> None:
    assert not any(machine.bundles for machine in machines)
    first = client.submit([picture_bytes(seed=0)])  # nobody has the model: it waits, and is fetched
    answer = house.wait_for(first, FETCH_SECONDS)
    assert answer.state is State.COMPLETED
    assert answer.attempt_count == 1
    wait_until(
        lambda: all(machine.bundles for machine in machines), "both fetched it", FETCH_SECONDS
    )
    for machine in machines:
        (facts,) = machine.bundles
        assert facts.read_bytes() == (bundle / "bundle.json").read_bytes()
        assert list((machine.instance / "engines").glob("*.onnx"))
        assert not (machine.instance / "firstlook.db").exists()
    deadline = time.monotonic() + FETCH_SECONDS
    sent = []
    while len(readers(house)) < 2:
        assert time.monotonic() < deadline, "one machine did all the work"
        sent += [client.submit([picture_bytes(seed=len(sent) + n)]) for n in range(1, 5)]
        for case_id in sent[-4:]:
            house.wait_for(case_id)


def test_what_is_installed_later_is_fetched_too(
    house: Stack, machines: Sequence[Machine], tmp_path: Path
) -> None:
    """The worker for administration installs it; it serves no reading task yet, so it stays."""
    other = make_bundle(tmp_path / "other", seed=1)
    house.start("steward")
    said = house.run("flask", "--app", "wsgi", "bundle", "install", str(other))
    assert "is installed" in said
    time.sleep(3)
    assert all(len(machine.bundles) == 1 for machine in machines)


def test_work_of_a_machine_that_dies_goes_to_the_other(
    house: Stack, machines: Sequence[Machine], client: Client
) -> None:
    machines[0].stop()
    sent = [client.submit([picture_bytes(seed=100 + n)]) for n in range(4)]
    assert {house.wait_for(case_id, 60).state for case_id in sent} == {State.COMPLETED}
    with house.rows():
        assert (
            db.session.scalar(
                select(func.count(Assessment.id)).where(Assessment.state != State.COMPLETED)
            )
            == 0
        )
    admin = house.sign_in(Role.ADMINISTRATOR)
    assert admin.get("/models").ok


def test_a_trainer_elsewhere_learns_from_a_data_set_that_was_registered_here(
    house: Stack, tmp_path: Path
) -> None:
    """It has nothing but the addresses: the pictures come out of the store."""
    if "steward" not in house.processes:
        house.start("steward")
    trainer = switch_on(house, tmp_path, "trainer")
    try:
        with house.rows():
            task = reading_task_by_code("blood-cell")
            assert task
            files = datasets.drawn_cells(tmp_path / "cells", ("basophil", "eosinophil"))
            dataset_id = register(
                actor=None, reading_task=task, name="cells", licence="CC0 1.0", files=files
            ).id
        dataset = wait_until(lambda: registered(house, dataset_id), "the check", TRAINING_SECONDS)
        wait_until(lambda: recipes(house), "the trainer's recipes", TRAINING_SECONDS)
        with house.rows():
            run_id = services.request_run(
                actor=None,
                snapshot=freeze(actor=None, reading_task=dataset.reading_task, dataset=dataset),
                recipe=queries.get_recipe(RECIPE),
                init="random",
                overrides=SETTINGS,
            ).id
        run = wait_until(lambda: ended(house, run_id), "the end of the training", TRAINING_SECONDS)
    finally:
        trainer.stop()
    assert run.state is State.COMPLETED, run.last_error
    assert len(run.curves) == 1
    table = trainer.instance / "datasets" / (dataset.content_sha256 or "") / "manifest.csv"
    assert hashlib.sha256(table.read_bytes()).hexdigest() == dataset.content_sha256
    assert run.model_version is not None
    assert run.model_version.archive_sha256  # which is how the others come by it
    assert not (house.settings.bundles_dir / run.model_version.bundle_sha256).exists()


def registered(house: Stack, dataset_id: int) -> Dataset | None:
    with house.rows():
        dataset = get_dataset(dataset_id)
        return dataset if dataset.is_registered else None


def recipes(house: Stack) -> set[str]:
    with house.rows():
        return {recipe.name for recipe in queries.recipes()}


def ended(house: Stack, run_id: int) -> TrainingRun | None:
    with house.rows():
        run = queries.get_run(run_id)
        return None if run.state.is_open else run
