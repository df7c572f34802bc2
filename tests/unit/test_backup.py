"""An installation in one file: everything comes back, on either database, and nothing else does."""

import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask

from ml.datasets import packed
from tests import clinic, datasets
from tests.conftest import People
from webapp import audit, backup, storage
from webapp.accounts.models import User
from webapp.backup import BackupError
from webapp.cases.models import Patient
from webapp.catalogue.models import ReadingTask
from webapp.config import Settings
from webapp.core import create_core
from webapp.datasets.models import Dataset
from webapp.db import db
from webapp.worker import sharing


@pytest.fixture
def file(core: Flask, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of a clinic with a case that was read, one that waits, and a model."""
    monkeypatch.setattr("webapp.queue.ring", lambda *_: True)
    clinic.serve()
    clinician = people.clinician()
    clinic.read(clinic.send(clinician, birth_year=1980))
    clinic.send(clinician)
    bundle = core.config["FIRSTLOOK"].bundles_dir / ("a" * 64)
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    dataset = core.config["FIRSTLOOK"].datasets_dir / ("b" * 64)
    dataset.mkdir(parents=True)
    (dataset / "manifest.csv").write_text("file\n")
    audit.append_anchor()
    backup.back_up(tmp_path / "firstlook.tar")
    return tmp_path / "firstlook.tar"


@pytest.fixture
def elsewhere(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Flask]:
    """An empty installation of its own, on SQLite."""
    app = create_core(Settings(instance_dir=tmp_path / "elsewhere"))
    with app.app_context():
        flask_migrate.upgrade()
        yield app
        db.session.remove()
        db.engine.dispose()


def rows() -> dict[str, list[Any]]:
    """Every row there is, but for those that tell of the backup."""
    db.session.rollback()
    found = {
        table.name: [
            dict(row)
            for row in db.session.execute(sa.select(table).order_by(*table.primary_key)).mappings()
        ]
        for table in db.metadata.sorted_tables
    }
    found["audit_events"] = [row for row in found["audit_events"] if "backup" not in row["action"]]
    return found


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_data_set_is_in_it_once(
    core: Flask, file: Path, elsewhere: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGE_BYTES", 500)  # nothing of it is in memory as a whole
    with core.app_context():
        task = db.session.scalars(sa.select(ReadingTask)).one()
        folder = datasets.write(tmp_path / "drawn", datasets.rows(("calm", "watch")))
        name = datasets.register(task, folder).content_sha256 or ""
        backup.back_up(tmp_path / "second.tar")
    with tarfile.open(tmp_path / "second.tar") as archive:
        members = archive.getnames()
    assert f"blobs/{name}" in members
    assert not any(member.startswith(f"datasets/{name}") for member in members)
    with elsewhere.app_context():
        assert backup.restore(tmp_path / "second.tar") == []
        dataset = db.session.scalars(sa.select(Dataset)).one()
        assert len(packed.read(sharing.fetched(dataset)).records) == 8


def test_everything_comes_back(core: Flask, file: Path, elsewhere: Flask) -> None:
    with core.app_context():
        kept, hashes = rows(), sorted(storage.hashes())
    with elsewhere.app_context():
        assert backup.restore(file) == []
        assert rows() == kept
        assert sorted(storage.hashes()) == hashes
        assert len(hashes) == 4  # two images, and their thumbnails
        settings: Settings = elsewhere.config["FIRSTLOOK"]
        assert (settings.bundles_dir / ("a" * 64) / "bundle.json").read_text() == "{}"
        assert (settings.datasets_dir / ("b" * 64) / "manifest.csv").read_text() == "file\n"
        clinician = db.session.scalars(sa.select(User)).one()
        clinic.send(clinician)  # numbers go on, and so does the record
        assert audit.verify() == []


def test_of_what_is_written_meanwhile_nothing_is_in_it_by_halves(
    core: Flask, file: Path, elsewhere: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case is sent and read once the cases are written, and their readings are not yet."""
    add_rows = backup._add_rows

    def send() -> None:
        with core.app_context():
            clinic.read(clinic.send(db.session.scalars(sa.select(User)).one()))

    def add(archive: tarfile.TarFile, connection: sa.Connection, table: sa.Table) -> int:
        if table.name == "assessments":
            sender = threading.Thread(target=send)
            sender.start()
            sender.join(30)
        return add_rows(archive, connection, table)

    with core.app_context():
        kept = rows()
        monkeypatch.setattr(backup, "_add_rows", add)
        backup.back_up(tmp_path / "meanwhile.tar")
        assert len(rows()["cases"]) == len(kept["cases"]) + 1
    with elsewhere.app_context():
        assert backup.restore(tmp_path / "meanwhile.tar") == []
        assert rows() == kept
        images = {row["sha256"] for row in kept["images"]}
        assert images <= set(storage.hashes())
        assert audit.verify() == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_numbers_go_on_on_postgresql(core: Flask, file: Path) -> None:
    emptied = ", ".join(table.name for table in db.metadata.sorted_tables)
    db.session.remove()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(f"TRUNCATE {emptied} RESTART IDENTITY")
    assert backup.restore(file) == []
    clinic.send(db.session.scalars(sa.select(User)).one())
    assert db.session.scalar(sa.select(sa.func.count(Patient.id))) == 3


def test_it_never_writes_over_an_installation(core: Flask, file: Path) -> None:
    before = rows()
    with pytest.raises(BackupError, match="not empty"):
        backup.restore(file)
    assert rows() == before


def changed(file: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> Path:
    """A copy of a backup in which this was done to each member."""
    copy = file.with_name("changed.tar")
    with tarfile.open(file) as old, tarfile.open(copy, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content
            name, data = change(member.name, content.read())
            member = tarfile.TarInfo(name)
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return copy


def damage(name: str, data: bytes) -> tuple[str, bytes]:
    return name, data + b"?" if name.startswith("blobs") else data


def escape(name: str, data: bytes) -> tuple[str, bytes]:
    return name.replace("bundles/", "bundles/../../"), data


def age(name: str, data: bytes) -> tuple[str, bytes]:
    if name == "manifest.json":
        data = json.dumps({"format": 1, "revision": "0001"}).encode()
    return name, data


def lose_a_row(name: str, data: bytes) -> tuple[str, bytes]:
    return name, b"".join(data.splitlines(True)[1:]) if "predictions" in name else data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damage, "is damaged"),
        (escape, "No backup of ours"),
        (age, "another release"),
        (lose_a_row, "Rows are missing"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_that_is_not_as_it_was_written_is_refused(
    file: Path, elsewhere: Flask, change: Callable[[str, bytes], tuple[str, bytes]], said: str
) -> None:
    with elsewhere.app_context():
        before = rows()
        with pytest.raises(BackupError, match=said):
            backup.restore(changed(file, change))
        assert rows() == before


@pytest.mark.parametrize("content", [b"", b"no tar", b"cut"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_no_backup_is_refused(file: Path, elsewhere: Flask, content: bytes) -> None:
    other = file.with_name("other.tar")
    other.write_bytes(file.read_bytes()[:9000] if content == b"cut" else content)
    with elsewhere.app_context(), pytest.raises(BackupError):
        backup.restore(other)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_commands(core: Flask, file: Path, elsewhere: Flask) -> None:
    run = elsewhere.test_cli_runner().invoke
    done = run(args=["restore", str(file)])
    assert (done.exit_code, done.output) == (0, "The record is whole.\n")
    refused = run(args=["restore", str(file)])
    assert refused.exit_code == 1
    assert "not empty" in refused.output
    made = run(args=["backup", str(file.with_name("second.tar"))])
    assert "2 cases" in made.output
    (event,) = clinic.recorded("backup.made")
    assert event.detail["rows"] > 2
    assert file.with_name("second.tar").stat().st_mode & 0o777 == 0o600
