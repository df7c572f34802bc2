"""Training runs: asked for, claimed, followed, given back, ended; with a process in place of the
real one, which the flow tests start."""

import datetime as dt
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask

from tests import clinic, trainings
from tests.conftest import People
from tests.unit.ml.factories import make_bundle
from webapp import queue, storage
from webapp.accounts.models import User
from webapp.assessments.models import Failure, State
from webapp.cases.models import Consent, Patient
from webapp.cases.services import record_consent
from webapp.config import REPOSITORY, current_settings
from webapp.datasets.models import Snapshot
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid
from webapp.jobs import ASSESS, TRAIN
from webapp.promotion.models import Comparison
from webapp.registry.models import ModelAlias, ModelVersion
from webapp.registry.queries import champion
from webapp.training import services
from webapp.training.checking import check
from webapp.training.models import Device, TrainingRun, Trouble
from webapp.training.queries import starts
from webapp.training.services import Order
from webapp.worker import install, recipes, run_folders, training
from webapp.worker.aside import aside

ONE_KIND = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the rings instead of sending them."""
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: heard.append(job) or True)
    return heard


@pytest.fixture
def actor(core: Flask, people: People) -> User:
    """An administrator, where a model serves."""
    clinic.serve()
    return people.administrator()


def reread(run: TrainingRun) -> TrainingRun:
    db.session.refresh(run)
    return run


def let_pass() -> None:
    """The lease of whatever is held has run out, and no pause is left."""
    with transaction():
        for run in db.session.query(TrainingRun):
            run.not_before_at = None
            if run.lease_expires_at:
                run.lease_expires_at = now() - dt.timedelta(seconds=1)


# Asking


def test_a_run_is_asked_for_claimed_followed_and_completed(actor: User, rings: list[str]) -> None:
    run = trainings.run(actor, overrides={"training.epochs": 2, "seed": 5})
    assert rings == [TRAIN]
    assert (run.init, run.device, run.state) == ("random", Device.AUTO, State.SCHEDULED)
    assert run.recipe["training"]["epochs"] == 2
    assert (run.recipe["seed"], run.recipe["data"]["split"]) == (5, "published")
    assert run.recipe["version"] == f"{now():%Y.%m.%d}-{run.id}"
    taken = trainings.claim()
    assert (taken.run_id, taken.snapshot_id) == (run.id, run.snapshot_id)
    assert dict(taken.recipe) == run.recipe
    assert services.note(claim=taken, seen=trainings.seen(1)) is Order.GO_ON
    assert reread(run).share_done == pytest.approx(1.5 / 4)
    version = clinic.serve_newer()
    assert services.complete(claim=taken, version=version, engine="cpu", code_version="test")
    assert (reread(run).state, run.model_version_id) == (State.COMPLETED, version.id)
    assert not services.note(claim=taken, seen=trainings.seen(1)) is not Order.LET_GO
    asked, completed = clinic.recorded("training.requested", "training.completed")
    assert (asked.actor_id, asked.detail["overrides"]["seed"]) == (actor.id, 5)
    assert completed.detail["version"] == version.version


@ONE_KIND
def test_it_starts_from_what_serves_where_the_network_is_the_same(actor: User) -> None:
    task_id = trainings.snapshot().reading_task_id
    serving = champion(task_id)
    assert serving
    older = clinic.serve_newer("0.9.0")
    for version in (serving, older):
        version.manifest = version.manifest | {"network": {"name": "plain-cnn"}}
    db.session.query(ModelAlias).one().model_version = serving
    db.session.commit()
    small = trainings.recipe()
    assert starts(small, task_id) == [serving, older]
    assert trainings.run(actor, recipe=small).init == f"bundle:{serving.bundle_sha256}"
    asked = trainings.run(actor, recipe=small, init=f"bundle:{older.bundle_sha256}")
    assert asked.recipe["network"]["init"] == f"bundle:{older.bundle_sha256}"
    other = trainings.recipe(network=trainings.TABLE["network"] | {"name": "efficientnet-lite0"})
    with pytest.raises(Invalid) as refused:
        trainings.run(actor, recipe=other, init=f"bundle:{older.bundle_sha256}")
    assert refused.value.facts == {"init": "unknown"}


@ONE_KIND
@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"training.epochs": 2.5}, "type"),
        ({"training.epochs": True}, "type"),
        ({"training.learning_rate": float("nan")}, "type"),
        ({"training.learning_rate": 1}, ""),
        ({"preprocess.mean": [1.0, "2"]}, "type"),
        ({"network.frozen_norms": 1}, "type"),
        ({"data.sampling": "loud"}, "choice"),
        ({"data.split": "locked"}, "unknown"),
        ({"network.init": "random"}, "unknown"),
        ({"training.speed": 3}, "unknown"),
    ],
)
def test_what_the_schema_does_not_know_is_refused(
    actor: User, overrides: dict[str, Any], reason: str
) -> None:
    if not reason:
        assert trainings.run(actor, overrides=overrides).overrides == overrides
        return
    with pytest.raises(Invalid) as refused:
        trainings.run(actor, overrides=overrides)
    assert refused.value.facts == {next(iter(overrides)): reason}
    assert not db.session.query(TrainingRun).count()


@ONE_KIND
def test_a_snapshot_of_another_reading_task_is_refused(actor: User) -> None:
    clinic.serve("other-task")
    with pytest.raises(Invalid) as refused:
        trainings.run(actor, snapshot=trainings.snapshot("other-task"))
    assert refused.value.facts == {"snapshot": "other_task"}


@ONE_KIND
def test_what_could_not_be_tested_is_refused(actor: User) -> None:
    with pytest.raises(Invalid) as refused:
        trainings.run(actor, snapshot=trainings.snapshot(tested=0))
    assert refused.value.facts == {"snapshot": "no_test"}


@ONE_KIND
def test_it_starts_from_the_recipe_s_own_where_what_serves_is_of_another_network(
    actor: User,
) -> None:
    """Also where an older version is of the recipe's network."""
    serving = champion(trainings.snapshot().reading_task_id)
    assert serving
    older = clinic.serve_newer("0.9.0")
    older.manifest = older.manifest | {"network": {"name": "plain-cnn"}}
    db.session.query(ModelAlias).one().model_version = serving
    db.session.commit()
    small = trainings.recipe()
    assert starts(small, serving.reading_task_id) == [older]
    assert trainings.run(actor, recipe=small).init == "random"


