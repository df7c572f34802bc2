"""Several machines: one database, one broker, one store; each machine has an instance of its own.

The house: web, sweeper and the worker for administration, on PostgreSQL and Redis. Two machines
beside it run one command each, begin with an empty instance, and know the house by its addresses.
"""

import contextlib
import dataclasses
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from tests.stack import Client, Stack, free_port, wait_until
from tests.unit.ml.factories import make_bundle, picture_bytes
from webapp.assessments.models import Assessment, State
from webapp.config import REPOSITORY
from webapp.db import db
from webapp.permissions import Role

FETCH_SECONDS = 120


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
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    environment = {
        "DATABASE_URL": empty_postgresql_url,
        "BROKER_URL": f"redis://127.0.0.1:{port}/0",
        "STORAGE_URL": tmp_path_factory.mktemp("store").as_uri(),
        "AUDIT_KEY": "k" * 32,
        "SECRET_KEY": "s" * 32,
    }
    command = f"exec {server} --port {port} --bind 127.0.0.1 --dir {folder} --save ''"
    with Stack(
        bundle=bundle,
        environment=environment,
        processes=("broker", "web", "sweeper"),
        commands={"broker": command},
    ) as stack:
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


@pytest.fixture(scope="module")
def machines(house: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Machine]]:
    started: list[Machine] = []
    try:
        for name in ("one", "two"):
            folder = tmp_path_factory.mktemp(f"machine-{name}")
            environment = house.environment | {
                "INSTANCE_DIR": str(folder / "instance"),
                "WORKER_PROCESSES": "1",
            }
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    ["honcho", "--env", "/dev/null", "start", "worker"],
                    cwd=REPOSITORY,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            started.append(Machine(folder / "instance", process, folder / "log"))
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
