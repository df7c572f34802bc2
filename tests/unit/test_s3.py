"""The store in S3, over HTTP: images, bundles and data sets, what is missing, and what is away."""

import dataclasses
import io
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask

from ml.datasets import packed
from tests import clinic, datasets, s3
from tests.conftest import Browser, People
from tests.stack import free_port
from webapp import backup, queue, storage, sweeper
from webapp.cases.models import Case, Image, Patient
from webapp.catalogue.models import ReadingTask
from webapp.config import InvalidSettings, Settings, current_settings
from webapp.core import create_core
from webapp.db import db, now
from webapp.erasures import services as erasures
from webapp.erasures.models import Cause, Erasure
from webapp.errors import NotFound
from webapp.worker import fetching, install, predictors, sharing

PATIENCE_SECONDS = 30
"""So long somebody who sends a case may wait to be told that the store is away."""


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[Mapping[str, str]]:
    with s3.server() as environment, s3.reached(environment):
        yield environment


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: True)


@pytest.fixture
def away() -> Iterator[Callable[[], None]]:
    """Has nobody answer any more."""
    with ExitStack() as until_the_end:
        nowhere = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
        yield lambda: until_the_end.enter_context(s3.reached(nowhere))


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """A place in the bucket for each test."""
    url = f"s3://{s3.BUCKET}/a clinic/{request.node.name}"
    return dataclasses.replace(settings, storage_url=url)


@pytest.fixture
def house(settings: Settings) -> Iterator[Flask]:
    """The application without its web face, in a pushed context."""
    core = create_core(settings)
    with core.app_context():
        yield core
        db.session.remove()
        db.engine.dispose()


# Blobs


def test_what_was_put_is_got_and_what_was_not_is_not_there(house: Flask) -> None:
    storage.ask()
    sha256 = storage.put(b"a picture")
    assert storage.put(b"a picture") == sha256
    assert storage.get(sha256) == b"a picture"
    assert storage.size_bytes(sha256) == 9
    assert list(storage.hashes()) == [sha256]
    storage.remove(sha256)
    storage.remove(sha256)
    for ask in (storage.get, storage.size_bytes, lambda name: list(storage.pieces(name))):
        with pytest.raises(NotFound):
            ask(sha256)
    assert list(storage.hashes()) == []


def test_what_is_large_is_sent_and_read_in_parts(
    house: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGE_BYTES", 5 * 2**20)  # the least that S3 takes as a part
    data = bytes(range(256)) * 2**10 * 45  # 11 MB: three parts
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    sha256 = storage.put_file(source)
    assert storage.put_file(source) == sha256
    storage.fetch(sha256, target)
    assert target.read_bytes() == data
    assert len(list(storage.pieces(sha256))) == 3


def test_a_large_file_that_cannot_be_sent_whole_is_not_there(
    house: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGE_BYTES", 5 * 2**20)
    source = tmp_path / "source"
    source.write_bytes(bytes(11 * 2**20))

    def broken(content: io.BufferedReader, file: io.BufferedWriter, _length: int) -> None:
        file.write(content.read(6 * 2**20))
        raise ConnectionResetError("the line broke")

    monkeypatch.setattr(storage.shutil, "copyfileobj", broken)
    with pytest.raises(storage.Away, match="the line broke"):
        storage.put_file(source)
    assert list(storage.hashes()) == []


def test_a_changed_blob_is_noticed(house: Flask) -> None:
    sha256 = storage.put(b"a picture")
    files, path = storage._locate(sha256)
    files.pipe_file(path, b"another")
    with pytest.raises(storage.CorruptBlob):
        storage.get(sha256)


def test_a_bucket_that_is_not_there_is_no_missing_blob(house: Flask) -> None:
    house.extensions["blob_url"] = "s3://no-such-bucket/blobs"
    for act in (
        storage.ask,
        lambda: storage.put(b"a picture"),
        lambda: storage.get("0" * 64),
        lambda: storage.remove("0" * 64),
    ):
        with pytest.raises(storage.Away, match="bucket"):
            act()


def test_a_server_that_does_not_answer_is_said_to_be_away(
    house: Flask, away: Callable[[], None]
) -> None:
    sha256 = storage.put(b"a picture")
    away()
    began = time.monotonic()
    with pytest.raises(storage.Away, match="Could not connect"):
        storage.get(sha256)
    assert time.monotonic() - began < PATIENCE_SECONDS


def test_without_its_package_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"STORAGE_URL": "s3://bucket/prefix"}
    assert Settings.from_environment(environment).blob_url == "s3://bucket/prefix"
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InvalidSettings) as problem:
        Settings.from_environment(environment)
    assert "pip install -r requirements-s3.txt" in problem.value.problems["STORAGE_URL"]