@ONE_KIND
def test_what_asks_for_a_gpu_waits_for_one(actor: User) -> None:
    run = trainings.run(actor, device=Device.CUDA)
    assert services.claim(worker="trainer:1", has_gpu=False, lease_seconds=60) is None
    assert trainings.claim(has_gpu=True).run_id == run.id


# Attempts


def test_a_trainer_that_got_further_may_be_lost_as_often_as_it_likes(actor: User) -> None:
    run = trainings.run(actor)
    for epochs in (1, 2, 3, 3, 3):
        taken = trainings.claim()
        services.note(claim=taken, seen=trainings.seen(epochs))
        assert reread(run).state is State.IN_PROGRESS
        let_pass()
        services.KIND.return_expired_leases()
    assert (reread(run).state, run.failure) == (State.FAILED, Failure.WORKER_LOST)
    services.retry(actor=actor, run=run)
    assert (reread(run).state, run.attempt_count, len(run.curves)) == (State.SCHEDULED, 0, 3)
    with pytest.raises(Conflict):
        services.retry(actor=actor, run=run)


def test_a_trainer_that_is_told_to_end_gives_its_run_back(actor: User, rings: list[str]) -> None:
    run = trainings.run(actor)
    for _ in range(5):
        rings.clear()
        assert services.put_back(claim=trainings.claim())
        assert (reread(run).state, run.attempt_count, rings) == (
            State.SCHEDULED,
            0,
            [TRAIN],
        )
    lost = trainings.claim()
    let_pass()
    services.KIND.return_expired_leases()
    for _end in (services.put_back, services.complete, services.fail):
        assert not services.put_back(claim=lost)


@ONE_KIND
@pytest.mark.parametrize("trouble", Trouble)
def test_what_would_end_in_the_same_way_is_not_tried_again(actor: User, trouble: Trouble) -> None:
    run = trainings.run(actor)
    assert services.fail(claim=trainings.claim(), trouble=trouble, error="for tests")
    assert reread(run).state is (State.FAILED if trouble.is_final else State.SCHEDULED)
    assert run.why is trouble.label
    assert run.last_error == "for tests"
    assert (run.not_before_at is None) == trouble.is_final


