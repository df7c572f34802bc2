"""Lesions and eyes of patients, and how the answers on one of them moved."""

import dataclasses
import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from tests.factories import serving_model
from webapp import queue
from webapp.accounts.models import User
from webapp.assessments import services as assessments
from webapp.cases.models import Case, Region
from webapp.cases.queries import get_region, regions_of
from webapp.cases.services import move_case, name_region
from webapp.db import db
from webapp.errors import Conflict, Invalid, NotFound
from webapp.history import queries
from webapp.history.chart import Chart, draw
from webapp.registry.models import ModelAlias, ModelVersion
from webapp.reviews import services as reviews
from webapp.reviews.queries import basis
from webapp.triage import services


@pytest.fixture
def model(core: Flask, monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    """What reads images that show a lesion; nobody hears the doorbell."""
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    return clinic.serve("dermoscopy")


@pytest.fixture
def clinician(model: ModelVersion, people: Any) -> User:
    return people.clinician()


def show(actor: User, region: str = "arm", days_ago: int = 0, **changes: Any) -> Case:
    """A case of one patient's that shows this, sent so many days ago."""
    case = clinic.send(actor, **{"identifier": "A-1", "region": region} | changes)
    clinic.let_wait(case, dt.timedelta(days=days_ago))
    return case


def look(actor: User, case: Case) -> list[queries.Look]:
    assert case.region is not None
    return list(queries.looks(actor=actor, region=case.region))


def void(actor: User, case: Case) -> None:
    reviews.void(
        actor=actor, case=case, reason="twice", shown=basis(case).mark, form_token=f"v{case.id}"
    )


def test_a_label_is_one_lesion_of_a_patient_however_it_is_written(clinician: User) -> None:
    case = show(clinician, "Left forearm A")
    assert show(clinician, " left  FOREARM a ").region is case.region
    assert show(clinician, "left forearm B").region is not case.region
    other = show(clinician, "left forearm A", identifier="A-2")
    assert other.region is not case.region
    assert case.region.label == "Left forearm A"
    assert [one.label for one in regions_of(case.patient)] == ["Left forearm A", "left forearm B"]
    (event, *_) = clinic.recorded("case.submitted")
    assert event.detail["region_id"] == case.region_id


def test_an_eye_is_one_of_two(clinician: User) -> None:
    fundus = clinic.serve("fundus").reading_task_id
    case = show(clinician, "left", reading_task_id=fundus)
    assert case.region.label == "left"
    assert show(clinician, "", reading_task_id=fundus).region is None
    with pytest.raises(Invalid) as refused:
        show(clinician, "third", reading_task_id=fundus)
    assert refused.value.reason == "region"
    assert show(clinician, "left").region is not case.region


def test_what_is_not_followed_has_no_region(clinician: User) -> None:
    blood = clinic.serve("blood-cell").reading_task_id
    assert show(clinician, "arm", reading_task_id=blood).region is None


def test_the_same_form_with_another_lesion_does_not_vanish(clinician: User) -> None:
    filled = clinic.submission(clinician, region="arm")
    case = services.submit(actor=clinician, submission=filled)
    assert services.submit(actor=clinician, submission=filled) is case
    for region in ("leg", ""):
        with pytest.raises(Conflict) as refused:
            services.submit(actor=clinician, submission=dataclasses.replace(filled, region=region))
        assert refused.value.reason == "form_used"


def test_what_a_case_shows_can_be_said_later_and_otherwise(clinician: User, people: Any) -> None:
    case = show(clinician, "arm")
    former_id = case.region_id
    named = name_region(actor=clinician, case=case, label="leg", shown_id=former_id)
    assert case.region is named
    assert [one.label for one in regions_of(case.patient)] == ["leg"]
    name_region(actor=clinician, case=case, label="LEG", shown_id=None)
    with pytest.raises(Conflict):
        name_region(actor=clinician, case=case, label="back", shown_id=former_id)
    with pytest.raises(Invalid):
        name_region(actor=clinician, case=case, label="x" * 61, shown_id=case.region_id)
    with pytest.raises(NotFound):
        name_region(actor=people.clinician(), case=case, label="x", shown_id=case.region_id)
    assert name_region(actor=clinician, case=case, label="", shown_id=named.id) is None
    assert case.region is None
    first, second = clinic.recorded("case.region_named")
    assert first.detail == {"region_id": named.id, "former_region_id": former_id}
    assert second.detail == {"region_id": None, "former_region_id": named.id}
    assert first.site_id == case.site_id


def test_a_case_of_another_patient_does_not_keep_the_lesion(clinician: User) -> None:
    case = show(clinician, "arm")
    patient_id = case.patient_id
    move_case(
        actor=clinician,
        case=case,
        identifier="A-2",
        registers=True,
        reason="wrong file",
        shown_patient_id=patient_id,
    )
    assert case.region is None
    assert case.region_id is None


def test_a_lesion_of_others_is_not_there(clinician: User, people: Any) -> None:
    region = show(clinician).region
    assert get_region(actor=clinician, region_id=region.id) is region
    with pytest.raises(NotFound):
        get_region(actor=people.clinician(), region_id=region.id)


def test_the_newest_two_that_are_not_void_are_compared(clinician: User) -> None:
    oldest, older, newest = (show(clinician, days_ago=days) for days in (9, 5, 1))
    looks = look(clinician, newest)
    assert [one.case for one in looks] == [newest, older, oldest]
    assert queries.pair(looks) == (older.images[0], newest.images[0])
    void(clinician, newest)
    assert queries.pair(look(clinician, newest)) == (oldest.images[0], older.images[0])
    assert queries.pair(look(clinician, newest)[2:]) == (oldest.images[0],) * 2
    assert queries.pair([]) == (None, None)


def test_a_trend_has_a_line_for_each_model_version(clinician: User, model: ModelVersion) -> None:
    first, second, gone, held = (show(clinician, days_ago=days) for days in (40, 30, 20, 10))
    for case, finding in ((first, "calm"), (second, "grave"), (gone, "grave")):
        clinic.read(case, finding)
    clinic.read(held, "grave", abstained=True)
    void(clinician, gone)
    newer = serving_model(task="dermoscopy", version="2.0.0")
    db.session.execute(sa.update(ModelAlias).values(model_version_id=newer.id))
    db.session.commit()
    last = show(clinician)
    clinic.read(last, "watch")
    assessments.schedule(case=second)
    clinic.read(second, "calm")
    looks = look(clinician, first)
    grave = queries.telling_finding(looks, model.reading_task.findings)
    assert grave.code == "grave"
    trend = queries.trend(looks, grave)
    assert [series.version for series in trend.series] == [model, newer]
    assert [[(p.case.id, p.probability) for p in series.points] for series in trend.series] == [
        [(first.id, 0.05), (second.id, 0.9)],
        [(second.id, 0.05), (last.id, 0.05)],
    ]
    # What was read again is now the newer version's; what abstained is still the older one's.
    assert [(change.former, change.version) for change in trend.changes] == [
        ("1.0.0", "2.0.0"),
        ("2.0.0", "1.0.0"),
        ("1.0.0", "2.0.0"),
    ]
    assert first.submitted_at < trend.changes[0].at < second.submitted_at


def test_the_highest_of_several_images_counts(clinician: User, model: ModelVersion) -> None:
    case = show(clinician, pictures=[clinic.picture(), clinic.picture()])
    said = {"grave": 0.4, "watch": 0.55, "calm": 0.05}
    reading = clinic.read(case, "grave", abstained=[False, True], probabilities=said)
    findings = {finding.code: finding for finding in model.reading_task.findings}
    assert queries.probability(reading, findings["grave"]) == 0.4
    assert queries.probability(reading, findings["calm"]) == 0.05


def test_before_an_own_impression_there_is_nothing_to_draw(clinician: User) -> None:
    case = show(clinician)
    clinic.read(case, "grave")
    case.site.own_impression_first = True
    db.session.commit()
    (one,) = look(clinician, case)
    assert not one.shows_answer
    assert one.current is None
    assert draw(queries.trend([one], case.reading_task.findings[0])) is None
    reviews.save_impression(actor=clinician, case=case, finding_id=None)
    (one,) = look(clinician, case)
    assert one.current.finding.code == "grave"


def test_a_longer_course_takes_no_more_statements(clinician: User) -> None:
    case = show(clinician)
    clinic.read(case)
    region_id = case.region_id

    def count() -> int:
        db.session.expunge_all()
        region = db.session.get_one(Region, region_id)
        actor = db.session.get_one(User, clinician.id)
        assert actor.site_ids
        return clinic.count_statements(lambda: queries.looks(actor=actor, region=region))

    short = count()
    for _ in range(3):
        clinic.read(show(db.session.get_one(User, clinician.id)))
    assert count() == short


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_drawing_has_its_points_where_they_belong(clinician: User) -> None:
    early, late = show(clinician, days_ago=10), show(clinician)
    for case in (early, late):
        clinic.read(case, "grave")
    looks = look(clinician, early)
    grave = early.reading_task.findings[-1]
    (line,) = draw(queries.trend(looks, grave)).lines
    (first_x, first_y, _), (last_x, last_y, _) = line.points
    assert first_y == last_y == Chart.bottom - 0.9 * (Chart.bottom - Chart.top)
    assert Chart.left < first_x < last_x < Chart.right
    assert line.line == f"{first_x},{first_y} {last_x},{last_y}"
    (alone,) = draw(queries.trend(looks[:1], grave)).lines
    assert alone.points[0][0] == (Chart.left + Chart.right) / 2
