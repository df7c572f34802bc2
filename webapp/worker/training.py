"""From a claimed run to `ml.train` in a process of its own, and from what that says to the row.

A run has a folder, in which it goes on from its last whole epoch whenever it is taken up again: the
data of its snapshot, the recipe, and the run's own files. It is removed once the run is over. Where
somebody has withdrawn consent since the data were put together, or more is locked away, nothing of
it is used again: the run begins anew, without what may not be learnt from any more.
"""

import csv
import errno
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ml import progress
from ml.bundle import INSTALLED, BundleError
from ml.engines import EngineError
from ml.progress import Ending
from webapp.config import REPOSITORY, current_settings
from webapp.errors import Conflict, DomainError, NotFound
from webapp.promotion.services import request_comparison
from webapp.registry.queries import installed
from webapp.storage import Away, CorruptBlob
from webapp.training import services
from webapp.training.models import Device, Stage, Trouble
from webapp.training.queries import get_run
from webapp.training.services import BUNDLE, Claim, Order, Seen
from webapp.worker import run_folders
from webapp.worker.aside import aside
from webapp.worker.fetching import SelfTestFailed, fetch
from webapp.worker.inference import described
from webapp.worker.install import install
from webapp.worker.materialising import materialise
from webapp.worker.version import code_version

log = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
STOP_SECONDS = 10.0
"""So long a run that is cancelled may take to end by itself."""
LOG_LINES = 60
SPARE_BYTES = 200_000_000
"""Of the disk, without which nothing is begun."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ENDINGS = {
    Ending.REFUSED: Trouble.REFUSED,
    Ending.OUT_OF_MEMORY: Trouble.OUT_OF_MEMORY,
    Ending.DISK_FULL: Trouble.DISK_FULL,
    -signal.SIGKILL: Trouble.KILLED,
    -signal.SIGBUS: Trouble.DISK_FULL,  # a file that is mapped could not grow
}
"""What an exit status of the training process means; any other is an error."""

IsStopping = Callable[[], bool]


class Interrupted(Exception):
    """The run is not to go on, or not here."""


class Cancelled(Interrupted):
    """Somebody has asked for the end of the run."""


class Failed(Exception):
    """An attempt did not succeed."""

    def __init__(self, trouble: Trouble, text: str) -> None:
        self.trouble = trouble
        super().__init__(text)


@dataclass(frozen=True)
class Place:
    """The folder of a run."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def lessons(self) -> Path:
        """Names what might be learnt from when the data were put together."""
        return self.data / "lessons.txt"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.json"

    @property
    def run(self) -> Path:
        """Where `ml.train` works."""
        return self.folder / "run"

    @property
    def bundle(self) -> Path:
        return self.run / "bundle"

    @property
    def output(self) -> Path:
        """What the training process prints."""
        return self.folder / "output.txt"

    def progress(self) -> dict[str, Any]:
        """What the run itself says of how far it is; that it reads where it says nothing yet."""
        file = self.run / progress.FILE
        said: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
        return said or {"stage": Stage.READING}

    def seen(self, stage: Stage | None = None) -> Seen:
        """How far the run is."""
        said = {"stage": stage} if stage else self.progress()
        return Seen(said, self._curves(), _tail(self.run / "log.txt"))

    def _curves(self) -> list[dict[str, float | None]]:
        file = self.run / "epochs.csv"
        if not file.exists():
            return []
        with file.open(newline="", encoding="utf-8") as table:
            return [
                {name: _number(text) for name, text in row.items()} for row in csv.DictReader(table)
            ]


