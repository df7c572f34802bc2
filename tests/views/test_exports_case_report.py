import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from pypdf import PdfReader

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import Site, User
from webapp.cases.models import Case, Particulars
from webapp.catalogue.models import Malignancy
from webapp.catalogue.queries import findings_by_code, latest_terms
from webapp.catalogue.services import Meaning
from webapp.db import db
from webapp.guidance.services import change_finding
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict, sign
from webapp.triage.services import correct_patient


def text_of(answer: Any) -> str:
    """The words of a PDF of one page, spaces and line breaks alike."""
    (page,) = PdfReader(io.BytesIO(answer.data)).pages
    assert len(page.images) == 1
    return " ".join(page.extract_text().split())


def test_it_is_one_page_with_image_answer_and_provenance(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        version = clinic.read(case, "grave").model_version
        bundle, licence = version.bundle_sha256, version.licence
    answer = desk.get(f"/cases/{case.id}/report.pdf")
    assert answer.status_code == 200
    assert answer.mimetype == "application/pdf"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="case-{case.id}.pdf"'
    assert answer.headers["Cache-Control"] == "no-store"
    words = text_of(answer)
    for said in (
        f"Report of case {case.id}",
        "Preliminary: signed by nobody",
        "A-1",
        "1980",
        "a note",
        "90 %",
        "Nobody has signed yet.",
        "Signature",
        licence,
        bundle,
        "never makes one",
        f"Made by {clinician.full_name}",
    ):
        assert said in words, said


def test_it_tells_what_is_worse_than_the_answer_and_over_its_mark(
    app: Flask, desk: Browser, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "calm", supported=("calm", "grave"))
    assert "Calm, 90 % Also over its mark: Grave 5 %" in text_of(
        desk.get(f"/cases/{case.id}/report.pdf")
    )


@pytest.fixture
def malignant(app: Flask, case: Case, people: People) -> None:
    """The gravest finding is a malignant one from now on."""
    with app.app_context():
        terms = latest_terms(findings_by_code(case.reading_task_id)["grave"].id, None)
        assert terms is not None
        change_finding(
            actor=people.administrator(),
            finding=terms.finding,
            site=None,
            meaning=replace(Meaning.of(terms), malignancy=Malignancy.MALIGNANT),
            reason="For tests.",
            shown=1,
        )


@pytest.mark.parametrize(
    ("finding", "abstained", "said", "unsaid"),
    [
        (
            "grave",
            [False, True, True],
            [
                "Grave, 90 % Malignant or premalignant",
                "Images 2 and 3 have no answer: read them yourself.",
            ],
            [],
        ),
        (
            "grave",
            [False, False, True],
            ["Malignant or premalignant Image 3 has no answer: read it yourself."],
            [],
        ),
        ("calm", [False] * 3, ["Calm, 90 %"], ["Malignant", "Not a tumour", "read"]),
    ],
)
def test_it_says_what_the_answer_means_and_which_images_have_none(
    app: Flask,
    desk: Browser,
    clinician: User,
    malignant: None,
    finding: str,
    abstained: list[bool],
    said: list[str],
    unsaid: list[str],
) -> None:
    with app.app_context():
        several = clinic.send(clinician, pictures=[clinic.picture() for _ in range(3)])
        clinic.read(several, finding, abstained=abstained)
    words = text_of(desk.get(f"/cases/{several.id}/report.pdf")).replace("\N{NO-BREAK SPACE}", " ")
    answer = words[words.index("WHAT THE MODEL SAID") : words.index("WHAT THE CLINICIAN DECIDED")]
    for sentence in said:
        assert sentence in answer
    for word in unsaid:
        assert word not in answer


def test_it_says_why_the_model_gave_no_answer(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        clinic.read(case, reasons=["blurred"])
    words = text_of(desk.get(f"/cases/{case.id}/report.pdf"))
    assert "No answer from the model" in words
    assert "The image is blurred." in words
    assert "90 %" not in words


@pytest.mark.parametrize("end", ["waits", "failed"])
def test_a_case_without_a_reading_has_a_report(
    end: str, app: Flask, desk: Browser, case: Case
) -> None:
    if end == "failed":
        with app.app_context():
            clinic.fail(case)
    words = text_of(desk.get(f"/cases/{case.id}/report.pdf"))
    assert {"waits": "Waiting", "failed": "A stored image could not be read."}[end] in words


def test_whatever_is_written_stays_on_the_page(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    """Long texts are cut with a mark, other scripts are kept, and nothing runs into the foot."""
    long = "long " * 400
    with app.app_context():
        clinician = db.session.get_one(User, clinician.id)
        clinician.full_name = long[:120]
        clinician.sites[0].name = long[:120]
        db.session.commit()
        wordy = clinic.send(
            clinician,
            identifier="Ж-Ω-9 " * 10,
            note=long,
            pictures=[clinic.picture(), clinic.picture()],
        )
        clinic.read(wordy, "calm", supported=("calm", "grave"), abstained=[False, True])
        for token in ("first", "second"):
            sign(
                actor=clinician,
                case=wordy,
                verdict=Verdict(decision=Decision.AGREE, comment=long, reason=long),
                shown=basis(wordy).mark,
                form_token=token,
            )
        known = Particulars.of(wordy.patient)
        correct_patient(
            actor=clinician,
            patient=wordy.patient,
            shown=known,
            corrected=replace(known, birth_year=1931),
        )
    answer = desk.get(f"/cases/{wordy.id}/report.pdf")
    words = text_of(answer)
    assert "Ж-Ω-9" in words
    assert "Corrected since" in words
    assert "…" in words
    assert "Signature" in words
    heights: dict[str, float] = {}

    def note(text: str, _cm: object, placed: list[float], *_: object) -> None:
        heights[text.strip()] = placed[5]

    PdfReader(io.BytesIO(answer.data)).pages[0].extract_text(visitor_text=note)
    (foot,) = (y for text, y in heights.items() if text.startswith("Firstlook supports"))
    above = [y for text, y in heights.items() if y > foot]
    assert min(above) - foot > 6, heights


def test_before_an_own_impression_there_is_none(
    app: Flask, desk: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    with app.app_context():
        clinic.read(case, "grave")
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    answer = desk.get(f"/cases/{case.id}/report.pdf")
    assert (answer.status_code, answer.location) == (303, f"/cases/{case.id}")
    assert "Save your own impression first" in desk.get(answer.location).get_data(as_text=True)
    assert record("report.exported") == []


def test_taking_it_out_is_on_record(
    desk: Browser, clinician: User, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get(f"/cases/{case.id}/report.pdf")
    (event,) = record("report.exported")
    assert event["actor_id"] == clinician.id
    assert event["subject"] == ("Case", case.id)
    assert event["detail"]["version"] == 0


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, case: Case) -> None:
    assert nobody.get(f"/cases/{case.id}/report.pdf").location.startswith("/sign-in")


def test_an_administrator_sees_no_patients(office: Browser, case: Case) -> None:
    assert office.get(f"/cases/{case.id}/report.pdf").status_code == 403


def test_what_is_of_others_is_not_there(
    stranger: Browser, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    assert stranger.get(f"/cases/{case.id}/report.pdf").status_code == 404
    assert record("report.exported") == []
