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
from webapp.cases.services import move_case, name_regions
from webapp.catalogue.models import Finding
from webapp.db import db, now
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


def shown(case: Case) -> Region | None:
    """What all images of a case show."""
    (region,) = case.images_by_region
    return region


def look(actor: User, case: Case) -> list[queries.Look]:
    region = shown(case)
    assert region is not None
    return list(queries.looks(actor=actor, region=region))


def answered(one: queries.Look) -> list[Finding]:
    """What the reading that counts named."""
    assert one.current is not None
    return [read.finding for read in one.answers(one.current) if read.finding]


def void(actor: User, case: Case) -> None:
    reviews.void(
        actor=actor, case=case, reason="twice", shown=basis(case).mark, form_token=f"v{case.id}"
    )


def move(actor: User, case: Case) -> None:
    """File a case for another patient."""
    move_case(
        actor=actor,
        case=case,
        identifier="A-2",
        registers=True,
        reason="wrong file",
        shown_patient_id=case.patient_id,
    )


def test_a_label_is_one_lesion_of_a_patient_however_it_is_written(clinician: User) -> None:
    case = show(clinician, "Left forearm A")
    assert shown(show(clinician, " left  FOREARM a ")) is shown(case)
    assert shown(show(clinician, "left forearm B")) is not shown(case)
    other = show(clinician, "left forearm A", identifier="A-2")
    assert shown(other) is not shown(case)
    assert shown(case).label == "Left forearm A"
    assert [one.label for one in regions_of(case.patient)] == ["Left forearm A", "left forearm B"]
    (event, *_) = clinic.recorded("case.submitted")
    assert event.detail["region_id"] == case.images[0].region_id


def test_an_eye_is_one_of_two(clinician: User) -> None:
    fundus = clinic.serve("fundus").reading_task_id
    case = show(clinician, "left", reading_task_id=fundus)
    assert shown(case).label == "left"
    assert shown(show(clinician, "", reading_task_id=fundus)) is None
    with pytest.raises(Invalid) as refused:
        show(clinician, "third", reading_task_id=fundus)
    assert refused.value.reason == "region"
    assert shown(show(clinician, "left")) is not shown(case)


def test_what_is_not_followed_has_no_region(clinician: User) -> None:
    blood = clinic.serve("blood-cell").reading_task_id
    assert shown(show(clinician, "arm", reading_task_id=blood)) is None


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
    former_id, stale = case.images[0].region_id, case.regions_mark

    def name(label: str, mark: str = "", actor: User = clinician) -> Region | None:
        (named,) = name_regions(
            actor=actor, case=case, labels=[label], shown=mark or case.regions_mark
        )
        return named

    leg = name("leg")
    assert shown(case) is leg
    assert [one.label for one in regions_of(case.patient)] == ["leg"]
    assert name("LEG", stale) is leg  # as it is on record
    with pytest.raises(Conflict):
        name("back", stale)
    with pytest.raises(Invalid):
        name("x" * 61)
    with pytest.raises(NotFound):
        name("x", actor=people.clinician())
    assert name("") is None
    assert shown(case) is None
    first, second = clinic.recorded("case.region_named")
    of_image = {"image_id": case.images[0].id}
    assert first.detail == of_image | {"region_id": leg.id, "former_region_id": former_id}
    assert second.detail == of_image | {"region_id": None, "former_region_id": leg.id}
    assert first.site_id == case.site_id


def test_each_image_of_a_case_can_show_another_one(clinician: User) -> None:
    case = show(clinician, "arm", pictures=[clinic.picture() for _ in range(3)])
    arm = shown(case)
    stale = case.regions_mark
    name_regions(actor=clinician, case=case, labels=["Arm", "leg", ""], shown=stale)
    (leg,) = (one for one in regions_of(case.patient) if one.label == "leg")
    assert [image.region for image in case.images] == [arm, leg, None]
    assert case.images_by_region == {image.region: [image] for image in case.images}
    assert [event.detail["image_id"] for event in clinic.recorded("case.region_named")] == [
        image.id for image in case.images[1:]
    ]
    with pytest.raises(Conflict):
        name_regions(actor=clinician, case=case, labels=["arm", "arm", "leg"], shown=stale)
    assert [image.region for image in case.images] == [arm, leg, None]


def test_what_a_stale_page_says_of_another_patients_case_is_refused(clinician: User) -> None:
    case = show(clinician, "")
    stale = case.regions_mark
    move(clinician, case)
    with pytest.raises(Conflict):
        name_regions(actor=clinician, case=case, labels=["arm"], shown=stale)
    assert shown(case) is None


def test_nothing_is_named_of_a_patient_who_was_erased(clinician: User) -> None:
    case = show(clinician, "")
    case.patient.erased_at = now()
    db.session.commit()
    with pytest.raises(NotFound):
        name_regions(actor=clinician, case=case, labels=["arm"], shown=case.regions_mark)


def test_a_case_of_another_patient_does_not_keep_the_lesion(clinician: User) -> None:
    case = show(clinician, "arm", pictures=[clinic.picture(), clinic.picture()])
    move(clinician, case)
    assert shown(case) is None
    assert [image.region_id for image in case.images] == [None, None]


def test_a_lesion_of_others_is_not_there(clinician: User, people: Any) -> None:
    region = shown(show(clinician))
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
    (one,) = look(clinician, case)
    assert queries.probability(one, reading, findings["grave"]) == 0.4
    assert queries.probability(one, reading, findings["calm"]) == 0.05


def test_two_eyes_in_one_case_are_two_lines(clinician: User) -> None:
    fundus = clinic.serve("fundus").reading_task
    before = show(clinician, "right", days_ago=9, reading_task_id=fundus.id)
    both = show(
        clinician, "", reading_task_id=fundus.id, pictures=[clinic.picture(), clinic.picture()]
    )
    clinic.read(before, "watch")
    clinic.read(both, ["grave", "calm"])
    name_regions(actor=clinician, case=both, labels=["right", "left"], shown=both.regions_mark)
    courses = [
        list(queries.looks(actor=clinician, region=image.region))
        for image in both.images
        if image.region
    ]
    right, left = courses
    assert [(one.case, one.images, one.shows_others) for one in right] == [
        (both, both.images[:1], True),
        (before, before.images, False),
    ]
    assert [(one.case, one.images) for one in left] == [(both, both.images[1:])]
    assert queries.pair(right) == (before.images[0], both.images[0])
    assert queries.pair(left) == (both.images[1], both.images[1])
    findings = {finding.code: finding for finding in fundus.findings}
    drawn = [
        [point.probability for point in series.points]
        for course in courses
        for series in queries.trend(course, findings["grave"]).series
    ]
    assert drawn == [[0.05, 0.9], [0.05]]
    telling = [queries.telling_finding(course, fundus.findings).code for course in courses]
    assert telling == ["grave", "calm"]
    assert [one.code for course in courses for one in answered(course[0])] == ["grave", "calm"]


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
    region_id = case.images[0].region_id

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
