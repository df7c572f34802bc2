"""Blobs: named by their content, whole or not there, private, and checked when they are read."""

import concurrent.futures
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import fsspec
import pytest
from flask import Flask

from webapp import storage
from webapp.config import Settings
from webapp.errors import NotFound

DATA = b"eight by eight pixels"
NAME = hashlib.sha256(DATA).hexdigest()


def store_at(url: str, instance_dir: Path) -> Flask:
    app = Flask("store")
    app.config["FIRSTLOOK"] = Settings(instance_dir=instance_dir, storage_url=url)
    storage.init_app(app)
    return app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Its name has what URLs would escape."""
    return tmp_path / "an instance 100%25" / "blobs"


@pytest.fixture
def on_disk(folder: Path) -> Iterator[Path]:
    with store_at("", folder.parent).app_context():
        yield folder


@pytest.fixture(params=["disk", "object store"])
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[None]:
    """An object store is the same to us whichever it is; the one in memory stands for all."""
    url = "" if request.param == "disk" else "memory://bucket/blobs"
    with store_at(url, folder.parent).app_context():
        yield
    fsspec.filesystem("memory").store.clear()


def test_what_was_put_is_got(store: None) -> None:
    assert storage.put(DATA) == NAME
    assert storage.get(NAME) == DATA
    assert storage.put(b"") == hashlib.sha256(b"").hexdigest()


def test_what_was_never_put_is_not_found(store: None) -> None:
    with pytest.raises(NotFound):
        storage.get(NAME)


@pytest.mark.parametrize("name", ["", "../../../etc/passwd", NAME[:-1], NAME.upper(), NAME + "\n"])
def test_what_is_no_hash_is_never_looked_for(store: None, name: str) -> None:
    storage.put(DATA)
    with pytest.raises(NotFound):
        storage.get(name)


def test_a_changed_blob_is_noticed_and_mended_by_putting_it_again(store: None) -> None:
    storage.put(DATA)
    files, path = storage._locate(NAME)
    files.pipe_file(path, DATA[:-1])
    with pytest.raises(storage.CorruptBlob, match=NAME):
        storage.get(NAME)
    storage.put(DATA)
    assert storage.get(NAME) == DATA


def test_a_store_that_loses_bytes_is_noticed_at_once(
    store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = storage._locate(NAME)
    pipe_file = type(files).pipe_file
    monkeypatch.setattr(
        type(files), "pipe_file", lambda self, path, data: pipe_file(self, path, data[:3])
    )
    monkeypatch.setattr(storage, "_is_local", lambda files: False)
    if "file" in files.protocol:
        files.makedirs(storage._locate(NAME)[1].rpartition("/")[0])
    with pytest.raises(storage.CorruptBlob):
        storage.put(DATA)


def test_blobs_lie_in_two_levels_of_folders(on_disk: Path) -> None:
    storage.put(DATA)
    files = [path.relative_to(on_disk) for path in on_disk.rglob("*") if path.is_file()]
    assert files == [Path(NAME[:2], NAME[2:4], NAME)]


def test_nobody_else_can_read_them(on_disk: Path) -> None:
    before = os.umask(0)
    try:
        storage.put(DATA)
    finally:
        os.umask(before)
    for path in (on_disk, *on_disk.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600)


def test_putting_twice_writes_once(on_disk: Path) -> None:
    storage.put(DATA)
    path = on_disk / NAME[:2] / NAME[2:4] / NAME
    before = path.stat()
    storage.put(DATA)
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_write_that_fails_leaves_nothing(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(storage.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        storage.put(DATA)
    assert [path for path in on_disk.rglob("*") if path.is_file()] == []
    with pytest.raises(NotFound):
        storage.get(NAME)


def test_a_blob_is_on_the_disk_before_it_has_its_name(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the bytes, then the name, then the folder: a power cut never leaves half a blob."""
    done = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if is_folder else "bytes")
        fsync(descriptor)

    def note_replace(source: str, target: Path) -> None:
        assert Path(source).parent == target.parent
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(storage.os, "fsync", note_fsync)
    monkeypatch.setattr(storage.os, "replace", note_replace)
    storage.put(DATA)
    assert done[-3:] == ["bytes", "name", "folder"]


def test_many_may_put_the_same_at_once(folder: Path) -> None:
    app = store_at("", folder.parent)

    def put(number: int) -> str:
        with app.app_context():
            return storage.put(DATA * (1 + number % 3))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = set(pool.map(put, range(60)))
    assert len(names) == 3
    with app.app_context():
        assert all(storage.get(name) for name in names)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 3


def test_what_is_large_is_read_in_pieces(
    store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGE_BYTES", 8)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    assert storage.put_file(source) == NAME
    assert storage.put_file(source) == NAME
    assert [len(piece) for piece in storage.pieces(NAME)] == [8, 8, 5]
    assert storage.size_bytes(NAME) == len(DATA)
    storage.fetch(NAME, target)
    assert target.read_bytes() == DATA
    files, path = storage._locate(NAME)
    files.rm_file(path)
    files.pipe_file(path, DATA[:-1])
    with pytest.raises(storage.CorruptBlob):
        storage.fetch(NAME, target)
    storage.put_file(source)
    storage.fetch(NAME, target)


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_large_file_on_the_same_disk_is_there_once(
    on_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_disk: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if other_disk:
        monkeypatch.setattr(storage.os, "link", refuse)
    monkeypatch.setattr(storage, "LARGE_BYTES", 8)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    storage.put_file(source)
    blob = on_disk / NAME[:2] / NAME[2:4] / NAME
    assert blob.samefile(source) is not other_disk
    assert stat.S_IMODE(blob.stat().st_mode) == 0o600
    source.unlink()
    assert storage.get(NAME) == DATA
    assert [path for path in on_disk.rglob("*") if path.is_file()] == [blob]


def test_whatever_keeps_the_store_from_answering_is_said_in_one_way(
    store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put(DATA)
    files, _ = storage._locate(NAME)
    asked = {"cat_file": storage.get, "info": storage.size_bytes, "rm_file": storage.remove}
    for name, act in asked.items():
        for error in (PermissionError("refused"), LookupError("of its own kind")):
            with monkeypatch.context() as patch:
                patch.setattr(type(files), name, Mock(side_effect=error))
                with pytest.raises(storage.Away, match=str(error.args[0])):
                    act(NAME)
    with monkeypatch.context() as patch:
        patch.setattr(type(files), "find", Mock(side_effect=TimeoutError("slow")))
        with pytest.raises(storage.Away, match="slow"):
            list(storage.hashes())
    assert storage.get(NAME) == DATA