def test_a_run_is_cancelled_at_once_or_by_its_trainer(actor: User) -> None:
    waiting = trainings.run(actor)
    services.cancel(actor=actor, run=waiting)
    assert reread(waiting).state is State.CANCELLED
    with pytest.raises(Conflict):
        services.cancel(actor=actor, run=waiting)
    held = trainings.run(actor)
    taken = trainings.claim()
    services.cancel(actor=actor, run=held)
    services.cancel(actor=actor, run=held)
    assert reread(held).is_being_cancelled
    assert services.note(claim=taken, seen=trainings.seen(0)) is Order.CANCEL
    assert services.fail(claim=taken, trouble=Trouble.KILLED, error="it is over")
    assert (reread(held).state, held.trouble) == (State.CANCELLED, None)
    assert len(clinic.recorded("training.cancelled")) == 2


# The trainer

PREPARED = """
import json, os, pathlib, shutil, sys, time
from ml.progress import FILE
run = pathlib.Path(sys.argv[1])
run.mkdir(exist_ok=True)
def say(**said):
    (run / "partial").write_text(json.dumps(said))
    (run / "partial").replace(run / FILE)
def learn(epoch):
    say(stage="training", epoch=epoch, epochs=4, batch=1, batches=2, seconds_left=3.5)
    rows = "".join(f"{number},0.5,nan\\n" for number in range(epoch))
    (run / "epochs.csv").write_text("epoch,train_loss,tune_auc\\n" + rows)
    (run / "log.txt").write_text("epoch\\rended %d\\n" % epoch)
"""


