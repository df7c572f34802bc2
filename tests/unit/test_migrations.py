"""Migrations: from empty to head on both databases, and head is what the tables in the code say."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

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