# The house


def test_bundles_and_data_sets_travel(
    house: Flask, exported: tuple[Path, Path], tmp_path: Path
) -> None:
    """What one machine installs and registers another one fetches: here the same, once it has lost
    them."""
    settings = current_settings()
    shutil.copytree(exported[1], settings.engines_dir)
    install.install(exported[0])
    shutil.rmtree(settings.bundles_dir)
    assert fetching.fetch_missing() == 1
    assert len(predictors.at_hand()) == 1
    task = db.session.scalars(sa.select(ReadingTask)).one()
    files = datasets.write(tmp_path / "cells", datasets.rows(("basophil", "eosinophil")))
    dataset = datasets.register(task, files)
    shutil.rmtree(settings.datasets_dir)
    copy = packed.read(sharing.fetched(dataset))
    assert {datasets.sha256(copy.read(record.file)) for record in copy.records} == {
        datasets.sha256(datasets.drawn(row["file"]))
        for row in datasets.rows(("basophil", "eosinophil"))
    }


def test_a_case_is_sent_shown_and_not_kept_by_half(
    app: Flask, people: People, browse: Callable[[], Browser], away: Callable[[], None]
) -> None:
    with app.app_context():
        clinic.serve()
        task_id = db.session.scalars(sa.select(ReadingTask.id)).one()
        desk = browse().sign_in(people.clinician())
    fields = {"sex": "unknown", "reading_task": str(task_id), "priority": "routine"}

    def send(identifier: str, **more: str) -> Any:
        page = desk.get("/cases/new").text
        (token,) = re.findall(r'name="form_token"[^>]*value="([^"]+)"', page)
        images = [(io.BytesIO(clinic.picture()), "cell.png")]
        own = {"form_token": token, "identifier": identifier, "images": images}
        return desk.post("/cases/new", fields | own, headers=more)

    sent = send("B-1")
    assert sent.status_code == 303, sent.text
    with app.app_context():
        image = db.session.scalars(sa.select(Image)).one()
        page, stored = f"/images/{image.id}", storage.get(image.sha256)
        storage.put(b"a picture of nobody")
        assert list(storage.remove_forgotten(stored_before=now())) == [1]
        assert len(list(storage.hashes())) == 2
    assert desk.get(page).data == stored
    away()
    began = time.monotonic()
    refused = send("B-2")
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert refused.status_code == 503
    assert "The store of images does not answer" in refused.text
    told = send("B-3", Accept="application/json")
    assert "nothing could be kept" in told.json["error"]["sentence"]
    assert desk.get(page).status_code == 503
    with app.app_context():
        for rows in (Patient, Case, Image):
            assert db.session.scalar(sa.select(sa.func.count()).select_from(rows)) == 1


def test_an_erased_patient_leaves_the_bucket_once_it_answers(
    house: Flask, people: People, away: Callable[[], None], environment: Mapping[str, str]
) -> None:
    clinic.serve()
    case = clinic.send(people.clinician())
    away()
    erasure = erasures.erase(actor=None, patient=case.patient, reason="asked", cause=Cause.REQUEST)
    assert len(erasure.blobs_left) == 2
    with s3.reached(environment):
        assert len(list(storage.hashes())) == 2
        sweeper.erase(retention_days=0)
        assert db.session.scalars(sa.select(Erasure)).one().blobs_left == []
        assert list(storage.hashes()) == []


def test_a_backup_brings_the_bucket_along(
    house: Flask, people: People, tmp_path: Path, migrated_sqlite: Path
) -> None:
    clinic.serve()
    clinic.send(people.clinician())
    kept = sorted(storage.hashes())
    backup.back_up(tmp_path / "firstlook.tar")
    with tarfile.open(tmp_path / "firstlook.tar") as archive:
        assert sum(name.startswith("blobs/") for name in archive.getnames()) == 2
    instance = tmp_path / "elsewhere"
    elsewhere = create_core(
        Settings(instance_dir=instance, storage_url=f"s3://{s3.BUCKET}/restored")
    )
    with elsewhere.app_context():
        flask_migrate.upgrade()
        assert list(storage.hashes()) == []
        assert backup.restore(tmp_path / "firstlook.tar") == []
        assert sorted(storage.hashes()) == kept
        assert not (instance / "blobs").exists()
        db.session.remove()
        db.engine.dispose()
