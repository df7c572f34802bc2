"""Bundles in the shared store: every machine whose worker lacks one fetches it by its hash.

Whoever installs a bundle puts it into the store, as one archive. A worker that finds that a model
is wanted and not here has it fetched by a process of its own, `python -m webapp.worker.fetching`,
and goes on with what it has. What was fetched is verified against the hash of the bundle, exported
and tested; only then it is in its place, where it counts as being at hand.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import select, union

from ml import bundle as bundles
from ml import predictor
from ml.bundle import Bundle, BundleError
from ml.engines import EngineError
from webapp import storage
from webapp.assessments.models import AssessedImage, Assessment, State
from webapp.assessments.queries import in_state
from webapp.bundles.archive import BundleArchive, pack
from webapp.config import REPOSITORY, Settings, current_settings
from webapp.core import create_core
from webapp.db import db
from webapp.errors import Invalid, NotFound
from webapp.explanations.models import Explanation
from webapp.registry.models import ModelAlias, ModelVersion
from webapp.registry.services import keep_archive
from webapp.reproductions.models import Reproduction
from webapp.worker.predictors import at_hand

log = logging.getLogger(__name__)

_running: list[subprocess.Popen[bytes]] = []


class SelfTestFailed(Exception):
    """A model does not give the answers here that it gave where it was made."""


def keep(bundle: Bundle, version: ModelVersion) -> None:
    """Put an installed bundle into the store, if it is not there."""
    if version.archive_sha256 is None:
        keep_archive(version=version, archive_sha256=storage.put(pack(bundle.path)))


def missing(here: Collection[str]) -> Sequence[ModelVersion]:
    """The versions that serve, or that waiting work asks for, and that are in the store and not
    `here`."""
    asked_for = (
        select(ModelAlias.model_version_id),
        select(Assessment.model_version_id).where(in_state(State.SCHEDULED)),
        select(Assessment.model_version_id)
        .join(Reproduction, Reproduction.assessment_id == Assessment.id)
        .where(in_state(State.SCHEDULED, Reproduction)),
        select(Assessment.model_version_id)
        .join(AssessedImage, AssessedImage.assessment_id == Assessment.id)
        .join(Explanation, Explanation.assessed_image_id == AssessedImage.id)
        .where(in_state(State.SCHEDULED, Explanation)),
    )
    return db.session.scalars(
        select(ModelVersion)
        .where(
            ModelVersion.archive_sha256.is_not(None),
            ModelVersion.bundle_sha256.not_in(here),
            ModelVersion.id.in_(union(*asked_for)),
        )
        .order_by(ModelVersion.id)
    ).all()


def begin() -> None:
    """Have what is missing fetched, beside what this process does; again as long as it is missing.

    The process looks for itself what is missing, and ends at once where another one is at it.
    """
    while _running and _running[0].poll() is not None:
        _running.pop()
    if not _running:
        command = ["nice", "-n", "10", sys.executable, "-m", "webapp.worker.fetching"]
        _running.append(subprocess.Popen(command, cwd=REPOSITORY, env=os.environ.copy()))


def fetch(version: ModelVersion) -> Path:
    """The folder of a bundle on this machine, fetched from the store if it is not there.

    Raises:
        NotFound: it is not in the store.
        Invalid, BundleError, EngineError, SelfTestFailed: what is there cannot be used here.
    """
    settings = current_settings()
    home = settings.bundles_dir / version.bundle_sha256
    if home.is_dir():
        return home
    if version.archive_sha256 is None:
        raise NotFound("blob")
    archive = BundleArchive(storage.get(version.archive_sha256))
    settings.bundles_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.bundles_dir, prefix=".") as folder:
        draft = Path(folder) / "bundle"
        archive.unpack(draft)
        bundle = bundles.load(draft)
        if bundle.sha256 != version.bundle_sha256:
            raise BundleError(home, [f"what the store has is {bundle.sha256}"])
        try_out(draft, settings)
        if not home.is_dir():
            draft.rename(home)
    return home


def try_out(path: Path, settings: Settings) -> None:
    """Export a bundle, and have it read the pictures that it brings along.

    Raises:
        EngineError: its network cannot run here.
        SelfTestFailed: it runs, and gives other answers.
    """
    model = predictor.load(path, device=settings.device, cache_dir=settings.engines_dir, threads=1)
    test = model.self_test()
    if not test.passed:
        raise SelfTestFailed(f"{path}: probabilities differ by up to {test.largest_difference:.1e}")


def fetch_missing() -> int:
    """Fetch whatever is missing; says how much of it is here now."""
    count = 0
    for version in missing(at_hand()):
        name = f"{version.reading_task.code} {version.version}"
        try:
            fetch(version)
        except (
            NotFound,
            Invalid,
            storage.CorruptBlob,
            OSError,
            BundleError,
            EngineError,
            SelfTestFailed,
        ) as error:
            log.error("%s cannot be fetched from the store: %s", name, error)
            continue
        log.info("%s was fetched from the store", name)
        count += 1
    return count


def main() -> None:
    """Fetch what is missing, unless somebody is at it already."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the worker that starts this ignores it
    app = create_core()
    settings: Settings = app.config["FIRSTLOOK"]
    try:
        with FileLock(settings.instance_dir / "install.lock", timeout=0), app.app_context():
            fetch_missing()
    except Timeout:
        log.info("bundles are being installed or fetched already")


if __name__ == "__main__":
    main()
