import io
import re
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image as Picture

from tests import clinic
from tests.conftest import PASSWORD, Browser, People
from tests.dicoms import SOP, STUDY, dicom, gradient
from webapp import imaging, security, storage
from webapp.accounts.models import User
from webapp.assessments.models import Assessment
from webapp.cases.models import Case, Image, Laterality, Patient, Sex
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import db, now
from webapp.permissions import Role


@pytest.fixture
def task_id(app: Flask, clinician: User) -> int:
    with app.app_context():
        return db.session.scalars(sa.select(ReadingTask.id)).one()


@pytest.fixture
def filled(desk: Browser, task_id: int) -> dict[str, Any]:
    """A form that is filled but for its images."""
    return {
        "form_token": form_token(desk),
        "identifier": "B-1",
        "birth_year": "1980",
        "sex": "male",
        "reading_task": str(task_id),
        "priority": "urgent",
        "age_at_acquisition_years": "",
        "note": "what it is about",
    }


def form_token(browser: Browser) -> str:
    page = browser.get("/cases/new").get_data(as_text=True)
    found = re.search(r'name="form_token"[^>]*value="([^"]+)"', page)
    assert found
    return found.group(1)


def send(browser: Browser, fields: dict[str, Any], *files: bytes | tuple[bytes, str]) -> Any:
    named = [file if isinstance(file, tuple) else (file, "cell.png") for file in files]
    images = [(io.BytesIO(data), name) for data, name in named]
    return browser.post("/cases/new", fields | {"images": images})


def counts(app: Flask) -> tuple[int, ...]:
    with app.app_context():
        return tuple(
            db.session.scalars(sa.select(sa.func.count()).select_from(table)).one()
            for table in (Patient, Case, Image, Assessment)
        )


def blobs(app: Flask) -> set[str]:
    with app.app_context():
        return set(storage.hashes())


def refusal(answer: Any) -> str:
    assert answer.status_code == 422, answer.get_data(as_text=True)
    return str(answer.get_data(as_text=True))


def test_a_case_is_filed_and_shown(app: Flask, desk: Browser, filled: dict[str, Any]) -> None:
    answer = send(desk, filled, clinic.picture(), (clinic.picture(form="JPEG"), "b.jpg"))
    assert answer.status_code == 303
    with app.app_context():
        case = db.session.scalars(sa.select(Case)).one()
        assert answer.location == f"/cases/{case.id}"
        assert (case.patient.identifier, case.patient.sex) == ("B-1", Sex.MALE)
        assert case.priority is Priority.URGENT
        assert case.age_at_acquisition_years == now().year - 1980
        assert case.note == "what it is about"
        assert [image.original_file_name for image in case.images] == ["cell.png", "b.jpg"]
        assert [image.media_type for image in case.images] == ["image/png", "image/jpeg"]
        for image in case.images:
            assert storage.get(image.sha256)
            assert storage.get(image.thumbnail_sha256)
    assert desk.get(answer.location).status_code == 200


