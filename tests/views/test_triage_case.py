import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from ml.gates import Reason
from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.cases.models import Case, Particulars, Patient, Sex
from webapp.catalogue import services as catalogue
from webapp.catalogue.models import Malignancy
from webapp.catalogue.queries import latest_terms
from webapp.catalogue.services import Meaning
from webapp.db import db, now
from webapp.registry.models import ModelVersion
from webapp.rendering import abstention, abstention_advice
from webapp.triage import services


def flags(page: str) -> dict[int, str]:
    """What the strip of images says of each, by the number of its row."""
    found = re.findall(r'id="image-flag-(\d+)"[^>]*>([^<]*)</span>', page)
    return {int(number): words for number, words in found}


def bars(page: str) -> list[tuple[bool, bool]]:
    """Of each list of probabilities: whether its likeliest is marked, and whether it is folded
    away with a warning."""
    warning = "What the model would have said; do not rely on it</summary>"
    before, *lists = page.split('<ol class="bars">')
    return [
        ("bars__item--best" in listed.partition("</ol>")[0], earlier.rstrip().endswith(warning))
        for earlier, listed in zip([before, *lists], lists, strict=False)
    ]


def test_it_shows_the_answer_the_images_and_what_was_sent(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        assessment = clinic.read(case, "grave")
        input_sha256 = assessment.input_sha256
    answer = desk.get(f"/cases/{case.id}")
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    for part in (
        "A-1",
        "a note",
        "Grave",
        f"/images/{case.images[0].id}",
        "picture-0.png",
        case.images[0].sha256,
        input_sha256,
        "supports a decision",
    ):
        assert part in page


def test_the_answer_comes_in_words_first_then_in_bars_then_in_details(
    app: Flask, desk: Browser, clinician: User, people: People
) -> None:
    with app.app_context():
        case = clinic.send(clinician)
        grave = next(one for one in case.reading_task.findings if one.code == "grave")
        terms = latest_terms(grave.id, None)
        catalogue.change_terms(
            actor=people.administrator(),
            finding=grave,
            site=None,
            meaning=replace(Meaning.of(terms), malignancy=Malignancy.MALIGNANT),
            reason="for tests",
            shown=terms.version,
        )
        clinic.read(case, "grave")
    page = " ".join(desk.get(f"/cases/{case.id}").text.replace("\N{NO-BREAK SPACE}", " ").split())
    in_order = (
        "Most likely:</span> Grave, ",
        "The model is fairly sure.",
        "Look.<",
        ">Malignant or premalignant</span>",
        ">Probabilities</h2>",
        '<ol class="bars">',
        ">Details: the model, what happened, what it was fed</summary>",
    )
    found = [page.find(part) for part in in_order]
    assert -1 not in found, in_order[found.index(-1)]
    assert found == sorted(found)
    assert "<dt>Age at acquisition</dt><dd>unknown</dd>" in page


def test_the_details_say_what_computed_when_and_from_what(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        case = clinic.send(clinician, age_at_acquisition_years=61)
        encoded = {"vector": [0.25, 1.0], "encoding_version": "test-1"}
        read = clinic.read(case, "calm", encoded=encoded)
        moments = [case.submitted_at, read.scheduled_at, read.started_at, read.completed_at]
    page = desk.get(f"/cases/{case.id}").text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Malignant" not in page
    assert "Not a tumour" not in page
    assert "<dt>Age at acquisition</dt><dd>61 years</dd>" in page
    details = page.partition(">Details: the model")[2]
    plain = " ".join(re.sub("<[^>]+>", " ", details).split())
    for part in (
        "Engine test",
        "Code version test",
        "12 ms of computing",
        "Age, years 61",
        "Sex missing",
        "Body site missing",
        "As the network received it:",
        "0.25, 1.0",
    ):
        assert part in plain, part
    happened = details.partition('<ol class="timeline">')[2].partition("</ol>")[0]
    assert re.findall(r'<time datetime="([^"]+)"', happened) == [
        moment.isoformat(timespec="seconds") for moment in moments
    ]


@pytest.mark.parametrize(
    ("multi_label", "named", "possible"),
    [
        (False, "grave", ["Grave", "Watch"]),
        (False, "calm", ["Calm", "Watch"]),  # what is named is never outside the set
        (True, "watch", ["Grave", "Watch"]),  # nor is the most probable
    ],
)
def test_what_stays_possible_is_said_with_how_often_that_holds(
    app: Flask,
    desk: Browser,
    case: Case,
    multi_label: bool,
    named: str,
    possible: list[str],
) -> None:
    probabilities = {"grave": 0.5, "watch": 0.3, "calm": 0.2}
    if named == "calm":
        probabilities = {"grave": 0.2, "watch": 0.3, "calm": 0.5}
    limits = {"grave": 0.6 if multi_label else 0.4, "watch": 0.25, "calm": 0.6}
    with app.app_context():
        version = db.session.scalars(sa.select(ModelVersion)).one()
        version.manifest = version.manifest | {
            "reading_task": version.manifest["reading_task"] | {"multi_label": multi_label},
            "conformal_coverage": 0.9,
            "conformal": {code: {"threshold": limit} for code, limit in limits.items()},
        }
        db.session.commit()
        supported = (named,) if multi_label else ()
        clinic.read(case, named, probabilities=probabilities, supported=supported)
    page = " ".join(desk.get(f"/cases/{case.id}").text.split())
    assert f"Stay possible: <strong>{', '.join(possible)}</strong>." in page
    assert "in 90 % of cases like those that the model was tuned on" in page


def test_nothing_is_said_to_stay_possible_where_the_model_does_not_say(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "grave")
    assert "possible:" not in desk.get(f"/cases/{case.id}").text


def test_the_details_say_from_where_on_a_finding_counts(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        version = db.session.scalars(sa.select(ModelVersion)).one()
        points = {"grave": {"threshold": 0.044}, "calm": {"threshold": 0.5}}
        version.manifest = version.manifest | {"operating_points": points}
        db.session.commit()
        marks = clinic.read(case, "grave").marks
        found = [(finding.code, mark) for finding, mark in marks]
        assert found == [("grave", 0.044), ("calm", 0.5)]
    page = " ".join(desk.get(f"/cases/{case.id}").text.split())
    assert '<th scope="row">Grave</th><td>4.4 %</td>' in page


def test_a_case_that_waits_asks_for_news(desk: Browser, case: Case) -> None:
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert f'hx-get="/cases/{case.id}/status"' in page


def test_an_answer_for_some_of_the_images_says_for_how_many(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        pictures = [clinic.picture() for _ in range(3)]
        case = clinic.send(clinician, pictures=pictures)
        clinic.read(case, "grave", abstained=[False, True, True])
        whole = clinic.send(clinician, pictures=[clinic.picture() for _ in range(2)])
        clinic.read(whole, "grave")
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "Most serious of the 1 image with an answer:" in page
    assert "Images 2 and 3 have no answer: read them yourself." in page
    assert "Image 1 of 3: Grave" in " ".join(page.split())
    page = desk.get(f"/cases/{whole.id}").get_data(as_text=True)
    assert "Most serious of the 2 images:" in page
    assert "no answer" not in page


def test_each_image_has_its_number_and_says_if_it_has_no_answer(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        case = clinic.send(clinician, pictures=[clinic.picture() for _ in range(3)])
        first, second, third = (image.id for image in case.images)
    waiting = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert flags(waiting) == {first: "", second: "", third: ""}
    for number in (1, 2, 3):
        assert f'alt="Image {number} of 3"' in waiting
    with app.app_context():
        clinic.read(case, "grave", abstained=[False, True, True])
    news = desk.get(f"/cases/{case.id}/status").get_data(as_text=True)
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert flags(page) == flags(news) == {first: "", second: "no answer", third: "no answer"}
    assert news.count("hx-swap-oob") == 4  # and the decision, which may be another one now
    assert "hx-swap-oob" not in page


def test_probabilities_that_are_no_answer_are_folded_away(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "grave", abstained=True)
        several = clinic.send(clinician, pictures=[clinic.picture() for _ in range(2)])
        clinic.read(several, "grave", abstained=[False, True])
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert bars(page) == [(False, True)]
    assert "Probabilities" not in page
    page = desk.get(f"/cases/{several.id}").get_data(as_text=True)
    assert bars(page) == [(True, False), (False, True)]


def test_an_image_of_another_kind_is_told_what_was_expected(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        number = clinic.read(case, reasons=["unfamiliar"]).model_version_id
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "was trained on. Expected: A test." in page
    with app.app_context():
        version = db.session.get_one(ModelVersion, number)
        task = version.manifest["reading_task"] | {"modality": "A kind of photograph"}
        version.manifest = version.manifest | {"reading_task": task}
        db.session.commit()
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "was trained on. Expected: A kind of photograph." in page


def test_a_case_without_any_answer_says_why_image_by_image(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        case = clinic.send(clinician, pictures=[clinic.picture() for _ in range(3)])
        clinic.read(case, reasons=["uncertain", "blank", "uncertain"])
    page = " ".join(desk.get(f"/cases/{case.id}").get_data(as_text=True).split())
    first = page.index("Images 1 and 3: No finding is probable enough")
    assert first < page.index("Image 2: The image is almost empty")


@pytest.mark.parametrize("is_read", [False, True])
def test_the_disclaimer_is_there_once(app: Flask, desk: Browser, case: Case, is_read: bool) -> None:
    if is_read:
        with app.app_context():
            clinic.read(case, "grave")
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert page.count("supports a decision and never makes one") == 1


def test_the_disclaimer_is_on_every_page_that_tells_answers(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        task_id = clinic.serve("dermoscopy").reading_task_id
        case = clinic.send(clinician, region="left forearm A", reading_task_id=task_id)
        clinic.read(case, "grave")
        region_id = case.images[0].region_id
    pages = ("/cases", f"/patients/{case.patient_id}", f"/regions/{region_id}")
    for page in (*pages, "/cases/read-otherwise"):
        answer = desk.get(page)
        assert answer.status_code == 200, page
        assert answer.text.count("supports a decision and never makes one") == 1, page
        assert page == "/cases/read-otherwise" or "Grave" in answer.text, page


def test_an_age_that_follows_from_the_birth_year_is_said_to_be_about_right(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        derived = clinic.send(clinician, birth_year=now().year - 54)
        given = clinic.send(clinician, birth_year=now().year - 54, age_at_acquisition_years=53)
    page = desk.get(f"/cases/{derived.id}").get_data(as_text=True)
    assert "<dd>about 54 years (from the birth year)</dd>" in page
    page = desk.get(f"/cases/{given.id}").get_data(as_text=True)
    assert "<dd>53 years</dd>" in page


def test_the_licence_of_the_model_stands_beside_the_answer(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        clinic.read(case)
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    beside = page.partition('class="verdict__model')[2].partition("</p>")[0]
    assert "Test-Task, version 1.0.0" in beside
    assert "licence CC0-1.0" in beside


def test_earlier_answers_are_there(app: Flask, desk: Browser, clinician: User, case: Case) -> None:
    with app.app_context():
        old = clinic.read(case, "grave").input_sha256
        services.correct_patient(
            actor=db.session.get_one(User, clinician.id),
            patient=db.session.get_one(Patient, case.patient_id),
            shown=Particulars(birth_year=1980, sex=Sex.UNKNOWN),
            corrected=Particulars(birth_year=1990, sex=Sex.MALE),
        )
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert old in page
    assert "Grave" in page


def test_a_name_that_was_typed_is_text_and_nothing_else(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        case = clinic.send(clinician, identifier="<b>x</b>", note="<script>alert(1)</script>")
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "<b>x</b>" not in page
    assert "<script>alert" not in page


def test_opening_it_is_on_record(
    desk: Browser, clinician: User, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(f"/cases/{case.id}")
    (event,) = record("case.opened")
    assert (event["actor_id"], event["subject"]) == (clinician.id, ("Case", case.id))


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, case: Case) -> None:
    assert nobody.get(f"/cases/{case.id}").location.startswith("/sign-in")


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    assert office.get(f"/cases/{case.id}").status_code == 403


def test_what_is_of_others_is_not_there(
    desk: Browser, stranger: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    theirs = stranger.get(f"/cases/{case.id}")
    none = stranger.get("/cases/999999")
    assert theirs.status_code == none.status_code == 404
    assert "A-1" not in theirs.get_data(as_text=True)
    assert record("case.opened") == []


def test_a_number_beyond_all_is_not_there(desk: Browser) -> None:
    assert desk.get(f"/cases/{'9' * 30}").status_code == 404


def test_what_stands_out_without_being_the_most_probable_is_explained(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "grave", probabilities={"grave": 0.3, "calm": 0.6, "watch": 0.1})
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "Stands out most:" in page
    assert "Calm is more probable (60" in page
    assert "Most likely:" not in page


def test_findings_over_their_mark_are_named_beside_the_answer(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "grave", supported=("grave", "watch"))
    page = desk.get(f"/cases/{case.id}").get_data(as_text=True)
    assert re.search(r"Also over its mark:\s*Watch \(5", page)
    assert page.count("over its mark</span>") == 2
    assert "Most likely:" in page


def test_a_worse_finding_over_its_mark_in_another_image_is_said_with_the_answer(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        case = clinic.send(clinician, pictures=[clinic.picture() for _ in range(2)])
        of_last = {
            "prediction": "calm",
            "probabilities": {"calm": 0.6, "watch": 0.1, "grave": 0.3},
            "supported": ("grave",),
        }
        clinic.read(case, "watch", of_last=of_last)
    page = re.sub("<[^>]+>", " ", desk.get(f"/cases/{case.id}").text)
    words = " ".join(page.replace("\N{NO-BREAK SPACE}", " ").split())
    verdict = words[words.index("Most serious of the 2 images: Image 1 of 2 : Watch") :]
    assert "Image 2 of 2: Also over its mark: Grave 30 %" in verdict


@pytest.mark.parametrize(
    ("read", "words"),
    [
        ({"finding": "calm"}, "How soon: Routine As requested: due in 3 days"),
        (
            {"finding": "calm", "supported": ("calm", "grave")},
            "How soon: Immediately Overdue Grave 5 %: due just now",
        ),
        ({"abstained": True}, "How soon: Urgent Without an answer: due in 4 hours"),
        (None, "How soon: Routine As requested: due in 3 days"),
    ],
    ids=["calm", "over its mark", "abstained", "waiting"],
)
def test_it_says_how_soon_as_the_worklist_does(
    app: Flask, desk: Browser, case: Case, read: dict[str, Any] | None, words: str
) -> None:
    if read is not None:
        with app.app_context():
            clinic.read(case, **read)
    for path in (f"/cases/{case.id}", f"/cases/{case.id}/status"):
        said = desk.get(path).text.partition("How soon:")
        plain = re.sub("<[^>]+>", " ", "".join(said[1:]).replace("\N{NO-BREAK SPACE}", " "))
        assert " ".join(plain.split()).startswith(words)


@pytest.mark.parametrize(
    ("reason", "advice", "retake"),
    [
        ("blurred", "Take it again: hold still", True),
        ("unfamiliar", "Check that it is what this reading task is for", False),
        ("of_this_bundle", "held its answer back (of_this_bundle)", False),
    ],
)
def test_an_abstention_says_what_to_do(
    app: Flask, desk: Browser, case: Case, reason: str, advice: str, retake: bool
) -> None:
    with app.app_context():
        clinic.read(case, reasons=[reason])
    page = desk.get(f"/cases/{case.id}").text
    assert advice in " ".join(page.split())
    assert (f"/cases/new?patient_id={case.patient_id}" in page) is retake


def test_no_reason_of_the_gates_is_without_words() -> None:
    for reason in set(Reason) - {Reason.UNREADABLE}:  # what cannot be decoded fails
        assert abstention_advice(reason)
        assert f"({reason})" not in abstention(reason, "")
