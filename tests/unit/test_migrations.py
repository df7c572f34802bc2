"""Migrations: from empty to head on both databases, and head is what the tables in the code say."""

import datetime as dt
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

from tests import clinic
from webapp import queue
from webapp.assessments.models import Assessment
from webapp.cases.models import Image
from webapp.catalogue.models import Priority
from webapp.db import Base, db


def test_head_is_what_the_code_says(core: Flask) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_every_table_is_there(core: Flask) -> None:
    assert set(Base.metadata.tables) <= set(sa.inspect(db.engine).get_table_names())


def test_the_database_itself_refuses_a_foreign_key_to_nothing(core: Flask) -> None:
    with pytest.raises(sa.exc.IntegrityError), db.engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO user_sites (user_id, site_id) VALUES (1, 1)"))


def test_cases_from_before_are_given_the_moment_they_are_due(
    core: Flask, people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    clinic.serve()
    clinician = people.clinician()
    pictures = [clinic.picture(), clinic.picture()]
    waiting = clinic.send(clinician, priority=Priority.ASAP)
    calm, named, marked, held = (
        clinic.send(clinician, pictures=pictures, confirm_duplicates=True) for _ in range(4)
    )
    failed = clinic.send(clinician)
    clinic.read(calm)
    clinic.read(named, "grave")
    clinic.read(marked, supported=("grave",))
    clinic.read(held, abstained=[True, False])
    clinic.fail(failed)
    rank_of = sa.select(Assessment.case_id, Assessment.priority_rank, Assessment.due_at)
    before = {row.case_id: row for row in db.session.execute(rank_of)}
    # As it was known then: not what an answer marked, or which image had none.
    db.session.execute(
        sa.update(Assessment)
        .where(Assessment.case_id.in_([marked.id, held.id]))
        .values(priority_rank=0)
    )
    db.session.commit()
    db.session.remove()
    flask_migrate.downgrade(revision="0002")
    flask_migrate.upgrade()
    after = {row.case_id: row for row in db.session.execute(rank_of)}
    assert {id_: row.priority_rank for id_, row in after.items()} == {
        waiting.id: 2,
        calm.id: 0,
        named.id: 3,
        marked.id: 3,
        held.id: 1,
        failed.id: 1,
    }
    for case_id, row in after.items():
        assert abs(row.due_at - before[case_id].due_at) < dt.timedelta(milliseconds=1)
    order = sa.select(Assessment.case_id).order_by(Assessment.due_at, Assessment.case_id)
    in_order = [named.id, marked.id, waiting.id, held.id, failed.id, calm.id]
    assert list(db.session.scalars(order)) == in_order


def test_what_a_case_showed_is_what_its_images_show(
    core: Flask, people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    clinic.serve("dermoscopy")
    clinician = people.clinician()
    pictures = [clinic.picture(), clinic.picture()]
    named = clinic.send(clinician, region="arm", pictures=pictures)
    unnamed = clinic.send(clinician)
    region_id = named.images[0].region_id
    db.session.remove()
    flask_migrate.downgrade(revision="0022")
    with db.engine.connect() as connection:
        before = connection.execute(sa.text("SELECT id, region_id FROM cases ORDER BY id")).all()
    assert [tuple(row) for row in before] == [(named.id, region_id), (unnamed.id, None)]
    flask_migrate.upgrade()
    after = sa.select(Image.case_id, Image.region_id).order_by(Image.id)
    assert [tuple(row) for row in db.session.execute(after)] == [
        (named.id, region_id),
        (named.id, region_id),
        (unnamed.id, None),
    ]
