"""What the database tells, and what it must not. On SQLite and on PostgreSQL."""

import logging

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import IntegrityError, OperationalError

from tests.conftest import People
from webapp.cases.models import Patient, Sex
from webapp.db import configure_engine, db, now

IDENTIFIER = "A-SECRET-1"


@pytest.fixture
def site_id(core: Flask, people: People) -> int:
    """A site that knows a patient by the identifier."""
    site_id = people.site().id
    register(site_id)
    db.session.commit()
    return site_id


def register(site_id: int) -> None:
    """Past every check of ours, as what nobody foresaw would."""
    db.session.execute(
        sa.insert(Patient).values(
            site_id=site_id,
            identifier=IDENTIFIER,
            birth_year=1980,
            sex=Sex.UNKNOWN,
            created_at=now(),
        )
    )


def test_an_error_that_is_logged_names_the_rule_and_no_patient(
    site_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(IntegrityError) as caught:
        register(site_id)
    logging.getLogger("test").error("failed", exc_info=caught.value)
    assert "IntegrityError" in caplog.text
    assert "unique" in caplog.text.lower()
    assert "patients" in caplog.text
    assert IDENTIFIER not in caplog.text


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_program_can_still_ask_for_the_detail(site_id: int) -> None:
    with pytest.raises(IntegrityError) as caught:
        register(site_id)
    assert IDENTIFIER in caught.value.orig.diag.message_detail


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_error_without_a_server_keeps_its_words(core: Flask) -> None:
    nowhere = sa.create_engine(db.engine.url.set(query={"host": "/nowhere"}))
    configure_engine(nowhere)
    with pytest.raises(OperationalError, match="/nowhere"):
        nowhere.connect()
