"""GET /monitoring: how answers fare, and what drifts; nobody is named."""

import datetime as dt
import re

import numpy as np
import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.cases.models import Case, Sex
from webapp.db import db, now
from webapp.permissions import Role
from webapp.registry.models import ModelVersion
from webapp.registry.services import keep_reference
from webapp.reviews.models import Decision, Outcome, OutcomeSource, Review

FIGURES = {
    "image_count": 200,
    "inputs": {
        "brightness": np.linspace(80, 160, 200).tolist(),
        "contrast": np.linspace(20, 60, 200).tolist(),
        "sharpness": np.linspace(2, 9, 200).tolist(),
        "short_side_px": [24.0] * 200,
    },
    "probabilities": [0.9] * 200,
    "findings": {"calm": 200},
    "abstained_count": 0,
}


def decide(case: Case, user: User, code: str) -> None:
    """Sign a case that was read as calm, and record that it turned out to be so."""
    ids = {of.code: of.id for of in case.reading_task.findings}
    decision = Decision.AGREE if code == "calm" else Decision.OVERRIDE
    signed = {"case_id": case.id, "version": 1, "form_token": str(case.id)}
    db.session.add(
        Review(
            **signed,
            assessment_id=case.id,
            decision=decision,
            finding_id=ids[code],
            comment="",
            reviewer_id=user.id,
            signed_at=case.submitted_at + dt.timedelta(hours=2),
        )
    )
    db.session.add(
        Outcome(
            **signed,
            finding_id=ids["calm"],
            source=OutcomeSource.HISTOLOGY,
            found_on=now().date(),
            note="",
            recorded_by_id=user.id,
            recorded_at=now(),
        )
    )
    db.session.commit()


@pytest.fixture
def busy(app: Flask, clinician: User) -> None:
    """Thirty cases in brighter light than the model knows, six of them signed."""
    with app.app_context():
        version = db.session.query(ModelVersion).one()
        keep_reference(version=version, figures=FIGURES)
        random = np.random.default_rng(0)
        for number in range(30):
            case = clinic.send(clinician, identifier=f"SECRET-{number}", sex=Sex.MALE)
            measures = {
                "brightness": random.uniform(80, 160) * 1.3,
                "contrast": random.uniform(20, 60),
                "sharpness": random.uniform(2, 9),
            }
            clinic.read(case, "calm", measures=measures)
            if number < 6:
                decide(case, clinician, "calm" if number < 5 else "grave")


def words(page: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\N{NO-BREAK SPACE}", " ")


def test_it_says_how_answers_fare_and_what_drifts(busy: None, office: Browser) -> None:
    page = office.get("/monitoring").text
    said = words(page)
    assert "30 cases" in said
    assert "These have changed: Brightness." in said
    assert "83 % (5 of 6; 95 % interval" in said  # agreement
    assert "0 % (0 of 30; 95 % interval" in said  # abstention
    assert "Male 6 83 %" in said
    assert "lie 10.00 points apart" in said  # 0.9 was said, and all were right
    assert "100 % 6 90 % 100 %" in said
    assert "Routine 30" in said
    assert "Routine 6 2 h 2 h" in said
    assert "SECRET" not in page
    assert page.count('<svg class="trend"') == 3


def test_agreement_is_followed_in_a_group(
    app: Flask, busy: None, clinician: User, office: Browser
) -> None:
    with app.app_context():
        for _ in range(5):
            case = clinic.send(clinician, sex=Sex.FEMALE)
            clinic.read(case, "calm")
            decide(case, clinician, "grave")
    page = office.get("/monitoring").text
    assert words(page).count("Agreement over time") == 1
    (path,) = re.findall(r'href="([^"]+group=sex\.female[^"#]*)', page)
    said = words(office.get(path.replace("&amp;", "&")).text)
    assert "Agreement over time: Female" in said
    told = said.partition("Cases sent from Cases Share ")[2].partition("Choose a group")[0]
    assert told.endswith(" 5 0 % "), told
    assert "Agreement over time: " not in words(office.get("/monitoring?group=sex.x").text)


def test_small_counts_are_kept_back(app: Flask, clinician: User, office: Browser) -> None:
    with app.app_context():
        for _ in range(4):
            case = clinic.send(clinician)
            clinic.read(case, "calm")
            decide(case, clinician, "calm")
    said = words(office.get("/monitoring").text)
    assert "Too few cases were signed to say." in said
    assert "Too few cases were read to say." in said
    assert "Too few outcomes were recorded to say." in said
    assert "Routine kept back" in said
    assert "Nothing to compare with yet" in said
    assert "100 %" not in said


def test_the_task_and_the_period_are_chosen(app: Flask, office: Browser, case: Case) -> None:
    with app.app_context():
        other = clinic.serve(task="other").reading_task_id
        db.session.get_one(Case, case.id).submitted_at -= dt.timedelta(days=60)
        db.session.commit()
    page = f"/monitoring?reading_task={case.reading_task_id}"
    assert "1 case." in words(office.get(page).text)
    assert "1 case." in words(office.get(f"{page}&days=365").text)
    assert "1 case." in words(office.get(f"{page}&days=x").text)
    assert "0 cases" in words(office.get(f"{page}&days=30").text)
    assert "0 cases" in words(office.get(f"/monitoring?reading_task={other}").text)
    assert office.get(f"/monitoring?reading_task={10**20}&days=-1").status_code == 200


def test_without_a_model_there_is_nothing(app: Flask, office: Browser) -> None:
    assert "Nothing to watch yet" in office.get("/monitoring").text


def test_an_approver_sees_it(app: Flask, nobody: Browser, people: People, case: Case) -> None:
    with app.app_context():
        nobody.sign_in(people.user(Role.APPROVER))
    assert "1 case." in words(nobody.get("/monitoring").text)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/monitoring").location.startswith("/sign-in")


def test_a_clinician_may_not(desk: Browser) -> None:
    assert desk.get("/monitoring").status_code == 403
