import base64
import io
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image as Picture

from tests import clinic
from tests.conftest import Browser
from tests.dicoms import dicom
from webapp.accounts.models import User
from webapp.cases.models import Image
from webapp.db import db


def ask(browser: Browser, data: bytes | None, *, token: bool = True) -> Any:
    headers = {"Accept": "application/json"}
    if token:
        headers["X-CSRFToken"] = browser.csrf_token()
    files = {} if data is None else {"image": (io.BytesIO(data), "a.dcm")}
    return browser.client.post("/cases/look-into-dicom", data=files, headers=headers)


def test_it_tells_what_the_file_tells_and_shows_it(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        clinic.serve("dermoscopy", body_sites=["lower extremity"])
    answer = ask(desk, dicom(ImageLaterality="L", BodyPartExamined="LEG"))
    assert answer.status_code == 200
    assert answer.json["fields"] == {
        "identifier": "D-1",
        "birth_year": "1961",
        "sex": "female",
        "age_at_acquisition_years": "59",
        "laterality": "left",
        "eye": "left",
        "body_site": "lower extremity",
    }
    shown = Picture.open(io.BytesIO(base64.b64decode(answer.json["thumbnail"])))
    assert shown.size == (48, 32)
    with app.app_context():
        assert db.session.scalars(sa.select(Image)).all() == []
        assert not list((app.config["FIRSTLOOK"].instance_dir / "blobs").rglob("?" * 64))


def test_what_the_file_does_not_say_is_left_out(desk: Browser) -> None:
    silent = dict.fromkeys(("PatientID", "PatientBirthDate", "PatientSex", "PatientAge"))
    assert ask(desk, dicom(**silent, BodyPartExamined="LEG")).json["fields"] == {}
    assert ask(desk, clinic.picture()).json["fields"] == {}


@pytest.mark.parametrize(
    ("data", "sentence"), [(dicom(NumberOfFrames=3), "several frames"), (b"text", "not a JPEG")]
)
def test_what_cannot_be_kept_is_told(desk: Browser, data: bytes, sentence: str) -> None:
    assert sentence in ask(desk, data).json["refusal"]


def test_a_question_without_a_file_is_refused(desk: Browser) -> None:
    assert ask(desk, None).status_code == 422


def test_who_is_not_signed_in_is_told(nobody: Browser) -> None:
    assert ask(nobody, dicom()).status_code == 401


def test_an_administrator_may_not(office: Browser) -> None:
    assert ask(office, dicom()).status_code == 403


def test_a_question_of_another_site_is_refused(desk: Browser) -> None:
    assert ask(desk, dicom(), token=False).status_code == 400
