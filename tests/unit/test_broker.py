"""The embedded broker: one an instance, whoever starts it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.stack import wait_until
from webapp import broker
from webapp.config import REPOSITORY, Settings


def start(settings: Settings) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "webapp.broker"],
        cwd=REPOSITORY,
        env=os.environ | {"INSTANCE_DIR": str(settings.instance_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill_all(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def answers(settings: Settings) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(settings.broker_socket)) == 0


def test_a_second_broker_leaves_the_first_alone(tmp_path: Path) -> None:
    settings = Settings(instance_dir=tmp_path / "i")
    assert not broker.is_running(settings)
    first = start(settings)
    try:
        wait_until(settings.broker_socket.exists, "the socket of the first broker")
        assert broker.is_running(settings)
        second = start(settings)
        _, said = second.communicate(timeout=30)
        assert second.returncode == 1
        assert "runs already" in said
        assert settings.broker_socket.exists()
    finally:
        kill_all(first)
    assert not broker.is_running(settings)  # a killed one holds nothing


def test_a_broker_that_is_killed_comes_back(tmp_path: Path) -> None:
    settings = Settings(instance_dir=tmp_path / "i")
    keeper = start(settings)
    try:
        wait_until(lambda: answers(settings), "the broker's start")
        (server,) = psutil.Process(keeper.pid).children()
        server.kill()
        wait_until(lambda: not server.is_running(), "the broker's end")
        wait_until(lambda: answers(settings), "the broker's return")
    finally:
        kill_all(keeper)


def test_a_broker_that_is_told_to_stop_stops(tmp_path: Path) -> None:
    settings = Settings(instance_dir=tmp_path / "i")
    keeper = start(settings)
    wait_until(lambda: answers(settings), "the broker's start")
    (server,) = psutil.Process(keeper.pid).children()
    keeper.terminate()
    keeper.communicate(timeout=30)
    assert keeper.returncode == 0
    assert not server.is_running()
