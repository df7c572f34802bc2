"""A real training, small, by the trainer of a running house: killed, ended, taken up again."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from flask import Flask

from tests import datasets
from tests.stack import Stack, wait_until
from tests.unit.ml.factories import make_bundle, picture_bytes
from webapp.assessments.models import State
from webapp.permissions import Role
from webapp.registry.queries import champion
from webapp.training import queries
from webapp.training.models import TrainingRun

CODES = ("basophil", "eosinophil")
EPOCHS = 300
"""Of a tenth of a second or so each: enough to be met in the middle a few times."""
SETTINGS = {
    "preprocess.native_short_side_px": 32,
    "preprocess.size_px": 32,
    "training.epochs": EPOCHS,
    "training.patience_epochs": EPOCHS,
    "training.batch_size": 16,
}
STEP_SECONDS = 150
"""What a start of torch may take on a busy machine, at idle priority."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A house with a trainer, and a model of the recipe's network that serves."""
    (tmp_path / "locked").mkdir()
    processes = ("broker", "web", "worker", "trainer", "sweeper")
    environment = {
        "LOCKED_TESTS_DIR": str(tmp_path / "locked"),
        "TRAINING_PRIORITY": "normal",  # others use this machine too
        "WORKER_PROCESSES": "1",
    }
    bundle = make_bundle(tmp_path / "bundle")
    with Stack(bundle=bundle, environment=environment, processes=processes) as stack:
        yield stack


def run_of(stack: Stack, run_id: int) -> TrainingRun:
    with stack.rows():
        return queries.get_run(run_id)


def wait_for_epochs(stack: Stack, run_id: int, more_than: int) -> int:
    """How many whole epochs there are once there are more than so many."""

    def learnt() -> int:
        run = run_of(stack, run_id)
        assert run.state is not State.FAILED, run.last_error
        return len(run.curves) if len(run.curves) > more_than else 0

    return wait_until(learnt, f"an epoch after {more_than}", STEP_SECONDS)


def training_process(stack: Stack) -> psutil.Process | None:
    """`ml.train`, which has a process group of its own."""
    for process in psutil.Process(stack.processes["trainer"].pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that has just ended has none
            if "ml.train" in process.cmdline():
                return process
    return None


def has_ended(process: psutil.Process) -> bool:
    """Also where whoever inherited it has not asked yet how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_run_outlives_kills_and_restarts_and_gives_a_candidate(
    stack: Stack, tmp_path: Path
) -> None:
    with stack.rows():
        number = datasets.drawn_snapshot(tmp_path / "cells", CODES).id
    recipe = "s2-blood-plain"
    wait_until(
        lambda: _recipes(stack.app) and recipe in _recipes(stack.app), "the recipes", STEP_SECONDS
    )
    options = [f"--set={name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    asked = ("training", "run", "--recipe", recipe, "--snapshot", str(number), *options)
    run_id = int(stack.run("flask", "--app", "wsgi", *asked).split()[1])
    with stack.rows():
        serving = champion(queries.get_run(run_id).reading_task_id)
        assert serving
        assert queries.get_run(run_id).init == f"bundle:{serving.bundle_sha256}"

    # The process is killed: another attempt goes on from the last whole epoch.
    epochs = wait_for_epochs(stack, run_id, 0)
    process = wait_until(lambda: training_process(stack), "the training process")
    process.kill()
    wait_until(lambda: run_of(stack, run_id).state is State.SCHEDULED, "the attempt's end")
    epochs = wait_for_epochs(stack, run_id, epochs)

    # All of the trainer is killed, and so is the process that it had started.
    process = wait_until(lambda: training_process(stack), "the training process")
    stack.kill("trainer")
    wait_until(lambda: has_ended(process), "the end of the orphan")
    stack.start("trainer")
    epochs = wait_for_epochs(stack, run_id, epochs)

    # Broker and web are started anew beside it: it does not mind, and cases are read.
    before = run_of(stack, run_id)
    for name in ("broker", "web"):
        stack.restart(name)
    stack.wait_ready()
    case_id = stack.sign_in().submit([picture_bytes(seed=99)])
    assert stack.wait_for(case_id).state is State.COMPLETED
    epochs = wait_for_epochs(stack, run_id, epochs)
    assert run_of(stack, run_id).lease_token == before.lease_token

    # The trainer is told to end: it gives the run back, and the attempt does not count.
    os.killpg(stack.processes["trainer"].pid, signal.SIGTERM)
    stack.processes["trainer"].wait(30)
    run = run_of(stack, run_id)
    assert (run.state, run.attempt_count) == (State.SCHEDULED, 0)
    stack.start("trainer")

    run = wait_until(
        lambda: (r := run_of(stack, run_id)).state is State.COMPLETED and r,
        "the end of the training",
        2 * STEP_SECONDS,
    )
    assert [row["epoch"] for row in run.curves] == [float(number) for number in range(EPOCHS)]
    losses = [row["train_loss"] or 0.0 for row in run.curves]
    assert losses[-1] < losses[0] / 2
    assert run.model_version
    assert run.model_version.manifest["training"]["started_from_bundle"] == serving.bundle_sha256
    assert run.model_version.version == run.recipe["version"]
    assert (stack.settings.bundles_dir / (run.bundle_sha256 or "") / "bundle.json").is_file()
    folder = stack.settings.runs_dir / str(run_id)
    wait_until(lambda: not folder.exists(), "its folder is removed")
    with stack.rows():
        still = champion(run.reading_task_id)
        assert still
        assert still.id == serving.id
    page = stack.sign_in(Role.ADMINISTRATOR).get(f"/training/{run_id}").text
    assert "The candidate is registered" in page


def _recipes(app: Flask) -> set[str]:
    with app.app_context():
        return {recipe.name for recipe in queries.recipes()}
