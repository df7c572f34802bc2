import html
import re
from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic, trainings
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.cases.services import name_regions
from webapp.db import db


def test_it_shows_the_patient_and_all_their_cases(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        second = clinic.send(clinician, identifier="A-1")
        other = clinic.send(clinician, identifier="A-2")
        assert second.images
    answer = desk.get(f"/patients/{case.patient_id}")
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    assert "A-1" in page
    assert 'value="1980"' in page
    assert f'href="/cases/{case.id}"' in page
    assert f'href="/cases/{second.id}"' in page
    assert f'href="/cases/{other.id}"' not in page
    pictures = re.findall(r'<img src="/images/(\d+)/thumbnail"', page)
    assert [int(number) for number in pictures] == [second.images[0].id, case.images[0].id]


def test_cases_can_be_grouped_by_what_they_show(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    path = f"/patients/{case.patient_id}"
    assert "?by=region" not in desk.get(path).get_data(as_text=True)
    with app.app_context():
        skin = clinic.serve("dermoscopy").reading_task_id
        shows = {"identifier": "A-1", "reading_task_id": skin}
        arm = clinic.send(clinician, region="arm", **shows)
        leg = clinic.send(clinician, region="leg", **shows)
        again = clinic.send(clinician, region="arm", **shows)

    def order(page: str) -> list[tuple[str, str]]:
        return re.findall(r'<li id="case-(\d+)[-\d]*"|<h3[^>]*>(?:<a[^>]*>)?([^<]+)', page)

    page = desk.get(path).get_data(as_text=True)
    assert order(page) == [(str(one.id), "") for one in (again, leg, arm, case)]
    assert page.count(f'href="/regions/{arm.images[0].region_id}"') == 2
    grouped = order(desk.get(f"{path}?by=region").get_data(as_text=True))
    assert [number or heading for number, heading in grouped] == [
        "arm",
        str(again.id),
        str(arm.id),
        "leg",
        str(leg.id),
        "No lesion or eye named",
        str(case.id),
    ]


def test_a_case_of_two_eyes_stands_with_both(app: Flask, desk: Browser, clinician: User) -> None:
    with app.app_context():
        task_id = clinic.serve("fundus").reading_task_id
        pictures = [clinic.picture() for _ in range(3)]
        both = clinic.send(clinician, region="left", reading_task_id=task_id, pictures=pictures)
        labels = ["left", "right", ""]
        left, right, _ = name_regions(
            actor=clinician, case=both, labels=labels, shown=both.regions_mark
        )
        assert left
        assert right
    images = [image.id for image in both.images]
    path = f"/patients/{both.patient_id}?by=region"
    expected = [
        (f"{both.id}-{left.id}", images[:1]),
        (f"{both.id}-{right.id}", images[1:2]),
        (f"{both.id}", images),
    ]

    def visits(page: str) -> list[tuple[str, list[int]]]:
        """Each place of the case, and the images that stand there."""
        _, *parts = page.split('<li id="case-')
        return [
            (part.split('"')[0], [int(one) for one in re.findall(r"/images/(\d+)/thumb", part)])
            for part in parts
        ]

    page = desk.get(path).text
    assert visits(page) == expected
    assert visits(desk.get(f"/patients/{both.patient_id}").text) == expected[2:]
    assert page.count("for the whole case") == 2
    (address,) = re.findall(r'hx-get="([^"]*)"', page)
    assert visits(desk.get(html.unescape(address)).text) == expected


def test_its_open_rows_are_kept_fresh(app: Flask, desk: Browser, case: Case) -> None:
    page = desk.get(f"/patients/{case.patient_id}").get_data(as_text=True)
    address = f"/cases/rows?ids={case.id}&amp;of_patient=1"
    assert f'hx-get="{address}"' in page
    assert "htmx" in page
    rows = desk.get(address.replace("&amp;", "&")).get_data(as_text=True)
    assert f">Case {case.id}</a>" in rows
    assert "A-1" not in rows
    assert f'hx-get="{address}"' in rows
    with app.app_context():
        clinic.read(case)
    assert "hx-get" not in desk.get(f"/patients/{case.patient_id}").get_data(as_text=True)


def test_more_cases_take_no_more_statements(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    def count() -> int:
        with app.app_context():
            return clinic.count_statements(lambda: desk.get(f"/patients/{case.patient_id}"))

    before = count()
    with app.app_context():
        for _ in range(3):
            clinic.read(clinic.send(clinician, identifier="A-1"))
    assert count() == before


def test_opening_it_is_on_record(
    desk: Browser, clinician: User, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(f"/patients/{case.patient_id}")
    (event,) = record("patient.opened")
    assert event["actor_id"] == clinician.id
    assert event["subject"] == ("Patient", case.patient_id)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, case: Case) -> None:
    assert nobody.get(f"/patients/{case.patient_id}").location.startswith("/sign-in")


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    assert office.get(f"/patients/{case.patient_id}").status_code == 403


def test_what_is_of_others_is_not_there(
    stranger: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    assert stranger.get(f"/patients/{case.patient_id}").status_code == 404
    assert record("patient.opened") == []


def test_it_lists_the_models_that_may_have_learnt_from_the_patient(
    app: Flask, desk: Browser, case: Case
) -> None:
    path = f"/patients/{case.patient_id}"
    with app.app_context():
        own = clinic.serve_newer("2.0.0")
        trainings.trained(own, trainings.holding(db.session.get_one(Case, case.id)))
        other = clinic.serve_newer("3.0.0")
        trainings.trained(other, trainings.snapshot())
    listed = desk.get(path).text.partition("Models that may have learnt from this patient")[2]
    assert f'href="/models/{own.id}"' in listed
    assert f'href="/models/{other.id}"' not in listed
