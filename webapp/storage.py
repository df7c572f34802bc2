"""Content-addressed blobs, on a local disk or in an object store (fsspec).

A blob is named by the SHA-256 of its bytes, so it never changes, and storing it twice is storing
it once.
"""

import datetime as dt
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
from flask import Flask, current_app
from fsspec.config import conf
from fsspec.utils import get_protocol
from sqlalchemy import Column, Select, select

from webapp.config import Settings
from webapp.db import Lock, db, transaction
from webapp.db import hold as hold_lock
from webapp.errors import NotFound

LARGE_BYTES = 32 * 2**20
"""What is larger is never in memory as a whole: so much of it is read, or sent, at once."""

Namer = Callable[[Collection[str]], Iterable[str | None]]
"""Says which blobs a table names, at least those of the ones it is asked about."""

_NAMERS: list[Namer] = []
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DRAFT = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{2}/\.[a-z0-9_]{8}$")
_ASKED_AT_ONCE = 10_000
"""Blobs that tables are asked about in one statement."""
_REMOVED_AT_ONCE = 50
"""Blobs that are removed in one transaction, for which all that store something wait."""
_NOTHING = "0" * 64
"""What no blob is named."""
_URL = "blob_url"
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "use_listings_cache": False,  # others write there too
        # What does not answer is said so within seconds: somebody waits for their upload.
        "config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 2}},
    }
}


class Foreign(Exception):
    """Rows do not name what is in the store: it is of another installation, or rows are missing."""

    def __init__(self, unnamed: int, stored: int) -> None:
        super().__init__(f"no row names {unnamed} of the {stored} blobs in the store")


class CorruptBlob(Exception):
    """The bytes of a blob are not the ones that were stored: the disk, or someone, changed them."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256
        super().__init__(f"the stored bytes of {sha256} do not match their hash")


class Away(OSError):
    """The store does not do what it is asked: it does not answer, refuses, or has no room left.

    It is an error of a disk's kind, whatever the client of an object store calls it.
    """


class Gone(Exception):
    """A blob that is to be named was removed since it was put: it has to be put again."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256
        super().__init__(f"{sha256} was removed meanwhile")


def init_app(app: Flask) -> None:
    """Note where the store of this installation is; it is not asked yet."""
    settings: Settings = app.config["FIRSTLOOK"]
    app.extensions[_URL] = settings.blob_url


