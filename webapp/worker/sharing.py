"""Registered data sets in the shared store: kept there by the worker that checks them, fetched by
whoever learns from them or compares models on them, verified, and kept here for the next time."""

import errno
import io
import logging
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from ml.datasets import packed
from ml.datasets.manifest import Record
from webapp import storage
from webapp.config import current_settings
from webapp.datasets import services
from webapp.datasets.models import Dataset
from webapp.datasets.queries import only_here
from webapp.errors import NotFound

log = logging.getLogger(__name__)

SPARE_BYTES = 200_000_000
"""Of the disk, that a data set which is fetched leaves to others."""


def keep(draft: Path, content_sha256: str) -> str:
    """Put a checked copy in its place on this machine and into the store; returns the hash of its
    pictures. A copy that is in its place already is the same."""
    home = _home(content_sha256)
    with _lock():
        if not home.is_dir():
            shutil.move(draft, home)
    return _store(home)


def step() -> bool:
    """Put a data set into the store that was registered before data sets were kept there, if its
    files are here; False if there is none."""
    for dataset in only_here():
        home = _home(dataset.content_sha256 or "")
        if not home.is_dir():
            continue
        try:
            services.note_pictures(dataset=dataset, pictures_sha256=_store(home))
        except (OSError, storage.CorruptBlob, storage.Gone) as error:
            log.warning("data set %s is not in the store yet: %s", dataset.id, error)
            continue
        log.info("data set %s is in the store now", dataset.id)
        return True
    return False


def is_within_reach(dataset: Dataset) -> bool:
    """Whether it is here, or in the store."""
    return dataset.pictures_sha256 is not None or _home(dataset.content_sha256 or "").is_dir()


def records(dataset: Dataset) -> tuple[Record, ...]:
    """The table of a data set, without its pictures.

    Raises:
        NotFound, CorruptBlob, Away: as `fetched`.
    """
    home = _home(dataset.content_sha256 or "")
    if home.is_dir():
        return packed.read(home).records
    if dataset.pictures_sha256 is None:
        raise NotFound("dataset", dataset_id=dataset.id)
    table = storage.get(dataset.content_sha256 or "").decode("utf-8")
    return packed.records(io.StringIO(table, newline=""))


def fetched(dataset: Dataset) -> Path:
    """The folder of a registered data set on this machine, fetched from the store if it is not
    here; whoever comes meanwhile waits for it.

    Raises:
        NotFound: it is neither here nor in the store.
        storage.CorruptBlob: what the store has is not what was registered.
        storage.Away: the store cannot be asked.
        OSError: it cannot be kept here, for want of room as a rule.
    """
    home = _home(dataset.content_sha256 or "")
    if home.is_dir():
        return home
    if dataset.pictures_sha256 is None:
        raise NotFound("dataset", dataset_id=dataset.id)
    with _lock():
        if not home.is_dir():
            _fetch(dataset.content_sha256 or "", dataset.pictures_sha256, home)
    return home


def _fetch(content_sha256: str, pictures_sha256: str, home: Path) -> None:
    """It appears whole or not at all."""
    _require_room(home.parent, storage.size_bytes(pictures_sha256))
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".") as folder:
        draft = Path(folder) / "copy"
        draft.mkdir()
        storage.fetch(content_sha256, draft / packed.MANIFEST)
        storage.fetch(pictures_sha256, draft / packed.ARCHIVE)
        draft.rename(home)
    log.info("data set %s was fetched from the store", content_sha256)


def _require_room(folder: Path, size_bytes: int) -> None:
    """Raises OSError, as the disk itself would when it is full and others need it too."""
    needed, free = size_bytes + SPARE_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        text = f"a data set needs {needed / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, text, str(folder))


def _store(home: Path) -> str:
    storage.put_file(home / packed.MANIFEST)  # under the hash that names the data set
    return storage.put_file(home / packed.ARCHIVE)


def _home(content_sha256: str) -> Path:
    return current_settings().datasets_dir / content_sha256


def _lock() -> FileLock:
    """One process at a time puts data sets in their places."""
    settings = current_settings()
    settings.datasets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileLock(settings.instance_dir / "datasets.lock")
