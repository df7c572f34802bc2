import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.db import db
from webapp.permissions import Role
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis


@pytest.fixture
def lesion(app: Flask, clinician: User) -> Case:
    """A case of a lesion that nobody has named."""
    with app.app_context():
        task_id = clinic.serve("dermoscopy").reading_task_id
        return clinic.send(clinician, identifier="A-1", reading_task_id=task_id)


@pytest.fixture
def eyes(app: Flask, clinician: User) -> Case:
    """A case of two images of eyes, of which nobody has said which."""
    with app.app_context():
        task_id = clinic.serve("fundus").reading_task_id
        pictures = [clinic.picture(), clinic.picture()]
        return clinic.send(clinician, reading_task_id=task_id, pictures=pictures)


def on_record(app: Flask, case: Case) -> list[str | None]:
    """What each image shows."""
    with app.app_context():
        regions = [image.region for image in db.session.get_one(Case, case.id).images]
        return [region.label if region else None for region in regions]


def mark(page: str) -> str:
    """What the page says that it shows."""
    form = page.split('/region"')[1]
    return re.findall(r'name="shown" type="hidden" value="([^"]*)"', form)[0]


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


def test_it_says_which_lesion_it_is(
    app: Flask, desk: Browser, lesion: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    path = f"/cases/{lesion.id}"
    page = desk.get(path).get_data(as_text=True)
    assert "not said" in page
    answer = desk.post(f"{path}/region", {"image_1": " left  arm", "shown": mark(page)})
    assert (answer.status_code, answer.location) == (303, path)
    assert on_record(app, lesion) == ["left arm"]
    (event,) = record("case.region_named")
    page = desk.get(path).get_data(as_text=True)
    assert "This case shows: left arm." in page
    assert f'<a href="/regions/{event["detail"]["region_id"]}">left arm</a>' in page
    assert '<option value="left arm">' in page
    assert "Image 1:" not in text(page)


def test_each_image_of_a_case_can_be_of_another_eye(
    app: Flask, desk: Browser, eyes: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    path = f"/cases/{eyes.id}"
    sent = {"image_1": "left", "image_2": "right", "shown": mark(desk.get(path).text)}
    assert desk.post(f"{path}/region", sent).status_code == 303
    assert on_record(app, eyes) == ["left", "right"]
    page = desk.get(path).text
    assert "This case shows: Left eye, Right eye." in text(page)
    assert "Image 1: Left eye; Image 2: Right eye" in text(page)
    assert page.count('<span class="filmstrip__region">') == 2
    named = [event["detail"] for event in record("case.region_named")]
    assert [detail["image_id"] for detail in named] == [image.id for image in eyes.images]
    with app.app_context():
        clinic.read(eyes, ["calm", "grave"])
    told = text(desk.get(f"{path}/status").text)
    assert "Image 2 of 2, Right eye: Grave" in told
    assert "Image 1 of 2, Left eye: Calm" in told
    sent = {"image_1": "", "image_2": "", "shown": mark(page)}
    assert desk.post(f"{path}/region", sent).status_code == 303
    assert "Nothing is said any more" in desk.get(path).text
    assert on_record(app, eyes) == [None, None]


def test_of_a_stale_page_both_versions_are_shown(app: Flask, desk: Browser, eyes: Case) -> None:
    path = f"/cases/{eyes.id}/region"
    stale = mark(desk.get(f"/cases/{eyes.id}").text)
    desk.post(path, {"image_1": "left", "image_2": "right", "shown": stale})
    for shown in (stale, "", "x"):
        answer = desk.post(path, {"image_1": "right", "image_2": "", "shown": shown})
        assert answer.status_code == 409
        assert on_record(app, eyes) == ["left", "right"]
    page = answer.text
    assert (
        f"On record now: {eyes.patient.identifier}, Image 1 of 2: Left eye; Image 2 of 2: Right"
        " eye. You entered: Image 1 of 2: Right eye; Image 2 of 2: not said. Save again"
    ) in text(page)
    assert re.findall(r'<option selected value="([^"]*)"', page) == ["right", ""]
    desk.post(path, {"image_1": "right", "image_2": "", "shown": mark(page)})
    assert on_record(app, eyes) == ["right", None]


def test_of_another_patient_meanwhile_it_says_so(app: Flask, desk: Browser, lesion: Case) -> None:
    stale = mark(desk.get(f"/cases/{lesion.id}").text)
    moved = {
        "identifier": "A-2",
        "reason": "x",
        "registers": "y",
        "shown": f"{lesion.patient_id} 0",
    }
    assert desk.post(f"/cases/{lesion.id}/patient", moved).status_code == 303
    answer = desk.post(f"/cases/{lesion.id}/region", {"image_1": "arm", "shown": stale})
    assert answer.status_code == 409
    assert "On record now: A-2, not said. You entered: arm." in text(answer.text)
    assert on_record(app, lesion) == [None]


def test_what_is_signed_can_be_named_as_well(
    app: Flask, desk: Browser, clinician: User, lesion: Case
) -> None:
    with app.app_context():
        clinic.read(lesion)
        case, actor = db.session.get_one(Case, lesion.id), db.session.get_one(User, clinician.id)
        verdict = reviews.Verdict(decision=Decision.AGREE)
        reviews.sign(
            actor=actor, case=case, verdict=verdict, shown=basis(case).mark, form_token="1"
        )
    shown = mark(desk.get(f"/cases/{lesion.id}").text)
    answer = desk.post(f"/cases/{lesion.id}/region", {"image_1": "arm", "shown": shown})
    assert answer.status_code == 303
    assert on_record(app, lesion) == ["arm"]


def test_what_cannot_be_is_refused(
    app: Flask, desk: Browser, lesion: Case, eyes: Case, case: Case
) -> None:
    path, shown = f"/cases/{lesion.id}/region", mark(desk.get(f"/cases/{lesion.id}").text)
    answer = desk.post(path, {"image_1": "x" * 61, "shown": shown})
    assert answer.status_code == 422
    assert "Lesion: At most 60 characters." in text(answer.text)
    third = {"image_1": "third", "image_2": "left", "shown": ""}
    answer = desk.post(f"/cases/{eyes.id}/region", third)
    assert answer.status_code == 422
    assert "Image 1 of 2: Not a valid choice" in text(answer.text)
    sent = {"image_1": "x", "shown": shown}
    assert desk.post(f"/cases/{case.id}/region", sent).status_code == 422
    assert desk.client.post(path, data=sent).status_code == 400
    assert on_record(app, lesion) == [None]
    assert on_record(app, eyes) == [None, None]


def test_who_may_not_is_turned_away(
    app: Flask,
    browse: Callable[[], Browser],
    people: People,
    nobody: Browser,
    office: Browser,
    stranger: Browser,
    lesion: Case,
) -> None:
    with app.app_context():
        sites = [db.session.get_one(Site, lesion.site_id)]
        reader = browse().sign_in(people.user(Role.REVIEWER, sites=sites))
    path, said = f"/cases/{lesion.id}/region", {"image_1": "x", "shown": ""}
    assert nobody.post(path, said).location.startswith("/sign-in")
    assert office.post(path, said).status_code == 403
    assert reader.post(path, said).status_code == 403
    assert "Say which lesion" not in reader.get(f"/cases/{lesion.id}").get_data(as_text=True)
    assert stranger.post(path, said).status_code == 404
    assert on_record(app, lesion) == [None]
