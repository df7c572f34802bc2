"""What takes long to make and is never changed, made once for all processes of a test run."""

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from filelock import FileLock

from ml import bundle as bundles
from ml.bundle import FACTS
from ml.engines import export_all

FOLDER = "FIRSTLOOK_TESTS_MADE"


@cache
def folder() -> Path:
    """Where it is kept: what the first process says to those that it starts. It goes with it."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="firstlook-made-")
        atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
    return Path(os.environ[FOLDER])


def engines() -> Path:
    """Exported networks, by the hash of their bundle: a folder for `ml.engines.export`."""
    return folder() / "engines"


def put_engines(paths: Sequence[Path], engines_dir: Path) -> None:
    """Have the networks of these bundles in a folder, as after an installation before this one."""
    loaded = [bundles.load(path) for path in paths]
    export_all(loaded, engines())
    engines_dir.mkdir(parents=True, exist_ok=True)
    for bundle in loaded:
        for kept in engines().glob(f"{bundle.sha256}.[os]*"):  # the network, and its digest
            shutil.copy(kept, engines_dir)


def instance_of(paths: Sequence[Path], make: Callable[[], Path]) -> Path:
    """An instance with these bundles; `make` makes one and names its folder, which is copied."""
    facts = b"".join((path / FACTS).read_bytes() for path in paths)
    home = folder() / f"instance-{hashlib.sha256(facts).hexdigest()}"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            shutil.copytree(make(), f"{home}.partial")
            Path(f"{home}.partial").rename(home)
    return home
