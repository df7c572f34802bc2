import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.db import db
from webapp.permissions import Role


def shown(browser: Browser, query: str = "") -> str:
    answer = browser.get(f"/cases/new{query}")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def value(page: str, name: str) -> str:
    (tag,) = re.findall(rf'<input[^>]*name="{name}"[^>]*>', page)
    return "".join(re.findall(r'value="([^"]*)"', tag))


def test_it_is_an_empty_form_of_its_own_each_time(desk: Browser) -> None:
    page = shown(desk)
    assert 'enctype="multipart/form-data"' in page
    assert "Test-Task" in page
    assert value(page, "identifier") == ""
    token = value(page, "form_token")
    assert len(token) <= 64
    assert value(shown(desk), "form_token") != token


def test_it_can_begin_with_a_patient_on_record(
    desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    shown(desk)
    assert record("patient.opened") == []
    page = shown(desk, f"?patient_id={case.patient_id}")
    assert value(page, "identifier") == "A-1"
    assert value(page, "birth_year") == "1980"
    (event,) = record("patient.opened")
    assert event["subject"] == ("Patient", case.patient_id)


def test_the_site_is_asked_for_only_where_there_is_a_choice(
    app: Flask, desk: Browser, browse: type, people: People
) -> None:
    assert 'name="site_id"' not in shown(desk)
    with app.app_context():
        both = people.user(Role.CLINICIAN, sites=[people.site("North"), people.site("South")])
    page = shown(browse().sign_in(both))
    assert 'name="site_id"' in page
    assert "North" in page
    assert "South" in page


def test_nothing_is_chosen_beforehand_where_there_is_a_choice(app: Flask, desk: Browser) -> None:
    assert kinds(shown(desk)) == [True]
    with app.app_context():
        clinic.serve("fundus")
    assert kinds(shown(desk)) == [False, False]


def kinds(page: str) -> list[bool]:
    """Of each kind of image, whether it is chosen."""
    return ["checked" in tag for tag in re.findall(r'<input[^>]*name="reading_task"[^>]*>', page)]


def asked_for(page: str, task_id: int) -> bool:
    """Whether a field is asked for by this reading task alone."""
    part = rf'data-asked-for="{task_id}">\s*(<noscript>.*</noscript>\s*)?<div class="field '
    return re.search(part, page) is not None


def test_each_kind_of_image_has_a_picture(app: Flask, desk: Browser) -> None:
    assert "<img" not in shown(desk)
    with app.app_context():
        clinic.serve("fundus")
    (address,) = re.findall(r'<img class="kind__picture" src="([^"]+)"', shown(desk))
    assert desk.get(address).mimetype == "image/jpeg"


def test_what_images_show_is_asked_for_where_it_is_followed(
    app: Flask, desk: Browser, clinician: User
) -> None:
    assert not {'name="lesion"', 'name="eye"'} & set(shown(desk).split())
    with app.app_context():
        eyes = clinic.serve("fundus").reading_task_id
        task_id = clinic.serve("dermoscopy").reading_task_id
        case = clinic.send(clinician, identifier="A-1", region="arm", reading_task_id=task_id)
    page = shown(desk)
    assert asked_for(page, task_id)
    assert asked_for(page, eyes)
    assert re.findall(r"<noscript><p[^>]*>(.*)</p>", page) == [
        "Only for: Dermoscopy",
        "Only for: Fundus",
    ]
    assert value(page, "lesion") == ""
    assert '<option value="arm">' in shown(desk, f"?patient_id={case.patient_id}")
    page = shown(desk, f"?region_id={case.images[0].region_id}")
    assert value(page, "lesion") == "arm"
    assert value(page, "identifier") == "A-1"
    assert kinds(page) == [True, False, False]
    assert desk.get("/cases/new?region_id=999").status_code == 404


def test_it_says_what_each_reading_task_is_for(app: Flask, desk: Browser) -> None:
    (line,) = descriptions(shown(desk))
    assert line == "A test."
    with app.app_context():
        fundus = clinic.serve("fundus").reading_task
        fundus.description = "One eye & its <macula>."
        db.session.commit()
    assert sorted(descriptions(shown(desk))) == [
        "<strong>Fundus:</strong> One eye &amp; its &lt;macula&gt;.",
        "<strong>Test-Task:</strong> A test.",
    ]


def descriptions(page: str) -> list[str]:
    return re.findall(r'<p[^>]* data-about-task="\d+">(.*)</p>', page)


def test_the_body_site_is_asked_for_only_where_a_model_reads_it(app: Flask, desk: Browser) -> None:
    assert 'name="body_site"' not in shown(desk)
    with app.app_context():
        task_id = clinic.serve("dermoscopy", body_sites=["hand", "lower leg"]).reading_task_id
    page = shown(desk)
    assert asked_for(page, task_id)
    options = re.findall(
        r'<option[^>]*value="([^"]*)">([^<]*)</option>', page.split('name="body_site"')[1]
    )
    assert options[1:3] == [("hand", "Hand"), ("lower leg", "Lower leg")]


def test_without_a_model_it_says_so(app: Flask, desk: Browser) -> None:
    with app.app_context():
        db.session.execute(sa.text("DELETE FROM model_aliases"))
        db.session.commit()
    page = shown(desk)
    assert 'name="form_token"' not in page
    assert "No model" in page


@pytest.mark.parametrize("query", ["?patient_id=", "?patient_id=x", f"?patient_id={'9' * 30}"])
def test_a_patient_that_cannot_be_is_left_out(desk: Browser, query: str) -> None:
    assert value(shown(desk, query), "identifier") == ""


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/cases/new").location == "/sign-in?next=/cases/new"


def test_an_administrator_may_not(office: Browser) -> None:
    assert office.get("/cases/new").status_code == 403


def test_a_patient_of_others_is_not_there(stranger: Browser, case: Case) -> None:
    answer = stranger.get(f"/cases/new?patient_id={case.patient_id}")
    assert answer.status_code == 404
    assert "A-1" not in answer.get_data(as_text=True)
