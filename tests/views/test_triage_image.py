from collections.abc import Callable
from typing import Any

from flask import Flask

from tests.conftest import Browser
from webapp import storage
from webapp.accounts.models import User
from webapp.cases.models import Case


def path(case: Case) -> str:
    return f"/images/{case.images[0].id}"


def test_it_is_the_stored_bytes_under_a_neutral_name(app: Flask, desk: Browser, case: Case) -> None:
    image = case.images[0]
    answer = desk.get(path(case))
    assert answer.status_code == 200
    with app.app_context():
        assert answer.data == storage.get(image.sha256)
    assert answer.content_type == image.media_type == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == f'inline; filename="image-{image.id}.png"'
    assert "private" in answer.headers["Cache-Control"]
    assert "no-cache" in answer.headers["Cache-Control"]


def test_a_copy_that_is_still_right_is_not_sent_again(desk: Browser, case: Case) -> None:
    etag = desk.get(path(case)).headers["ETag"]
    answer = desk.get(path(case), headers={"If-None-Match": etag})
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == etag
    assert desk.get(path(case), headers={"If-None-Match": '"other"'}).status_code == 200


def test_opening_it_is_on_record(
    desk: Browser, clinician: User, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(path(case))
    (event,) = record("image.opened")
    assert (event["actor_id"], event["subject"]) == (clinician.id, ("Image", case.images[0].id))
    assert event["detail"] == {"case_id": case.id}


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, case: Case) -> None:
    assert nobody.get(path(case)).status_code == 303


def test_an_administrator_sees_no_images(office: Browser, case: Case) -> None:
    assert office.get(path(case)).status_code == 403


def test_what_is_of_others_is_not_there(
    stranger: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    etag = f'"{case.images[0].sha256}"'
    assert stranger.get(path(case)).status_code == 404
    assert stranger.get(path(case), headers={"If-None-Match": etag}).status_code == 404
    assert record("image.opened") == []
