"""From the release before, with data: its rows come up to today's tables, and work goes on.

`former/0005.json` is what an installation of a former release wrote, when 0005 was the newest
migration:
a clinician and an administrator, a case that was read, explained and signed, one on which the model
held its answer back, and one that waits; the record, and the stored pictures.
"""

import base64
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp import audit, backup, queue, storage
from webapp.accounts.models import Site, User
from webapp.app import create_app
from webapp.assessments.models import Assessment, State
from webapp.cases.models import Case, Consent
from webapp.config import Settings
from webapp.core import create_core
from webapp.db import db
from webapp.erasures import services as erasures
from webapp.registry.models import ModelVersion
from webapp.reviews.models import Review

FORMER: dict[str, Any] = json.loads((Path(__file__).parent / "former" / "0005.json").read_text())
KEY = FORMER["audit_key"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'former.db'}"
        return
    server = sa.make_url(request.getfixturevalue("postgresql_url"))
    admin = sa.create_engine(
        server.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE former")
    yield server.set(database="former").render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE former WITH (FORCE)")


@pytest.fixture
def upgraded(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The application on the rows of the former release, which were brought up to date."""
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    app = create_app(Settings(instance_dir=tmp_path / "instance", database_url=url, audit_key=KEY))
    app.config["TESTING"] = True
    with app.app_context():
        flask_migrate.upgrade(revision=FORMER["revision"])
        with db.engine.begin() as connection:
            _fill(connection)
        for data in FORMER["blobs"].values():
            storage.put(base64.b64decode(data))
        flask_migrate.upgrade()
        db.session.remove()
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def _fill(connection: sa.Connection) -> None:
    """Write the rows into tables as they were then, and have new rows numbered after them."""
    tables = sa.MetaData()
    tables.reflect(connection)
    for table in reversed(tables.sorted_tables):  # what migrations wrote
        if table.name != "alembic_version":
            connection.execute(table.delete())
    for name, rows in FORMER["rows"].items():
        table = tables.tables[name]
        for row in rows:
            connection.execute(table.insert().values({k: _typed(table.c[k], row[k]) for k in row}))
        if connection.dialect.name == "postgresql" and "id" in table.c and name != "audit_events":
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'),"
                f" (SELECT coalesce(max(id), 1) FROM {name}))"
            )


def _typed(column: sa.Column[Any], value: Any) -> Any:
    if value is None:
        return sa.null()  # also where JSON has one of its own
    if not isinstance(column.type, sa.DateTime | sa.Date):
        return value
    if isinstance(column.type, sa.Date):
        return dt.date.fromisoformat(value)
    moment = dt.datetime.fromisoformat(value)
    return moment if column.type.timezone else moment.replace(tzinfo=None)


def test_rows_of_a_former_release_come_up_to_date_and_work_goes_on(
    upgraded: Flask, tmp_path: Path
) -> None:
    with upgraded.app_context():
        assert audit.verify() == []
        signed, held, waiting = db.session.scalars(sa.select(Case).order_by(Case.id))
        states = {row.case_id: row.state for row in db.session.scalars(sa.select(Assessment))}
        assert states == {
            signed.id: State.COMPLETED,
            held.id: State.ABSTAINED,
            waiting.id: State.SCHEDULED,
        }
        assert signed.patient.consent is Consent.NOT_ASKED
        version = db.session.scalars(sa.select(ModelVersion)).one()
        assert version.archive_sha256 is None  # until the next start has put the bundle there
        doctor = db.session.scalars(sa.select(User).where(User.username == "doctor")).one()
        image_id = signed.images[0].id

    browser = Browser(upgraded.test_client()).sign_in(doctor)
    assert "U-1" in browser.get("/cases?show=all").text
    page = browser.get(f"/cases/{signed.id}").text
    assert "from before" in page
    assert "as before" in page
    assert browser.get(f"/cases/{signed.id}/report.pdf").status_code == 200
    assert browser.get(f"/images/{image_id}").status_code == 200

    with upgraded.app_context():
        clinic.read(db.session.get_one(Case, waiting.id), "watch")
        clinic.read(clinic.send(doctor, identifier="U-3"))
        site = db.session.scalars(sa.select(Site)).one()
        erasure = erasures.erase_named(actor=None, site=site, identifier="U-1", reason="asked")
        assert erasure.removed["images"] == 2
        assert db.session.scalars(sa.select(Review.comment)).all() == [erasures.ERASED]
        assert audit.verify() == []
        backup.back_up(tmp_path / "firstlook.tar")
    other = create_core(Settings(instance_dir=tmp_path / "other", audit_key=KEY))
    with other.app_context():
        flask_migrate.upgrade()
        assert backup.restore(tmp_path / "firstlook.tar") == []
        assert db.session.scalar(sa.select(sa.func.count(Case.id))) == 4
        db.session.remove()
        db.engine.dispose()
