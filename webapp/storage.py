"""Content-addressed blobs, on a local disk or in an object store (fsspec).

A blob is named by the SHA-256 of its bytes, so it never changes, and storing it twice is storing
it once.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import fsspec
from flask import Flask, current_app

from webapp.config import InvalidSettings, Settings
from webapp.errors import NotFound

_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = "blob_url"


class CorruptBlob(Exception):
    """The bytes of a blob are not the ones that were stored: the disk, or someone, changed them."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256
        super().__init__(f"the stored bytes of {sha256} do not match their hash")


def init_app(app: Flask) -> None:
    """Find the store of this installation.

    Raises:
        InvalidSettings: the store cannot be reached with the packages that are installed.
    """
    settings: Settings = app.config["FIRSTLOOK"]
    app.extensions[_URL] = settings.blob_url
    try:
        fsspec.core.url_to_fs(settings.blob_url)
    except ImportError as error:
        raise InvalidSettings({"STORAGE_URL": f"needs another package: {error}"}) from error


def put(data: bytes) -> str:
    """Store `data` and return its SHA-256; once this returns, the bytes survive a power cut."""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        get(sha256)
        return sha256
    except (NotFound, CorruptBlob):
        pass
    files, path = _locate(sha256)
    if _is_local(files):
        _write_atomically(Path(path), data)
    else:
        files.pipe_file(path, data)
    get(sha256)
    return sha256


def get(sha256: str) -> bytes:
    """The bytes stored under a hash, which they are checked against.

    Raises:
        NotFound: nothing is stored under it.
        CorruptBlob: what is stored under it has another hash.
    """
    files, path = _locate(sha256)
    try:
        data: bytes = files.cat_file(path)
    except FileNotFoundError as error:
        raise NotFound("blob", sha256=sha256) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptBlob(sha256)
    return data


def hashes() -> Iterator[str]:
    """The SHA-256 of every blob that is stored."""
    files, root = _store()
    for path in files.find(root):
        name = path.rpartition("/")[2]
        if _SHA256.fullmatch(name):
            yield name


def remove(sha256: str) -> None:
    """Forget a blob that nothing else can name; one that is not there is forgotten already."""
    files, path = _locate(sha256)
    with suppress(FileNotFoundError):
        files.rm_file(path)


def _locate(sha256: str) -> tuple[fsspec.AbstractFileSystem, str]:
    if not _SHA256.fullmatch(sha256):
        raise NotFound("blob", sha256=sha256)
    files, root = _store()
    return files, f"{root}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _store() -> tuple[fsspec.AbstractFileSystem, str]:
    # Opened at each use, since a connection must not cross a fork; fsspec keeps one a process.
    files, root = fsspec.core.url_to_fs(current_app.extensions[_URL])
    if _is_local(files):
        root = unquote(root)
    return files, root.rstrip("/")


def _is_local(files: fsspec.AbstractFileSystem) -> bool:
    return "file" in files.protocol


def _write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whatever is killed meanwhile."""
    _make_private_dir(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_dir(path.parent)


def _make_private_dir(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_private_dir(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_dir(folder.parent)


def _sync_dir(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
