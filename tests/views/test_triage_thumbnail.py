import datetime as dt
import io
from collections.abc import Callable
from typing import Any

from flask import Flask
from PIL import Image

from tests.conftest import Browser
from webapp.accounts.models import UserSession
from webapp.cases.models import Case
from webapp.db import db


def path(case: Case) -> str:
    return f"/images/{case.images[0].id}/thumbnail"


def test_it_is_a_small_picture_under_a_neutral_name(desk: Browser, case: Case) -> None:
    answer = desk.get(path(case))
    assert answer.status_code == 200
    assert answer.content_type == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.data)).size) <= 320
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert case.images[0].original_file_name not in str(answer.headers)


def test_a_copy_that_is_still_right_is_not_sent_again(desk: Browser, case: Case) -> None:
    etag = desk.get(path(case)).headers["ETag"]
    assert desk.get(path(case), headers={"If-None-Match": etag}).status_code == 304


def test_it_neither_leaves_a_record_nor_keeps_a_session(
    app: Flask, desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    with app.app_context():
        row = db.session.query(UserSession).one()
        row.last_active_at = earlier = row.last_active_at - dt.timedelta(minutes=3)
        db.session.commit()
    assert desk.get(path(case)).status_code == 200
    with app.app_context():
        assert db.session.query(UserSession).one().last_active_at == earlier
    assert record("image.opened") == []


def test_who_is_not_signed_in_is_told_and_not_redirected(nobody: Browser, case: Case) -> None:
    assert nobody.get(path(case)).status_code == 401


def test_an_administrator_sees_no_images(office: Browser, case: Case) -> None:
    assert office.get(path(case)).status_code == 403


def test_what_is_of_others_is_not_there(stranger: Browser, case: Case) -> None:
    assert stranger.get(path(case)).status_code == 404
