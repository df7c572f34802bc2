"""What the tests of all endpoints are held to: no request changes anything without a row."""

import pytest
from flask import Flask

from tests.changes import unrecorded_changes
from webapp import audit
from webapp.accounts.models import Site
from webapp.db import db, now, transaction
from webapp.errors import Conflict


def make_site(name: str, *, is_recorded: bool, is_taken_back: bool = False) -> None:
    with transaction():
        site = Site(name=name, created_at=now())
        db.session.add(site)
        db.session.flush()
        if is_taken_back:
            raise Conflict("taken_back")
        if is_recorded:
            audit.record(actor=None, action="site.created", subject=site)


def test_a_change_without_a_row_is_found(core: Flask) -> None:
    with unrecorded_changes(db.engine) as found:
        make_site("By a test", is_recorded=False)
        with core.test_request_context("/sites", method="POST"):
            make_site("On record", is_recorded=True)
            with pytest.raises(Conflict):
                make_site("Taken back", is_recorded=False, is_taken_back=True)
            assert found == []
            make_site("Unseen", is_recorded=False)
    assert found == ["POST /sites writes ['sites']"]