@pytest.fixture
def learns(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a short program in the place of `ml.train`, and one data set for all."""
    monkeypatch.setattr(training, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(training, "STOP_SECONDS", 0.5)

    def write(_snapshot_id: int, folder: Path) -> Path:
        folder.mkdir()
        (folder / "manifest.csv").write_text("file\n")
        return folder

    def program(text: str) -> None:
        def command(place: training.Place) -> list[str]:
            return aside([sys.executable, "-c", PREPARED + text, str(place.run)], idle=False)

        monkeypatch.setattr(training, "_command", command)

    monkeypatch.setattr(training, "materialise", write)
    return program


def work(run: TrainingRun, *, is_stopping: Callable[[], bool] = lambda: False) -> TrainingRun:
    """Have the next attempt of a run made."""
    let_pass()
    training.train(trainings.claim(), is_stopping)
    return reread(run)


def folder_of(run: TrainingRun) -> Path:
    return current_settings().runs_dir / str(run.id)


@ONE_KIND
def test_what_comes_of_a_run_is_registered_once_also_by_a_trainer_that_was_cut_off(
    actor: User, learns: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_bundle(tmp_path / "made")
    install.install(make_bundle(tmp_path / "serving", seed=1))
    sha256 = install.bundles.load(made).sha256
    learns(
        f"learn(2); time.sleep(0.3); shutil.copytree({str(made)!r}, run / 'bundle')\n"
        f"say(stage='finished', bundle_sha256={sha256!r})"
    )
    run = trainings.run(actor)
    with monkeypatch.context() as patch:
        patch.setattr(services, "complete", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            work(run)
    assert (reread(run).state, run.model_version_id) == (State.SCHEDULED, None)
    learns("raise SystemExit('it has learnt already')")
    work(run)
    assert (run.state, run.bundle_sha256) == (State.COMPLETED, sha256)
    (version,) = db.session.query(ModelVersion).filter_by(bundle_sha256=sha256)
    assert run.model_version_id == version.id
    assert [row["train_loss"] for row in run.curves] == [0.5, 0.5]
    assert run.curves[0]["tune_auc"] is None
    assert run.log_tail == "ended 2"
    assert run.code_version
    assert not folder_of(run).exists()
    comparison = db.session.query(Comparison).one()
    assert (comparison.candidate_id, comparison.requested_by_id) == (version.id, actor.id)
    assert comparison.champion == champion(version.reading_task_id)


@ONE_KIND
def test_a_disk_that_fills_up_while_the_model_is_kept_leaves_nothing_registered(
    actor: User, learns: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only the last of what is kept has no room any more."""
    made = make_bundle(tmp_path / "made")
    bundle = install.bundles.load(made)
    learns(
        f"shutil.copytree({str(made)!r}, run / 'bundle')\n"
        f"say(stage='finished', bundle_sha256={bundle.sha256!r})"
    )
    put = storage.put
    last = (made / bundle.facts["self_test"][-1]["file"]).read_bytes()

    def fill_up(data: bytes) -> str:
        if data == last:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(data)

    asked = trainings.run(actor)
    before = set(storage.hashes())
    monkeypatch.setattr(install.storage, "put", fill_up)
    run = work(asked)
    assert (run.state, run.trouble) == (State.FAILED, Trouble.DISK_FULL)
    assert set(storage.hashes()) == before
    assert not db.session.query(ModelVersion).filter_by(bundle_sha256=bundle.sha256).count()


@ONE_KIND
def test_a_model_that_fails_its_own_test_is_not_registered(
    actor: User, learns: Callable[[str], None], tmp_path: Path
) -> None:
    made = make_bundle(tmp_path / "made")
    sha256 = install.bundles.load(made).sha256
    (made / "model.safetensors").write_bytes(b"nothing")
    learns(
        f"shutil.copytree({str(made)!r}, run / 'bundle')\n"
        f"say(stage='finished', bundle_sha256={sha256!r})"
    )
    run = work(trainings.run(actor))
    assert (run.state, run.trouble) == (State.FAILED, Trouble.UNFIT)
    assert not db.session.query(ModelVersion).filter_by(bundle_sha256=sha256).count()


@ONE_KIND
@pytest.mark.parametrize(
    ("ends", "trouble"),
    [
        ("raise SystemExit(3)", Trouble.REFUSED),
        ("raise SystemExit(4)", Trouble.OUT_OF_MEMORY),
        ("raise SystemExit(5)", Trouble.DISK_FULL),
        ("raise ZeroDivisionError('in the middle')", Trouble.ERROR),
        ("os.kill(os.getpid(), 9)", Trouble.KILLED),
        ("os.kill(os.getpid(), 7)", Trouble.DISK_FULL),
    ],
)
def test_how_the_process_ended_is_told(
    actor: User, learns: Callable[[str], None], ends: str, trouble: Trouble
) -> None:
    learns(f"learn(1); time.sleep(0.3); {ends}")
    run = work(trainings.run(actor))
    assert run.trouble is trouble
    assert (run.state is State.FAILED) == trouble.is_final
    assert len(run.curves) == 1
    assert folder_of(run).exists()
    assert (trouble is not Trouble.ERROR) or "in the middle" in (run.last_error or "")


@ONE_KIND
def test_a_full_disk_is_told_before_anything_is_begun(
    actor: User, learns: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    learns("raise SystemExit('it did begin')")
    monkeypatch.setattr(training, "SPARE_BYTES", 10**18)
    run = work(trainings.run(actor))
    assert (run.state, run.trouble) == (State.FAILED, Trouble.DISK_FULL)
    monkeypatch.undo()


@ONE_KIND
def test_a_disk_that_fills_up_while_the_pictures_are_put_together_is_told(
    actor: User, learns: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_snapshot_id: int, folder: Path) -> Path:
        folder.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    learns("raise SystemExit('it did begin')")
    monkeypatch.setattr(training, "materialise", fill)
    run = work(trainings.run(actor))
    assert (run.state, run.trouble) == (State.FAILED, Trouble.DISK_FULL)
    assert not (folder_of(run) / "data").exists()


@ONE_KIND
def test_pictures_that_are_missing_and_a_start_that_is_missing_are_told(
    actor: User, learns: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = champion(trainings.snapshot().reading_task_id)
    assert serving
    serving.manifest = serving.manifest | {"network": {"name": "plain-cnn"}}
    db.session.commit()
    learns("raise SystemExit('it did begin')")
    run = work(trainings.run(actor))
    assert run.trouble is Trouble.NO_START

    def miss(_snapshot_id: int, _folder: Path) -> Path:
        raise FileNotFoundError("the base")

    monkeypatch.setattr(training, "materialise", miss)
    run = work(trainings.run(actor, init="random"))
    assert (run.trouble, run.state) == (Trouble.NO_PICTURES, State.SCHEDULED)


@ONE_KIND
@pytest.mark.parametrize("how", ["cancel", "stop", "lose"])
def test_a_run_that_is_not_to_go_on_ends_its_process(
    actor: User, learns: Callable[[str], None], how: str
) -> None:
    learns("(run / 'pid').write_text(str(os.getpid())); learn(1); time.sleep(60)")
    run = trainings.run(actor)
    file = folder_of(run) / "run" / "pid"
    ends: list[bool] = []

    def is_stopping() -> bool:
        if not file.exists() or ends:
            return False
        ends.append(True)
        match how:
            case "cancel":
                services.cancel(actor=actor, run=run)
            case "lose":
                with transaction():
                    reread(run).lease_token = "another's"
        return how == "stop"

    began = time.monotonic()
    work(run, is_stopping=is_stopping)
    assert time.monotonic() - began < 30
    state = {"cancel": State.CANCELLED, "stop": State.SCHEDULED, "lose": State.IN_PROGRESS}
    assert run.state is state[how]
    if how == "cancel":
        assert not folder_of(run).exists()
    else:
        assert not psutil.pid_exists(int(file.read_text()))
        assert (folder_of(run) / "data" / "manifest.csv").exists()


def withdrawable(actor: User) -> tuple[Snapshot, Patient]:
    """A snapshot with a case of a patient who consents."""
    case = clinic.send(actor)
    say(actor, case.patient, Consent.GIVEN)
    return trainings.holding(case), case.patient


def say(actor: User, patient: Patient, consent: Consent) -> None:
    record_consent(actor=actor, patient=patient, consent=consent, shown=patient.consent)


@ONE_KIND
@pytest.mark.parametrize("runs_on", [True, False])
def test_nothing_goes_on_with_what_may_not_be_learnt_from_any_more(
    actor: User, people: People, learns: Callable[[str], None], *, runs_on: bool
) -> None:
    """Consent is withdrawn while the run goes on, or once it has failed and before its retry."""
    clinician = people.clinician()
    snapshot, patient = withdrawable(clinician)
    run = trainings.run(actor, snapshot=snapshot)
    learnt = folder_of(run) / "run" / "learnt"
    learns(f"(run / 'learnt').touch(); learn(2); time.sleep({60 if runs_on else 0.3}); sys.exit(3)")

    def withdraw_once() -> bool:
        if runs_on and learnt.exists() and patient.consent is Consent.GIVEN:
            say(clinician, patient, Consent.WITHDRAWN)
        return False

    began = time.monotonic()
    work(run, is_stopping=withdraw_once)
    assert time.monotonic() - began < 30
    if not runs_on:
        assert run.trouble is Trouble.REFUSED
        services.retry(actor=actor, run=run)
        say(clinician, patient, Consent.WITHDRAWN)
    assert (run.state, len(run.curves), learnt.exists()) == (State.SCHEDULED, 2, True)
    learns("learn(1); time.sleep(0.3); sys.exit(3)")
    assert work(run).trouble is Trouble.REFUSED
    assert (len(run.curves), learnt.exists()) == (1, False)
    learnt.touch()
    services.retry(actor=actor, run=run)
    assert work(run).trouble is Trouble.REFUSED
    assert learnt.exists()


@ONE_KIND
def test_a_training_that_is_cancelled_may_end_its_epoch(
    actor: User, learns: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "STOP_SECONDS", 30)
    ended = tmp_path / "ended"
    learns(
        "learn(1)\n"
        "while not (run / 'stop').exists(): time.sleep(0.05)\n"
        f"learn(2); pathlib.Path({str(ended)!r}).write_text('by itself')"
    )
    run = trainings.run(actor)

    def cancel_once() -> bool:
        if (folder_of(run) / "run" / "epochs.csv").exists():
            services.cancel(actor=actor, run=run)
        return False

    began = time.monotonic()
    work(run, is_stopping=cancel_once)
    assert run.state is State.CANCELLED
    assert ended.read_text() == "by itself"
    assert time.monotonic() - began < 15
    assert not folder_of(run).exists()


@ONE_KIND
def test_folders_of_runs_that_are_over_are_removed(actor: User) -> None:
    kept, over = trainings.run(actor), trainings.run(actor)
    services.cancel(actor=actor, run=over)
    for run in (kept, over):
        folder_of(run).mkdir(parents=True)
    run_folders.remove_ended()
    assert (folder_of(kept).exists(), folder_of(over).exists()) == (True, False)


def test_the_process_ends_with_the_one_that_started_it_and_steps_aside(tmp_path: Path) -> None:
    said = tmp_path / "said"
    child = (
        "import os, pathlib, time\n"
        "adjusted = pathlib.Path('/proc/self/oom_score_adj').read_text().strip()\n"
        "idle = os.sched_getscheduler(0) == os.SCHED_IDLE\n"
        "group = pathlib.Path('/proc/self/autogroup')\n"
        "nice = group.read_text().split()[-1] if group.exists() else '19'\n"
        f"said = pathlib.Path({str(said)!r})\n"
        "said.write_text(f'{os.getpid()} {adjusted} {idle} {nice}')\n"
        "time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time\n"
        "from webapp.worker.aside import aside\n"
        "program = [sys.executable, '-c', sys.argv[1]]\n"
        "subprocess.Popen(aside(program, idle=True), start_new_session=True)\n"
        "time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", parent, child], cwd=REPOSITORY)
    deadline = time.monotonic() + 30
    while not (said.exists() and said.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid, adjusted, idle, nice = said.read_text().split()
    assert (adjusted, idle, nice) == ("1000", "True", "19")
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    with suppress(psutil.NoSuchProcess):  # where whoever inherited it has asked how it ended
        orphan = psutil.Process(int(pid))
        while orphan.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_nothing_begins_whose_parent_has_ended_already(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    command = aside(["/bin/touch", str(begun)], idle=False)
    subprocess.run(command, cwd=REPOSITORY, check=True)
    assert begun.exists()

    begun.unlink()
    command[command.index(str(os.getpid()))] = str(ended_process())
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 1
    assert not begun.exists()


def ended_process() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@ONE_KIND
def test_a_run_is_kept_from_a_gpu_that_it_did_not_ask_for(
    actor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = training._environment(Device.CPU)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["FIRSTLOOK_BUNDLES"] == str(current_settings().bundles_dir)


# Recipes


def test_the_trainer_writes_what_it_knows_in_the_place_of_what_it_knew(
    core: Flask, tmp_path: Path
) -> None:
    trainings.recipe("former")
    shutil.copy(recipes.RECIPES / "blood-cell.toml", tmp_path)
    recipes.write(tmp_path)
    (entry,) = db.session.query(services.RecipeEntry).all()
    assert (entry.name, entry.reading_task) == ("blood-cell", "blood-cell")
    assert entry.table["training"]["epochs"] == 9
    assert entry.about
    assert [table["name"] for table in entry.schema][:2] == ["", "data"]


def test_a_chest_that_is_mirrored_is_not_to_be_had(core: Flask, tmp_path: Path) -> None:
    """The heart is on the left: of a CT's recipe nobody can ask for flips."""
    shutil.copy(recipes.RECIPES / "chest-ct.toml", tmp_path)
    recipes.write(tmp_path)
    (entry,) = db.session.query(services.RecipeEntry).all()
    asked = {"augmentation.horizontal_flip": True, "augmentation.zoom": 0.2}
    assert check(entry.schema, asked) == {
        "augmentation.horizontal_flip": "unknown",
        "augmentation.zoom": "",
    }


# The command line


def test_the_commands_do_what_the_page_does(app: Flask) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = app.test_cli_runner().invoke(args=("training", *words))
        db.session.remove()
        return done.exit_code, done.output

    with app.app_context():
        clinic.serve()
        recipe, snapshot = trainings.recipe().name, str(trainings.snapshot().id)
        ask = ("run", "--recipe", recipe, "--snapshot", snapshot)
        more = ("--init", "random", "--device", "cuda", "--set", "training.epochs=2")
        assert run(*ask, *more) == (0, "Training 1 is asked for: /training/1\n")
        asked = db.session.get_one(TrainingRun, 1)
        assert (asked.init, asked.device) == ("random", Device.CUDA)
        assert asked.overrides == {"training.epochs": 2}
        assert run("list") == (0, f"1\tscheduled\t{recipe}\t0%\t\n")
        for refused, why in (
            (("run", "--recipe", "none", "--snapshot", snapshot), "Error"),
            ((*ask, "--init", "bundle:none"), "refused: init"),
            ((*ask, "--device", "tpu"), "'tpu' is not one of"),
            ((*ask, "--set", "epochs"), "not of the form table.key=value"),
            (("retry", "1"), "Error"),
            (("cancel", "9"), "Error"),
        ):
            code, said = run(*refused)
            assert code != 0, refused
            assert why in said, said
        assert run("cancel", "1") == (0, "")
        assert run(*ask)[0] == 0
        claim = trainings.claim()
        assert services.fail(claim=claim, trouble=Trouble.DISK_FULL, error="full")
        assert run("retry", "2") == (0, "")
        states = [line.split("\t")[:2] for line in run("list")[1].splitlines()]
        assert states == [["2", "scheduled"], ["1", "cancelled"]]