def _number(text: str | None) -> float | None:
    """A cell; None where a figure is not defined, or not written yet."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _tail(file: Path) -> str:
    """The last lines of a file; of a line that was written over, what stands there in the end."""
    if not file.exists():
        return ""
    with file.open(newline="\n", encoding="utf-8", errors="replace") as text:
        lines = text.read().split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines[-LOG_LINES:]).strip()


def train(claim: Claim, is_stopping: IsStopping) -> None:
    """Train a claimed run to its end, register what comes of it, and have it compared with what
    serves; or put it back when told to stop, or say on its row what kept it from ending well."""
    place = Place(current_settings().runs_dir / str(claim.run_id))
    try:
        _train(claim, place, is_stopping)
    except Interrupted:
        services.put_back(claim=claim)
    except Failed as error:
        log.warning("run %s: %s", claim.run_id, error)
        services.fail(claim=claim, trouble=error.trouble, error=str(error))
    except Exception as error:
        trouble = Trouble.ERROR
        if getattr(error, "errno", None) == errno.ENOSPC:
            trouble = Trouble.DISK_FULL
        services.fail(claim=claim, trouble=trouble, error=described(error))
        if trouble is Trouble.ERROR:
            raise
    run_folders.remove_ended()


def _train(claim: Claim, place: Place, is_stopping: IsStopping) -> None:
    _note(claim, place.seen(Stage.PREPARING))
    _prepare(claim, place)
    if place.progress()["stage"] != Stage.FINISHED:
        _fit(claim, place, is_stopping)
    _note(claim, place.seen())
    bundle_sha256 = place.progress()["bundle_sha256"]
    try:
        install(place.bundle, waits=True)
    except (BundleError, EngineError, SelfTestFailed, Conflict) as error:
        raise Failed(Trouble.UNFIT, described(error)) from error
    version = installed(bundle_sha256)
    if version is None:
        raise Failed(Trouble.UNFIT, f"{bundle_sha256} is not the bundle that was registered")
    if not services.complete(
        claim=claim, version=version, engine=claim.device, code_version=code_version()
    ):
        log.warning("run %s was lost meanwhile", claim.run_id)
        return
    with suppress(Conflict):  # it is the first, or was made only to be compared with
        request_comparison(actor=get_run(claim.run_id).requested_by, candidate=version)


def _note(claim: Claim, seen: Seen) -> None:
    """Write how far the run is. Raises Interrupted if it is not to go on here."""
    match services.note(claim=claim, seen=seen):
        case Order.CANCEL:
            raise Cancelled
        case Order.LET_GO | Order.BEGIN_ANEW:
            raise Interrupted


def _prepare(claim: Claim, place: Place) -> None:
    """Put together what `ml.train` reads; what is there already is kept, unless less may be learnt
    from by now."""
    place.folder.mkdir(parents=True, exist_ok=True)
    _require_start(claim.recipe["network"]["init"])
    free = shutil.disk_usage(place.folder).free
    if free < SPARE_BYTES:
        raise Failed(Trouble.DISK_FULL, f"{free / 1e6:.0f} MB are free in {place.folder}")
    place.recipe.write_text(json.dumps(claim.recipe), encoding="utf-8")
    if place.lessons.exists() and place.lessons.read_text() == claim.lessons:
        return
    for former in (place.run, place.data):
        shutil.rmtree(former, ignore_errors=True)
    partial = place.folder / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        materialise(claim.snapshot_id, partial)
    except (DomainError, CorruptBlob, Away, FileNotFoundError) as error:
        raise Failed(Trouble.NO_PICTURES, described(error)) from error
    (partial / place.lessons.name).write_text(claim.lessons)
    partial.rename(place.data)


def _require_start(init: str) -> None:
    """The bundle to start from is on this machine, fetched from the store where it was not."""
    if not init.startswith(BUNDLE):
        return
    version = installed(init.removeprefix(BUNDLE))
    try:
        if version is None:
            raise NotFound("model")
        fetch(version)
    except (DomainError, CorruptBlob, BundleError, EngineError, SelfTestFailed) as error:
        raise Failed(Trouble.NO_START, f"{init} is not here: {described(error)}") from error


def _fit(claim: Claim, place: Place, is_stopping: IsStopping) -> None:
    """Run `ml.train`, and write how far it is until it ends."""
    with place.output.open("wb") as output:
        process = subprocess.Popen(
            _command(place),
            cwd=REPOSITORY,
            env=_environment(claim.device),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        status = _watch(process, claim, place, is_stopping)
    except Cancelled:
        _ask_to_stop(process, place)
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if status:
        trouble = ENDINGS.get(status, Trouble.ERROR)
        raise Failed(trouble, f"ml.train ended with {status}\n{_tail(place.output)}")


def _ask_to_stop(process: subprocess.Popen[bytes], place: Place) -> None:
    """Let a training end by itself, after the epoch that it is at and with its checkpoint written;
    what takes too long, or has gone on to make a bundle, is left to be killed."""
    (place.run / progress.STOP).touch()
    until = time.monotonic() + STOP_SECONDS
    while place.progress()["stage"] == Stage.TRAINING and time.monotonic() < until:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS / 100)
            return


def _command(place: Place) -> list[str]:
    run = (sys.executable, "-m", "ml.train", "--recipe", place.recipe, "--data", place.data)
    command = [*map(str, run), "--out", str(place.run)]
    return aside(command, idle=current_settings().training_priority == "idle")


def _environment(device: Device) -> dict[str, str]:
    """That of the training process, which is no more than a guest on the machine."""
    settings = current_settings()
    environment = os.environ | dict.fromkeys(THREADS, str(settings.training_threads))
    environment[INSTALLED] = str(settings.bundles_dir)
    if Device.CPU in (device, settings.device):
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def _watch(
    process: subprocess.Popen[bytes], claim: Claim, place: Place, is_stopping: IsStopping
) -> int:
    """The exit status of the training process. Raises Interrupted where it is to end before."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(WATCH_SECONDS)
        try:
            _note(claim, place.seen())
        except SQLAlchemyError:
            log.warning("the database is away, run %s goes on", claim.run_id, exc_info=True)
        if process.returncode is not None:
            return process.returncode
        if is_stopping():
            raise Interrupted
