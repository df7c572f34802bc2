"""From the release before, with data: its rows come up to today's tables, and work goes on.

Each file of `former` is what an installation of a former release wrote when the migration that it
is named by was the newest, with the record and the stored pictures:

0005: a clinician and an administrator, a case that was read, explained and signed, one on which the
model held its answer back, and one that waits.

0019: an approver beside them, a case of a patient who consents, which names its lesion; a data set
and a snapshot of both, a training that has ended and one that waits; a plan that was changed, a
version that was promoted and taken back, one that has passed and waits for its approver, and one
that reads unseen.
"""

import base64
import datetime as dt
import json
import re
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
from webapp.cases.models import Case, Consent, Image
from webapp.config import Settings
from webapp.core import create_core
from webapp.datasets.models import Dataset
from webapp.db import db
from webapp.erasures import services as erasures
from webapp.promotion.models import PromotionRequest
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion, shadow
from webapp.reviews.models import Review
from webapp.training import services as training
from webapp.training.models import TrainingRun
from webapp.worker import sharing

KEY = "a" * 32
"""Of the record of both."""
Former = dict[str, Any]


@pytest.fixture
def former(request: pytest.FixtureRequest) -> Former:
    """What an installation of that release held."""
    text = (Path(__file__).parent / "former" / f"{request.param}.json").read_text()
    held: Former = json.loads(text)
    return held


def of_release(revision: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("former", [revision], indirect=True)


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
def upgraded(
    former: Former, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    """The application on the rows of the former release, which were brought up to date."""
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    app = create_app(Settings(instance_dir=tmp_path / "instance", database_url=url, audit_key=KEY))
    app.config["TESTING"] = True
    with app.app_context():
        flask_migrate.upgrade(revision=former["revision"])
        with db.engine.begin() as connection:
            _fill(connection, former["rows"])
        for data in former["blobs"].values():
            storage.put(base64.b64decode(data))
        for name, data in former.get("files", {}).items():
            path = tmp_path / "instance" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(data))
        flask_migrate.upgrade()
        db.session.remove()
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def _fill(connection: sa.Connection, rows_of: dict[str, list[dict[str, Any]]]) -> None:
    """Write the rows into tables as they were then, and have new rows numbered after them."""
    tables = sa.MetaData()
    tables.reflect(connection)
    for table in reversed(tables.sorted_tables):  # what migrations wrote
        if table.name != "alembic_version":
            connection.execute(table.delete())
    for name, rows in rows_of.items():
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


@of_release("0005")
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


@of_release("0019")
def test_what_was_learnt_and_asked_for_before_goes_on(upgraded: Flask) -> None:
    with upgraded.app_context():
        assert audit.verify() == []
        office, chief = (
            db.session.scalars(sa.select(User).where(User.username == name)).one()
            for name in ("office", "chief")
        )
        named, unnamed = db.session.scalars(sa.select(Image).order_by(Image.case_id))
        assert [one.region and one.region.label for one in (named, unnamed)] == [
            "mole on the arm",
            None,
        ]
        asked = db.session.scalars(
            sa.select(PromotionRequest).where(PromotionRequest.decision.is_(None))
        ).one()
        request_id, comparison_id, task_id = asked.id, asked.comparison_id, asked.reading_task_id
        ended = db.session.scalars(
            sa.select(TrainingRun).where(TrainingRun.model_version_id.is_not(None))
        ).one()
        learnt = (ended.id, ended.snapshot_id, ended.model_version_id)
        taken = training.claim(worker="trainer:1", has_gpu=False, lease_seconds=60)
        assert taken is not None
        assert taken.run_id > ended.id
        dataset = db.session.scalars(sa.select(Dataset)).one()
        assert (dataset.pictures_sha256, sharing.step()) == (None, True)
        assert dataset.pictures_sha256 in set(storage.hashes())

    desk = Browser(upgraded.test_client()).sign_in(office)
    assert "Passed" in desk.get(f"/comparisons/{comparison_id}").text
    assert "It finds more." in desk.get(f"/changes/{task_id}").text
    run_id, snapshot_id, made_id = learnt
    for path in (f"/training/{run_id}", f"/snapshots/{snapshot_id}", f"/changes/{task_id}/plan"):
        assert desk.get(path).status_code == 200
    assert f"/snapshots/{snapshot_id}" in desk.get(f"/models/{made_id}").text
    answer = (
        Browser(upgraded.test_client())
        .sign_in(chief)
        .post(f"/promotion-requests/{request_id}/approve")
    )
    assert answer.status_code == 303
    rows = re.findall(
        r"First of its reading task|Promoted|Rolled back to", desk.get("/ledger").text
    )
    assert rows == ["Promoted", "Rolled back to", "Promoted", "First of its reading task"]

    with upgraded.app_context():
        serving, unseen = champion(task_id), shadow(task_id)
        assert [one and one.version for one in (serving, unseen)] == ["3.0.0", "4.0.0"]
        assert audit.verify() == []