def test_what_was_left_out_of_an_image_is_kept_and_said(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    movie = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(range(1, 200))
    answer = send(desk, filled, (clinic.picture(form="JPEG") + movie, "motion.jpg"))
    with app.app_context():
        image = db.session.scalars(sa.select(Image)).one()
        assert image.notices == [imaging.Notice.VIDEO_REMOVED]
    page = desk.get(answer.location).text
    assert "The file held a short video beside the picture; it was removed." in page


def test_a_script_is_told_where_the_case_is(desk: Browser, filled: dict[str, Any]) -> None:
    fields = filled | {"images": (io.BytesIO(clinic.picture()), "a.png")}
    answer = desk.post("/cases/new", fields, headers={"X-Requested-With": "XMLHttpRequest"})
    assert answer.status_code == 201
    assert re.fullmatch(r"/cases/\d+", answer.json["location"])


def test_a_photo_and_files_come_together(app: Flask, desk: Browser, filled: dict[str, Any]) -> None:
    send(desk, filled, (b"", ""), clinic.picture())
    assert counts(app) == (1, 1, 1, 1)


def test_the_same_form_sent_twice_is_one_case(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    data = clinic.picture()
    first, second = send(desk, filled, data), send(desk, filled, data)
    assert first.status_code == second.status_code == 303
    assert first.location == second.location
    assert counts(app) == (1, 1, 1, 1)


def test_the_same_form_sent_twice_at_once_is_one_case(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    data = clinic.picture()
    fields = filled | {"csrf_token": desk.csrf_token()}
    cookie = desk.client.get_cookie("firstlook_session")
    start = threading.Barrier(4)
    locations = []

    def press() -> None:
        client = app.test_client()
        client.set_cookie("firstlook_session", cookie.value)
        start.wait()
        answer = client.post("/cases/new", data=fields | {"images": (io.BytesIO(data), "a.png")})
        locations.append((answer.status_code, answer.location))

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(locations) == 4
    assert len(set(locations)) == 1
    assert locations[0][0] == 303
    assert counts(app) == (1, 1, 1, 1)


def test_a_form_that_was_sent_and_then_changed_asks_once_more(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    first = send(desk, filled, clinic.picture())
    data = clinic.picture()
    page = refusal(send(desk, filled | {"identifier": "B-2"}, data))
    assert "already sent" in page
    assert f'<a href="{first.location}">case' in page
    token = re.search(r'name="form_token"[^>]*value="([^"]+)"', page)
    assert token
    assert token.group(1) != filled["form_token"]
    again = filled | {"identifier": "B-2", "form_token": token.group(1)}
    assert send(desk, again, data).status_code == 303
    assert counts(app) == (2, 2, 2, 2)


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG that claims a size; its pixels are not there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def animation() -> bytes:
    stream = io.BytesIO()
    frames = [Picture.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def several_pages() -> bytes:
    stream = io.BytesIO()
    pages = [Picture.new("L", (32, 32), shade) for shade in (0, 255)]
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"just text", "not a JPEG, PNG"),
        (b"%PDF-1.7 and so on", "PDF"),
        (clinic.picture(1)[:200], "damaged"),
        (clinic.picture(1, "JPEG")[:-300], "damaged"),
        (animation(), "animation"),
        (several_pages(), "several pages"),
        (png_of(10_000, 6_000), "megapixels"),
        (b"\xff\xd8\xff" + bytes(imaging.MAX_BYTES), "25 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_refused_file_has_its_sentence_and_nothing_is_kept(
    app: Flask, desk: Browser, filled: dict[str, Any], data: bytes, sentence: str
) -> None:
    page = refusal(send(desk, filled, (clinic.picture(), "good.png"), (data, "bad.png")))
    (line,) = re.findall(r"<p>(bad\.png: [^<]*)</p>", page)
    assert sentence in line
    assert "<p>good.png" not in page
    assert counts(app) == (0, 0, 0, 0)
    with app.app_context():
        assert not list((app.config["FIRSTLOOK"].instance_dir / "blobs").rglob("?" * 64))


def test_what_was_typed_is_kept(desk: Browser, filled: dict[str, Any]) -> None:
    page = refusal(send(desk, filled, b"just text"))
    assert 'value="B-1"' in page
    assert 'value="1980"' in page
    assert "what it is about" in page
    assert re.search(r'<option selected value="male">', page)
    assert re.search(r'<option selected value="urgent">', page)
    assert filled["form_token"] in page


def test_what_was_typed_is_kept_even_if_the_images_are_more_than_can_be_sent(
    app: Flask, desk: Browser, filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "UPLOAD_BYTES_MAX", imaging.MAX_BYTES)
    data = b"\xff\xd8\xff" + bytes(imaging.MAX_BYTES)
    page = refusal(send(desk, filled, (data, "slide.jpg")))
    assert "This case was not sent yet" in page
    assert "slide.jpg: The file is larger than 25 MB." in page
    assert 'value="B-1"' in page
    assert "what it is about" in page
    assert counts(app) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"identifier": " "}, "Enter the identifier"),
        ({"identifier": "x" * 65}, "At most 64"),
        ({"birth_year": "abc"}, "whole number"),
        ({"birth_year": "1066"}, "Enter a year"),
        ({"birth_year": str(now().year + 1)}, "Enter a year"),
        ({"age_at_acquisition_years": "131"}, "Enter an age"),
        ({"age_at_acquisition_years": "-1"}, "Enter an age"),
        ({"age_at_acquisition_years": "90"}, "cannot have been so old"),
        ({"sex": "x"}, "nvalid"),
        ({"priority": "now"}, "nvalid"),
        ({"reading_task": ""}, "Choose what is to be read"),
        ({"reading_task": "999"}, "valid choice"),
        ({"reading_task": "x"}, "nvalid"),
        ({"note": "x" * 4001}, "At most 4000"),
        ({"form_token": ""}, "expired"),
        ({"form_token": "mine"}, "expired"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(
    app: Flask, desk: Browser, filled: dict[str, Any], changes: dict[str, str], sentence: str
) -> None:
    assert sentence in refusal(send(desk, filled | changes, clinic.picture()))
    assert counts(app) == (0, 0, 0, 0)


def test_an_empty_form_says_what_it_needs(app: Flask, desk: Browser) -> None:
    page = refusal(desk.post("/cases/new"))
    assert "Enter the identifier" in page
    assert "at least one image" in page
    assert counts(app) == (0, 0, 0, 0)


def test_what_is_wrong_is_listed_in_the_order_of_the_page(app: Flask, desk: Browser) -> None:
    with app.app_context():
        clinic.serve("another-task")  # of one kind alone nobody has to choose
    page = desk.post("/cases/new", {"form_token": form_token(desk), "birth_year": "1066"}).text
    summary = page.partition("data-error-summary>")[2].partition("</ul>")[0]
    said = re.findall(r'href="#([a-z_]+)"', summary)
    assert said == ["reading_task", "images", "identifier", "birth_year"]


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_characters_that_no_one_sees_are_left_out(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    unseen = {"identifier": "\0B-\u200b7", "note": "\0one\r\ntwo\x1b"}
    file = (clinic.picture(), "a\0b.png")
    assert send(desk, filled | unseen, file).status_code == 303
    with app.app_context():
        case = db.session.scalars(sa.select(Case)).one()
        assert (case.patient.identifier, case.note) == ("B-7", "one\ntwo")


def test_the_body_site_is_kept_where_the_model_asks_for_it(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    with app.app_context():
        asks = clinic.serve("dermoscopy", body_sites=["hand"]).reading_task_id
        other = clinic.serve("fundus", body_sites=["foot"]).reading_task_id

    def send_for(reading_task: Any, **said: str) -> Any:
        changes = {"form_token": form_token(desk), "reading_task": reading_task}
        return send(desk, filled | changes | said, clinic.picture())

    assert send_for(asks, body_site="hand").status_code == 303
    assert send_for(asks).status_code == 303  # nobody says
    assert send_for(filled["reading_task"], body_site="hand").status_code == 303  # it asks for none
    assert "does not know this place" in refusal(send_for(other, body_site="hand"))
    with app.app_context():
        kept = db.session.scalars(sa.select(Case.body_site).order_by(Case.id)).all()
    assert kept == ["hand", None, None]


@pytest.fixture
def sided_task_id(app: Flask, clinician: User) -> int:
    """A reading task that asks of which side an image is, and reads ultrasound."""
    with app.app_context():
        return clinic.serve("breast-ultrasound").reading_task_id


def test_what_a_dicom_file_tells_is_filled_in_and_sent_after_a_second_look(
    app: Flask, desk: Browser, sided_task_id: int
) -> None:
    blank = {"form_token": form_token(desk), "reading_task": str(sided_task_id), "sex": "unknown"}
    blank |= {"priority": "routine", "laterality": "unknown"}
    data = dicom(Modality="US", ImageLaterality="R")
    page = refusal(send(desk, blank, (data, "us.dcm")))
    assert counts(app) == (0, 0, 0, 0)
    for sentence in ("identifier: D-1", "year: 1961", "Sex: Female", "taken: 59", "Side: Right"):
        assert sentence in page
    assert 'name="confirm_told"' not in page
    for name, value in {"identifier": "D-1", "birth_year": "1961"}.items():
        assert re.search(rf'name="{name}"[^>]*value="{value}"', page)
    seen = {"identifier": "D-1", "birth_year": "1961", "sex": "female", "laterality": "right"}
    seen["age_at_acquisition_years"] = "59"
    answer = send(desk, blank | seen, (data, "us.dcm"))
    assert answer.status_code == 303
    with app.app_context():
        case = db.session.scalars(sa.select(Case)).one()
        assert (case.patient.identifier, case.patient.birth_year) == ("D-1", 1961)
        assert (case.laterality, case.age_at_acquisition_years) == (Laterality.RIGHT, 59)
        (image,) = case.images
        assert (image.sop_instance_uid, image.study_instance_uid) == (SOP, STUDY)
    shown = desk.get(answer.location).get_data(as_text=True)
    assert SOP in shown
    assert STUDY in shown
    assert "<dd>Right</dd>" in shown


def test_what_differs_from_a_dicom_file_is_to_be_confirmed(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    page = refusal(send(desk, filled, dicom()))
    assert "identifier: the file says D-1; you entered B-1." in page
    assert "year: the file says 1961; you entered 1980." in page
    assert "Sex: the file says Female; you entered Male." in page
    assert 'name="confirm_told"' in page
    assert send(desk, filled | {"confirm_told": "y"}, dicom()).status_code == 303
    assert counts(app) == (1, 1, 1, 1)


def test_files_of_different_patients_make_no_case(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    others = dicom(gradient() // 2, PatientID="D-2")
    page = refusal(send(desk, filled | {"confirm_told": "y"}, dicom(), others))
    assert "The files are of different patients." in page
    assert counts(app) == (0, 0, 0, 0)


def test_a_modality_that_the_reading_task_does_not_read_is_refused(
    app: Flask, desk: Browser, filled: dict[str, Any], sided_task_id: int
) -> None:
    agreed = filled | {"reading_task": str(sided_task_id), "confirm_told": "y"}
    page = refusal(send(desk, agreed, (dicom(), "slice.dcm")))
    assert "slice.dcm: This DICOM file is of the modality CT; this reading task reads US." in page
    assert counts(app) == (0, 0, 0, 0)
    assert send(desk, agreed, dicom(Modality=None)).status_code == 303  # it does not say


def test_a_dicom_picture_of_someone_else_needs_a_second_look_even_if_its_bytes_differ(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    agreed = filled | {"confirm_told": "y"}
    assert send(desk, agreed, dicom()).status_code == 303
    again = agreed | {"form_token": form_token(desk), "identifier": "B-2"}
    page = refusal(send(desk, again, (dicom(gradient() // 2), "again.dcm")))
    assert "<p>again.dcm: This image is already filed for another patient: B-1" in page
    assert counts(app) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(dicom(NumberOfFrames=2), "several frames"), (dicom()[:-500], "damaged")],
)
def test_a_dicom_file_that_cannot_be_kept_has_its_sentence(
    desk: Browser, filled: dict[str, Any], data: bytes, sentence: str
) -> None:
    assert sentence in refusal(send(desk, filled, data))


def test_what_the_images_show_is_kept_where_it_is_followed(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    with app.app_context():
        skin = clinic.serve("dermoscopy").reading_task_id
        eyes = clinic.serve("fundus").reading_task_id

    def send_for(reading_task: Any, **said: str) -> Any:
        changes = {"form_token": form_token(desk), "reading_task": reading_task}
        return send(desk, filled | changes | said, clinic.picture())

    both = {"lesion": "left forearm A", "eye": "right"}
    for reading_task in (skin, eyes, filled["reading_task"]):
        assert send_for(reading_task, **both).status_code == 303
    assert send_for(skin, lesion="Left  Forearm A").status_code == 303  # the same one again
    assert send_for(skin).status_code == 303  # nobody says
    assert "At most 60" in refusal(send_for(skin, lesion="x" * 61))
    assert "valid choice" in refusal(send_for(eyes, eye="third"))
    with app.app_context():
        cases = db.session.scalars(sa.select(Case).order_by(Case.id)).all()
        regions = [image.region for case in cases for image in case.images]
        kept = [region.label if region else None for region in regions]
    assert kept == ["left forearm A", "right", None, "left forearm A", None]


def test_too_many_images_are_refused(app: Flask, desk: Browser, filled: dict[str, Any]) -> None:
    page = refusal(send(desk, filled, *[clinic.picture()] * (imaging.MAX_IMAGES + 1)))
    assert "at most 20" in page
    assert counts(app) == (0, 0, 0, 0)


def test_as_many_images_as_may_be_are_kept(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    files = [clinic.picture() for _ in range(imaging.MAX_IMAGES)]
    assert send(desk, filled, *files).status_code == 303
    assert counts(app) == (1, 1, imaging.MAX_IMAGES, 1)


def test_who_differs_from_the_record_is_shown_both(
    app: Flask, desk: Browser, case: Case, filled: dict[str, Any]
) -> None:
    before, stored = counts(app), blobs(app)
    fields = filled | {"identifier": "A-1", "birth_year": "1979"}
    with app.app_context():
        theirs = storage.get(db.session.scalars(sa.select(Image.sha256)).one())
    page = refusal(send(desk, fields, clinic.picture(), theirs))
    assert "1980" in page
    assert "1979" in page
    assert counts(app) == before
    assert blobs(app) == stored  # nothing of what was refused, and all that is on file


def test_an_image_of_someone_else_needs_a_second_look(
    app: Flask,
    desk: Browser,
    clinician: User,
    filled: dict[str, Any],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    data = clinic.picture()
    with app.app_context():
        other = clinic.send(clinician, identifier="A-9", pictures=[data])
    page = refusal(send(desk, filled, clinic.picture(), (data, "theirs.png")))
    (event,) = record("duplicates.shown")
    assert (event["actor_id"], event["detail"]) == (clinician.id, {"count": 1})
    sentence = f"This image is already filed for another patient: A-9, case {other.id}."
    assert f"<p>theirs.png: {sentence}</p>" in page
    assert 'name="confirm_duplicates"' in page
    assert counts(app)[1] == 1
    assert send(desk, filled | {"confirm_duplicates": "y"}, data).status_code == 303
    assert counts(app)[1] == 2


def test_the_second_look_is_offered_only_where_it_is_needed(
    desk: Browser, filled: dict[str, Any]
) -> None:
    page = refusal(send(desk, filled, b"just text"))
    assert 'name="confirm_duplicates"' not in page


def test_a_model_that_went_away_meanwhile_is_said(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    with app.app_context():
        db.session.execute(sa.text("DELETE FROM model_aliases"))
        db.session.commit()
    assert "No model" in refusal(send(desk, filled, clinic.picture()))
    assert counts(app) == (0, 0, 0, 0)


def test_one_of_several_sites_is_chosen(
    app: Flask,
    browse: Callable[[], Browser],
    people: People,
    filled: dict[str, Any],
    case: Case,
) -> None:
    with app.app_context():
        north, south = people.site("North"), people.site("South")
        both = browse().sign_in(people.user(Role.CLINICIAN, sites=[north, south]))
    fields = filled | {"form_token": form_token(both)}
    for nothing in ({}, {"site_id": ""}):
        assert "Choose the patient" in refusal(send(both, fields | nothing, clinic.picture()))
    theirs = fields | {"site_id": str(case.site_id)}
    assert "valid choice" in refusal(send(both, theirs, clinic.picture()))
    answer = send(both, fields | {"site_id": str(south.id)}, clinic.picture())
    with app.app_context():
        filed = db.session.get_one(Case, int(answer.location.rpartition("/")[2]))
        assert filed.site_id == south.id


def test_the_site_of_others_cannot_be_smuggled_in(
    app: Flask, stranger: Browser, filled: dict[str, Any], case: Case
) -> None:
    fields = filled | {"form_token": form_token(stranger), "site_id": str(case.site_id)}
    answer = send(stranger, fields, clinic.picture())
    with app.app_context():
        filed = db.session.get_one(Case, int(answer.location.rpartition("/")[2]))
        assert filed.site_id != case.site_id


def test_the_form_of_someone_else_is_refused(
    app: Flask, stranger: Browser, filled: dict[str, Any]
) -> None:
    assert "expired" in refusal(send(stranger, filled, clinic.picture()))
    assert counts(app) == (0, 0, 0, 0)


def test_sending_is_on_record(
    desk: Browser,
    clinician: User,
    filled: dict[str, Any],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    send(desk, filled, b"just text")
    assert record("case.submitted") == []
    send(desk, filled, clinic.picture())
    (event,) = record("case.submitted")
    assert event["actor_id"] == clinician.id
    assert event["detail"]["image_count"] == 1


def test_who_is_not_signed_in_is_asked_to(
    app: Flask, nobody: Browser, filled: dict[str, Any]
) -> None:
    assert send(nobody, filled, clinic.picture()).location == "/sign-in?next=/cases/new"
    assert counts(app) == (0, 0, 0, 0)


def test_what_another_site_sends_leaves_the_cookie_that_is_there(nobody: Browser) -> None:
    """It comes without the session's cookie, and must not bring a new one in its place."""
    answer = nobody.client.post("/cases/new", headers={"Origin": "https://elsewhere.test"})
    assert answer.location == "/sign-in?next=/cases/new"
    assert "Set-Cookie" not in answer.headers


NOT_SENT = "Your case was not sent, because you were signed out."


def test_who_was_signed_out_meanwhile_is_told_and_led_back(
    app: Flask, desk: Browser, clinician: User, filled: dict[str, Any]
) -> None:
    desk.post("/sign-out")
    assert NOT_SENT not in desk.get("/sign-in").get_data(as_text=True)
    answer = send(desk, filled, clinic.picture())
    page = desk.get(answer.location).get_data(as_text=True)
    assert f"{NOT_SENT} Sign in and send it again." in page
    assert desk.get(answer.location).get_data(as_text=True).count(NOT_SENT) == 0
    signed_in = {"username": clinician.username, "password": PASSWORD}
    assert desk.post(answer.location, signed_in).location == "/cases/new"
    assert counts(app) == (0, 0, 0, 0)


def test_a_script_whose_user_was_signed_out_leaves_the_words_for_the_sign_in_page(
    desk: Browser, filled: dict[str, Any]
) -> None:
    desk.post("/sign-out")
    answer = desk.post("/cases/new", filled, headers={"Accept": "application/json"})
    assert answer.status_code == 401
    assert NOT_SENT in desk.get("/sign-in").get_data(as_text=True)


@pytest.mark.parametrize("by_script", [False, True])
def test_a_form_of_a_session_before_this_one_is_not_sent_and_its_sender_told(
    app: Flask, desk: Browser, clinician: User, filled: dict[str, Any], by_script: bool
) -> None:
    former = filled | {"csrf_token": desk.csrf_token()}
    desk.post("/sign-out")
    desk.sign_in(clinician)
    headers = {"Accept": "application/json"} if by_script else {}
    images = {"images": (io.BytesIO(clinic.picture()), "a.png")}
    answer = desk.client.post("/cases/new", data=former | images, headers=headers)
    if by_script:
        assert answer.status_code == 401
    else:
        assert (answer.status_code, answer.location) == (303, "/sign-in?next=/cases/new")
        assert desk.get(answer.location).location == "/cases/new"
    page = desk.get("/cases/new").get_data(as_text=True)
    assert "because you were signed out meanwhile. Send it again." in page
    assert counts(app) == (0, 0, 0, 0)


def test_an_administrator_may_not(app: Flask, office: Browser, filled: dict[str, Any]) -> None:
    assert send(office, filled, clinic.picture()).status_code == 403
    assert counts(app) == (0, 0, 0, 0)


def test_a_form_of_another_site_is_refused(
    app: Flask, desk: Browser, filled: dict[str, Any]
) -> None:
    fields = filled | {"images": (io.BytesIO(clinic.picture()), "a.png")}
    assert desk.client.post("/cases/new", data=fields).location == "/sign-in?next=/cases/new"
    assert counts(app) == (0, 0, 0, 0)
