"""`python -m webapp.launch`, in which README's first command ends: from an empty folder to pages,
Ctrl-C, a second start, and starts in production that are refused."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests
from sqlalchemy import select

from tests import made
from tests.stack import Client, free_port, wait_until
from webapp.assessments.models import State
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case
from webapp.config import REPOSITORY, Settings
from webapp.core import create_core
from webapp.db import db
from webapp.launch import PROCESSES

PASSWORD = re.compile(r"one-time password of (\w+) +(\S+)")
START_SECONDS = 180
"""On a machine that does much else."""


class Launch:
    """What a person has in their terminal."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, url: str) -> None:
        self.process = process
        self.url = url
        self._output = output

    @property
    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, words: str) -> None:
        def is_said() -> bool:
            assert self.process.poll() is None, self.said
            return words in self.said

        wait_until(is_said, f"“{words}”", START_SECONDS)

    def serves(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=10).ok
        except requests.RequestException:
            return False

    def press_ctrl_c(self) -> int:
        """Interrupt the foreground; returns the exit status once nothing of it is left."""
        started = psutil.Process(self.process.pid).children(recursive=True)
        assert started
        os.killpg(self.process.pid, signal.SIGINT)
        status = self.process.wait(timeout=60)
        _, left = psutil.wait_procs(started, timeout=10)
        assert not left
        return status


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An instance in which nothing is but networks that were exported before: that takes long, and
    is tried elsewhere. Anybody may look into its folder."""
    instance = tmp_path_factory.mktemp("launch") / "instance"
    bundles = sorted(path.parent for path in REPOSITORY.glob("ml/bundles/*/*/bundle.json"))
    made.put_engines(bundles, instance / "engines")
    instance.chmod(0o755)
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/tmp"),
        "PYTHONUNBUFFERED": "1",
        "INSTANCE_DIR": str(instance),
        "PORT": str(free_port()),
        "WEB_PROCESSES": "1",
        "WORKER_PROCESSES": "1",
        "DEVICE": "cpu",
    }


@contextmanager
def launched(environment: dict[str, str], output: Path) -> Iterator[Launch]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "webapp.launch"],
            cwd=REPOSITORY,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield Launch(process, output, f"http://127.0.0.1:{environment['PORT']}")
    finally:
        if process.poll() is None:
            for one in psutil.Process(process.pid).children(recursive=True):
                one.kill()
            process.kill()
            process.wait()


def demonstration(environment: dict[str, str]) -> dict[str, set[State]]:
    """What becomes of the demonstration cases of each reading task."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "demo", "add"]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
    states: dict[str, set[State]] = {}

    def all_are_read() -> bool:
        states.clear()
        db.session.rollback()
        for case in db.session.scalars(select(Case)):
            assessment = current_assessment(case)
            assert assessment
            states.setdefault(case.reading_task.code, set()).add(assessment.state)
        return not any(state.is_open for found in states.values() for state in found)

    with create_core(Settings(instance_dir=Path(environment["INSTANCE_DIR"]))).app_context():
        wait_until(all_are_read, "all demonstration cases were read", START_SECONDS)
    return states


def test_it_starts_from_nothing_and_again_and_ends_at_ctrl_c(
    environment: dict[str, str], tmp_path: Path
) -> None:
    instance = Path(environment["INSTANCE_DIR"])
    with launched(environment, tmp_path / "first") as first:
        wait_until(first.serves, "the web server and a worker were ready", START_SECONDS)
        passwords = dict(PASSWORD.findall(first.said))
        assert passwords.keys() == {"admin", "approver", "clinician"}
        assert len(set(passwords.values())) == 3
        assert stat.S_IMODE(instance.stat().st_mode) == 0o700
        assert "broker.1 started" in first.said
        client = Client(first.url)
        client.sign_in("clinician", passwords["clinician"])
        assert client.get("/cases").url.endswith("/account")  # to choose a password of their own
        read = demonstration(environment)
        assert read.pop("chest-ct") == {State.ABSTAINED}  # a drawing, on which there is no answer
        assert len(read) == 4
        assert all(State.COMPLETED in states for states in read.values()), read
        assert set().union(*read.values()) <= {State.COMPLETED, State.ABSTAINED}
        assert first.press_ctrl_c() == 0

    nowhere = {"BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with launched(environment | nowhere, tmp_path / "second") as second:
        for name in PROCESSES:
            second.wait_for(f"{name}.1 started")
        assert f"Firstlook: {second.url}" in second.said
        assert not PASSWORD.search(second.said)
        assert "broker.1" not in second.said
        assert second.press_ctrl_c() == 0

    in_production = {"TRUSTED_PROXIES": "1", "SECRET_KEY": "s" * 32}
    for command in (
        ["-m", "webapp.launch"],
        ["-m", "gunicorn", "--config", "python:webapp.server", "wsgi:app"],
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=REPOSITORY,
            env=environment | in_production,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert "One-time passwords still stand: admin, approver, clinician" in done.stderr
        assert "Traceback" not in done.stderr
