"""Starting on a laptop: what is said where it runs already, and how Ctrl-C ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from webapp import broker, launch
from webapp.config import REPOSITORY, Settings


@pytest.fixture
def instance(tmp_path: Path) -> Settings:
    return Settings(instance_dir=tmp_path, port=8123)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_is_a_good_end(tmp_path: Path, number: signal.Signals, status: int) -> None:
    (tmp_path / "Procfile").write_text("sleeper: exec sleep 60\n")
    manager = subprocess.Popen(
        [sys.executable, "-m", "webapp.processes", "-f", tmp_path / "Procfile", "start"],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert manager.stdout
    while "started" not in manager.stdout.readline():
        assert manager.poll() is None
    manager.send_signal(number)
    manager.communicate(timeout=30)
    assert manager.returncode == status


def test_it_can_be_ended_before_all_have_started() -> None:
    program = """
import sys
from honcho.printer import Printer
from webapp.processes import Manager
manager = Manager(Printer(sys.stdout))
manager.add_process("sleeper", "echo $$; exec sleep 60")
manager.terminate()
manager.loop()
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=30
    )
    assert "sending SIGTERM to sleeper" in done.stdout
    assert "sleeper stopped" in done.stdout


def test_who_starts_it_twice_is_told_where_it_serves_and_how_to_stop_it(
    instance: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = f"http://127.0.0.1:8000 {os.getpid()}"  # what started on another port says
    (instance.instance_dir / "launched").write_text(note)
    monkeypatch.setattr(Settings, "from_environment", lambda: instance)
    monkeypatch.setattr(broker, "is_running", lambda settings: settings is instance)
    with pytest.raises(SystemExit) as end:
        launch.main()
    said = str(end.value)
    assert f"runs already in {instance.instance_dir}" in said
    assert "http://127.0.0.1:8000" in said
    assert "Ctrl-C" in said
    assert f"kill {os.getpid()}" in said


@pytest.mark.parametrize("note", [None, "", f"http://127.0.0.1:8000 {2**22 + 1}"])
def test_what_is_not_known_of_it_is_not_said(instance: Settings, note: str | None) -> None:
    if note is not None:
        (instance.instance_dir / "launched").write_text(note)
    assert launch.runs_already(instance) == f"Firstlook runs already in {instance.instance_dir}."


def test_a_first_start_says_how_to_add_demonstration_cases(
    instance: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    launch.announce(instance, [("clinician", "a password")])
    assert "flask demo add" in capsys.readouterr().out
    launch.announce(instance, [])
    assert "demo" not in capsys.readouterr().out
