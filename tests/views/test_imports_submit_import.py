import io
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic, imports
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.db import db
from webapp.imports.models import Import
from webapp.permissions import Role

ROW = {"file": "a.png", "identifier": "I-1"}


def send(browser: Browser, table: bytes | None = None, archive: bytes | None = None) -> Any:
    files = {
        "table": (io.BytesIO(imports.table(ROW) if table is None else table), "cases.csv"),
        "archive": (
            io.BytesIO(imports.archive({"a.png": b""}) if archive is None else archive),
            "images.zip",
        ),
    }
    return browser.post("/imports", files)


def count(app: Flask) -> int:
    with app.app_context():
        return len(db.session.scalars(sa.select(Import.id)).all())


def test_a_table_is_taken_and_shown(app: Flask, desk: Browser) -> None:
    answer = send(desk, archive=imports.archive({"a.png": clinic.picture()}))
    assert answer.status_code == 303
    page = desk.get(answer.location).get_data(as_text=True)
    assert "Being checked" in page
    assert "0 of 1 rows" in page
    assert 'hx-get="/imports/1/status"' in page
    with app.app_context():
        imports.work()
    page = desk.get(answer.location).get_data(as_text=True)
    assert "1 row can be filed." in page
    assert "I-1" in page
    assert "hx-get" not in page


def test_an_archive_may_be_larger_than_an_image(app: Flask, desk: Browser) -> None:
    large = imports.archive({"a.png": bytes(26_000_000)}, imports.zipfile.ZIP_STORED)
    assert send(desk, archive=large).status_code == 303


@pytest.mark.parametrize(
    ("table", "archive", "sentence"),
    [
        (b"", None, "The table has no rows."),
        (b"name\na", None, "unknown columns: name."),
        (b"file,file\na,b", None, "columns twice: file."),
        (b"identifier\na", None, "no column \u201cfile\u201d"),
        ("file\n\u00fc".encode("cp1252"), None, "not in UTF-8"),
        (None, b"PK nonsense", "not a ZIP archive"),
        (None, bytes(100_000_001), "larger than 100 MB"),
    ],
)
def test_what_cannot_be_used_is_said(
    app: Flask, desk: Browser, table: bytes | None, archive: bytes | None, sentence: str
) -> None:
    answer = send(desk, table, archive)
    assert answer.status_code == 422
    assert sentence in answer.get_data(as_text=True)
    assert count(app) == 0


def test_both_files_and_a_site_are_asked_for(app: Flask, browse: type, people: People) -> None:
    with app.app_context():
        clinic.serve()
        both = people.user(Role.CLINICIAN, sites=[people.site(), people.site()])
    page = browse().sign_in(both).post("/imports").get_data(as_text=True)
    for sentence in ("Choose the table.", "Choose the archive.", "Choose the patients' site"):
        assert sentence in page


def test_who_is_not_signed_in_is_asked_to(app: Flask, nobody: Browser) -> None:
    assert send(nobody).location.startswith("/sign-in")
    assert count(app) == 0


def test_an_administrator_may_not(app: Flask, office: Browser) -> None:
    assert send(office).status_code == 403
    assert count(app) == 0


def test_a_form_of_another_site_is_refused(app: Flask, desk: Browser, clinician: User) -> None:
    assert desk.client.post("/imports", data={}).status_code == 400
    assert count(app) == 0
