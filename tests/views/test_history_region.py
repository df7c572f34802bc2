import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import Site, User
from webapp.cases.models import Case, Image
from webapp.cases.services import name_regions
from webapp.db import db
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis


@pytest.fixture
def cases(app: Flask, clinician: User) -> list[Case]:
    """Two cases that show the same lesion, the second of two images, both read."""
    with app.app_context():
        task_id = clinic.serve("dermoscopy").reading_task_id
        asked = {"identifier": "A-1", "region": "left forearm A", "reading_task_id": task_id}
        first = clinic.send(clinician, **asked)
        second = clinic.send(clinician, pictures=[clinic.picture(), clinic.picture()], **asked)
        clinic.read(first, "calm")
        clinic.read(second, "grave")
        assert [case.images for case in (first, second)]
        return [first, second]


def shown(browser: Browser, case: Case, query: str = "") -> str:
    answer = browser.get(f"/regions/{case.images[0].region_id}{query}")
    assert answer.status_code == 200
    return str(answer.get_data(as_text=True))


def compared(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<img src="/images/(\d+)"', page)]


def test_what_is_worse_than_an_answer_and_over_its_mark_stands_beside_it(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        task_id = clinic.serve("dermoscopy").reading_task_id
        case = clinic.send(clinician, region="scalp", reading_task_id=task_id)
        clinic.read(case, "calm", supported=("calm", "grave"))
        region_id = case.images[0].region_id
        harmless = clinic.send(clinician, region="scalp", reading_task_id=task_id)
        clinic.read(harmless, "calm", supported=("calm",))
        other_id = harmless.images[0].region_id
    assert "Also over its mark:" not in desk.get(f"/regions/{other_id}").text
    page = desk.get(f"/regions/{region_id}")
    words = " ".join(re.sub("<[^>]+>", " ", page.text).split())
    assert words.count("Calm 90 % Also over its mark: Grave 5 %") == 2  # by picture, and by case


def test_it_shows_the_last_two_side_by_side_and_the_trend(desk: Browser, cases: list[Case]) -> None:
    page = shown(desk, cases[0])
    assert "<h1>left forearm A</h1>" in page
    assert compared(page) == [cases[0].images[0].id, cases[1].images[0].id]
    assert "Probability of Grave" in page
    assert page.count('<circle class="trend__point') == 3  # two, and one that explains them
    assert "90\N{NO-BREAK SPACE}%" in page
    assert f'href="/cases/{cases[0].id}"' in page


def test_any_two_and_any_finding_can_be_chosen(desk: Browser, cases: list[Case]) -> None:
    left, right = (image.id for image in cases[1].images)
    page = shown(desk, cases[0], f"?earlier={left}&later={right}")
    assert compared(page) == [left, right]
    calm = re.search(r'<option value="(\d+)">Calm', page).group(1)
    assert "Probability of Calm" in shown(desk, cases[0], f"?finding={calm}")
    assert compared(shown(desk, cases[0], f"?earlier={left}&later={left}")) == [left]


@pytest.mark.parametrize("query", ["?earlier=x&later=&finding=-1", "?earlier=999999&finding=999"])
def test_what_cannot_be_chosen_is_left_out(desk: Browser, cases: list[Case], query: str) -> None:
    page = shown(desk, cases[0], query)
    assert compared(page) == [cases[0].images[0].id, cases[1].images[0].id]
    assert "Probability of Grave" in page


def test_of_a_case_that_shows_two_only_its_own_image_counts(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        task_id = clinic.serve("dermoscopy").reading_task_id
        pictures = [clinic.picture(), clinic.picture()]
        case = clinic.send(clinician, reading_task_id=task_id, pictures=pictures)
        clinic.read(case, ["grave", "calm"])
        actor = db.session.get_one(User, clinician.id)
        back, arm = name_regions(
            actor=actor, case=case, labels=["back", "arm"], shown=case.regions_mark
        )
        verdict, mark = reviews.Verdict(decision=Decision.AGREE), basis(case).mark
        reviews.sign(actor=actor, case=case, verdict=verdict, shown=mark, form_token="1")
    for number, (region, image, answer) in enumerate(
        zip((back, arm), case.images, ("Grave", "Calm"), strict=True), 1
    ):
        assert region
        page = desk.get(f"/regions/{region.id}").text
        assert compared(page) == [image.id]
        assert re.findall(r"image (\d) of 2", page) == [str(number)] * 2  # to choose on both sides
        answers = re.findall(r'class="answer"><strong>(\w+)', page)
        assert answers == [answer, answer]  # of the picture, and in the table
        assert page.count("for the whole case") == 2


def test_where_the_model_changed_there_is_a_mark(
    app: Flask, desk: Browser, clinician: User, cases: list[Case]
) -> None:
    assert "trend__change" not in shown(desk, cases[0])
    with app.app_context():
        clinic.serve_newer(task="dermoscopy")
        asked = {"identifier": "A-1", "region": "left forearm A"}
        third = clinic.send(clinician, reading_task_id=cases[0].reading_task_id, **asked)
        clinic.read(third, "watch")
    page = shown(desk, cases[0])
    ((mark, words),) = re.findall(
        r'<path class="trend__change" d="M([\d.]+) [^>]*>\s*<text[^>]*>([^<]*)</text>', page
    )
    assert words == "1.0.0 → 2.0.0"
    drawn = page.partition('<svg class="trend"')[2].partition("</svg>")[0]
    (last_of_old,) = re.findall(r'<circle [^>]*cx="([\d.]+)"', drawn)[-1:]
    (first_of_new,) = re.findall(r'<rect [^>]*x="([\d.]+)"', drawn)
    assert float(last_of_old) < float(mark) < float(first_of_new) + 4


def test_a_void_case_is_struck_and_not_drawn(
    app: Flask, desk: Browser, clinician: User, cases: list[Case]
) -> None:
    with app.app_context():
        case = db.session.get_one(Case, cases[1].id)
        actor = db.session.get_one(User, clinician.id)
        mark = basis(case).mark
        reviews.void(actor=actor, case=case, reason="twice", shown=mark, form_token="v")
    page = shown(desk, cases[0])
    assert page.count('<tr class="course__void">') == 1
    assert page.count('<circle class="trend__point') == 2
    assert compared(page) == [cases[0].images[0].id]


def test_before_an_own_impression_it_tells_nothing_of_answers(
    app: Flask, desk: Browser, cases: list[Case]
) -> None:
    with app.app_context():
        db.session.get_one(Site, cases[0].site_id).own_impression_first = True
        db.session.commit()
    page = shown(desk, cases[0])
    assert len(compared(page)) == 2
    assert "Your own impression first" in page
    assert "90\N{NO-BREAK SPACE}%" not in page
    assert '<svg class="trend"' not in page
    assert "1.0.0" not in page


def test_one_that_no_case_shows_any_more_says_so(
    app: Flask, desk: Browser, cases: list[Case]
) -> None:
    with app.app_context():
        db.session.execute(update(Image).values(region_id=None))
        db.session.commit()
    assert "No case shows this any more" in shown(desk, cases[0])


def test_opening_it_is_on_record(
    desk: Browser,
    clinician: User,
    cases: list[Case],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    shown(desk, cases[0])
    (event,) = record("region.opened")
    assert event["actor_id"] == clinician.id
    assert event["subject"] == ("Region", cases[0].images[0].region_id)
    assert event["detail"] == {"patient_id": cases[0].patient_id}


def test_who_may_not_is_turned_away(
    nobody: Browser,
    office: Browser,
    stranger: Browser,
    cases: list[Case],
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    path = f"/regions/{cases[0].images[0].region_id}"
    assert nobody.get(path).location.startswith("/sign-in")
    assert office.get(path).status_code == 403
    assert stranger.get(path).status_code == 404
    assert record("region.opened") == []