def put(data: bytes) -> str:
    """Store `data` and return its SHA-256; once this returns, the bytes survive a power cut.

    Raises:
        Away: it cannot be stored now.
        CorruptBlob: what the store has of it is something else.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    with suppress(NotFound, CorruptBlob):
        get(sha256)
        return sha256
    files, path = _locate(sha256)
    with _asking(), _missing_is_away():
        if _is_local(files):
            _write_atomically(Path(path), data)
        else:
            files.pipe_file(path, data)
    get(sha256)
    return sha256


def put_file(source: Path) -> str:
    """As `put`, a file that may be larger than memory. Nobody may change it afterwards: on the disk
    of the store it is not copied, but gets a second name."""
    if source.stat().st_size <= LARGE_BYTES:
        return put(source.read_bytes())
    with source.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    with suppress(NotFound, CorruptBlob):
        _verify(sha256)
        return sha256
    files, path = _locate(sha256)
    with _asking(), _missing_is_away():
        if _is_local(files):
            _link_or_copy(source, Path(path))
        else:
            _send(files, source, path)
    _verify(sha256)
    return sha256


def get(sha256: str) -> bytes:
    """The bytes stored under a hash, which they are checked against.

    Raises:
        NotFound: nothing is stored under it.
        CorruptBlob: what is stored under it has another hash.
        Away: the store cannot be asked.
    """
    files, path = _locate(sha256)
    try:
        with _asking():
            data: bytes = files.cat_file(path)
    except FileNotFoundError as error:
        raise NotFound("blob", sha256=sha256) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptBlob(sha256)
    return data


def pieces(sha256: str) -> Iterator[bytes]:
    """As `get`, of what may be larger than memory, a piece after the other. That it is corrupt is
    known after the last one: whatever was made of the others has to be dropped then."""
    files, path = _locate(sha256)
    digest = hashlib.sha256()
    try:
        with _asking(), files.open(path, "rb", block_size=LARGE_BYTES) as content:
            while piece := content.read(LARGE_BYTES):
                digest.update(piece)
                yield piece
    except FileNotFoundError as error:
        raise NotFound("blob", sha256=sha256) from error
    if digest.hexdigest() != sha256:
        raise CorruptBlob(sha256)


def fetch(sha256: str, target: Path) -> None:
    """Write what is stored under a hash to a file. Raises as `get`; then there is no whole file."""
    with target.open("wb") as file:
        for piece in pieces(sha256):
            file.write(piece)


def size_bytes(sha256: str) -> int:
    """How large a blob is.

    Raises:
        NotFound, Away: as `get`.
    """
    files, path = _locate(sha256)
    try:
        with _asking():
            return int(files.info(path)["size"])
    except FileNotFoundError as error:
        raise NotFound("blob", sha256=sha256) from error


def ask() -> None:
    """Ask the store for next to nothing: whether it answers, and would take anything.

    Raises:
        Away: it does not.
    """
    files, root = _store()
    if not _is_local(files):
        with suppress(NotFound):
            size_bytes(_NOTHING)
        return
    with _asking():
        folder = next(one for one in (Path(root), *Path(root).parents) if one.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise PermissionError(f"nothing can be written to {folder}")


def hashes() -> Iterator[str]:
    """The SHA-256 of every blob that is stored."""
    files, root = _store()
    with _asking():
        found = files.find(root)
    for path in found:
        name = path.rpartition("/")[2]
        if _SHA256.fullmatch(name):
            yield name


def remove(sha256: str) -> None:
    """Forget a blob that nothing else can name; one that is not there is forgotten already.

    Raises:
        Away: it may be there still.
    """
    files, path = _locate(sha256)
    with suppress(FileNotFoundError), _asking():
        files.rm_file(path)


# Who names a blob and who removes one must not miss each other: bytes are put before the
# transaction that names them, and nothing names them until its end.


def hold(sha256s: Iterable[str]) -> None:
    """Keep blobs from being removed to the end of the open `transaction()`, which names them: who
    removes any waits for it, and sees what it wrote.

    Raises:
        Gone: one was removed before, though it has been put.
        Away: the store cannot be asked.
    """
    hold_lock(Lock.BLOBS, shared=True)
    for sha256 in sha256s:
        try:
            size_bytes(sha256)
        except NotFound as error:
            raise Gone(sha256) from error


def hold_all() -> None:
    """Wait for every transaction that names blobs, and have the next ones wait for the end of the
    open one: what nothing names by now can be removed in it."""
    hold_lock(Lock.BLOBS)


def names_pictures(namer: Namer) -> Namer:
    """Have a table be asked before a picture is removed. To be said where the table is: whoever
    has the tables has all of them."""
    _NAMERS.append(namer)
    return namer


def named(sha256s: Collection[str]) -> set[str]:
    """Those of some stored pictures that a row names, and that have to stay."""
    found = {one for namer in _NAMERS for one in namer(sha256s)}
    return {one for one in sha256s if one in found}


def remove_unnamed(sha256s: Collection[str]) -> None:
    """Remove those of some stored pictures that no row names. Whoever has just stored one of them
    too, and has yet to name it, finds it gone, and stores it again.

    Raises:
        Away: some may be there still.
    """
    with transaction():
        hold_all()
        for sha256 in set(sha256s) - named(sha256s):
            remove(sha256)


def remove_forgotten(*, stored_before: dt.datetime) -> Iterator[int]:
    """Remove what was stored before a moment and no row names, and what was being written then:
    whoever stored it was killed before naming it. Says how much it was, part by part, as each is
    gone.

    Raises:
        Foreign: no row names the half of what is stored; nothing was removed.
        Away: some may be there still.
    """
    files, root = _store()
    with _asking():
        found = files.find(root, detail=True)
    blobs = [_name(path) for path in found if _SHA256.fullmatch(_name(path))]
    unnamed = [name for some in _batches(blobs, _ASKED_AT_ONCE) for name in _in_no_row(some)]
    db.session.rollback()  # nothing is held open on the way
    if 2 * len(unnamed) > len(blobs):
        raise Foreign(len(unnamed), len(blobs))
    old = {path for path, facts in found.items() if _stored_at(facts) < stored_before}
    for path in filter(_DRAFT.search, old):
        with suppress(FileNotFoundError), _asking():
            files.rm_file(path)
        yield 1
    forgotten = {_name(path) for path in old} & set(unnamed)
    yield from map(_remove_forgotten, _batches(list(forgotten), _REMOVED_AT_ONCE))


def _remove_forgotten(sha256s: Sequence[str]) -> int:
    with transaction():
        hold_all()
        left = _in_no_row(sha256s)  # a row may have come to name one meanwhile
        for sha256 in left:
            remove(sha256)
    return len(left)


def _in_no_row(sha256s: Sequence[str]) -> set[str]:
    return set(sha256s) - _in_any_row(sha256s)


def _batches(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[at : at + size] for at in range(0, len(names), size))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _in_any_row(sha256s: Collection[str]) -> set[str]:
    """Those of some blobs that a column of any table names which is called a hash, also one of a
    table that is yet to be thought of; or that a picture is named by."""
    columns = [
        column
        for table in db.metadata.sorted_tables
        for column in table.columns
        if column.name.endswith("sha256")
    ]
    found = {one for column in columns for one in db.session.scalars(_among(column, sha256s))}
    return found | named(sha256s)


def _among(column: Column[Any], sha256s: Collection[str]) -> Select[Any]:
    return select(column).where(column.in_(sha256s)).distinct()


def _stored_at(facts: Mapping[str, Any]) -> dt.datetime:
    """When a file came to its place: on a disk, where a file may have got another name, when it
    was last changed in any way."""
    moment = facts["LastModified"] if "LastModified" in facts else facts["created"]
    return moment if isinstance(moment, dt.datetime) else dt.datetime.fromtimestamp(moment, dt.UTC)


# How the store is asked.


@contextmanager
def _asking() -> Iterator[None]:
    """Have whatever keeps the store from doing what it is asked be `Away`, but for that a blob is
    not there."""
    try:
        yield
    except FileNotFoundError as error:
        if _is_no_bucket(error):
            raise Away(str(error)) from error
        raise
    except OSError as error:
        raise Away(*(error.args[:2] or [type(error).__name__])) from error
    except Exception as error:  # clients of object stores have kinds of errors of their own
        raise Away(f"{type(error).__name__}: {error}") from error


def _is_no_bucket(error: FileNotFoundError) -> bool:
    """Not the blob is missing but all of the store, as S3 tells them apart."""
    response = getattr(error.__cause__, "response", None) or {}
    return bool(response.get("Error", {}).get("Code") == "NoSuchBucket")


@contextmanager
def _missing_is_away() -> Iterator[None]:
    """Where a blob is written, that something is not there means the store itself."""
    try:
        yield
    except FileNotFoundError as error:
        raise Away(*error.args[:2]) from error


def _verify(sha256: str) -> None:
    for _ in pieces(sha256):
        pass


def _locate(sha256: str) -> tuple[fsspec.AbstractFileSystem, str]:
    if not _SHA256.fullmatch(sha256):
        raise NotFound("blob", sha256=sha256)
    files, root = _store()
    return files, f"{root}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _store() -> tuple[fsspec.AbstractFileSystem, str]:
    # Opened at each use, since a connection must not cross a fork; fsspec keeps one a process.
    url = current_app.extensions[_URL]
    protocol = get_protocol(url)
    # What the environment says of a client (FSSPEC_S3_...) comes before what we say.
    options = _OPTIONS.get(protocol, {}) | conf.get(protocol, {})
    files, root = fsspec.core.url_to_fs(url, **options)
    if _is_local(files):
        root = unquote(root)
    return files, root.rstrip("/")


def _is_local(files: fsspec.AbstractFileSystem) -> bool:
    return "file" in files.protocol


def _send(files: fsspec.AbstractFileSystem, source: Path, path: str) -> None:
    """Send a large file in parts; it appears whole or not at all."""
    file = files.open(path, "wb", block_size=LARGE_BYTES, autocommit=False)
    try:
        with source.open("rb") as content:
            shutil.copyfileobj(content, file, LARGE_BYTES)
        file.close()
    except BaseException:
        file.discard()
        file.closed = True  # else it would be sent once more when it is collected
        raise
    file.commit()


def _write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whatever is killed meanwhile."""
    with _draft(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link_or_copy(source: Path, path: Path) -> None:
    """Give a file a second name where its disk allows it, else copy it, whole or not at all."""
    with _draft(path) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.chmod(0o600)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file of mode 0600 that is in its place once nothing failed."""
    _make_private_dir(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
