"""Figures of past cases against tables worked by hand, and which cases they are of."""

import datetime as dt
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import People
from webapp import queue
from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage, State
from webapp.assessments.services import schedule
from webapp.cases.models import Case, Sex
from webapp.catalogue.models import Priority
from webapp.db import db, now
from webapp.monitoring import chart, figures, past
from webapp.monitoring.figures import PastCase, Share
from webapp.registry.models import ModelReference, ModelVersion
from webapp.registry.services import keep_reference
from webapp.reviews.models import Decision, Outcome, OutcomeSource, Review

NOON = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)
LONG_AGO = NOON - dt.timedelta(days=9999)
CALM, GRAVE = 1, 2


def past_case(**known: Any) -> PastCase:
    """A case of today that the model found calm, with a probability of 0.9, and that nobody
    signed."""
    usual: dict[str, Any] = {
        "submitted_at": NOON,
        "age_years": 50,
        "sex": Sex.FEMALE,
        "body_site": None,
        "model_version_id": 1,
        "state": State.COMPLETED,
        "priority_rank": 0,
        "finding_id": CALM,
        "probability": 0.9,
        "first_read_at": None,
        "first_signed_at": None,
        "decision": None,
        "decided_id": None,
        "shown_state": None,
        "shown_id": None,
        "has_outcome": False,
        "outcome_id": None,
    }
    return PastCase(**usual | known)


def signed(decided: int, shown: int = CALM, **known: Any) -> PastCase:
    decision = Decision.AGREE if decided == shown else Decision.OVERRIDE
    return past_case(
        decision=decision, decided_id=decided, shown_state=State.COMPLETED, shown_id=shown, **known
    )


def test_agreement_by_hand() -> None:
    cases = [
        *[signed(CALM)] * 7,
        *[signed(GRAVE)] * 3,
        past_case(),
        past_case(decision=Decision.UNCERTAIN, shown_state=State.COMPLETED, shown_id=CALM),
        past_case(decision=Decision.OVERRIDE, decided_id=CALM, shown_state=State.ABSTAINED),
        past_case(decision=Decision.OVERRIDE, decided_id=CALM),  # signed without an answer
    ]
    compared = figures.compared(cases)
    assert figures.share(compared, figures.is_agreed) == Share(7, 10)
    assert Share(7, 10).value == 0.7
    low, high = Share(7, 10).interval  # Wilson's, by hand: (0.7 + 0.19207) / 1.38415 -+ ...
    assert (low, high) == (pytest.approx(0.3968, abs=1e-4), pytest.approx(0.8922, abs=1e-4))
    assert Share(0, 5).interval[0] == 0
    assert figures.share(compared[:4], figures.is_agreed) is None


def test_agreement_by_age_band() -> None:
    ages = {19: "a", 20: "b", 39: "b", 40: "c", 59: "c", 60: "d", 79: "d", 80: "e", 130: "e"}
    bands = {age: past_case(age_years=age).age_band for age in ages}
    for one, name in ages.items():
        for other, other_name in ages.items():
            assert (bands[one] == bands[other]) == (name == other_name)
    assert past_case(age_years=None).age_band is None


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"a": 5, "b": 5}, {"a", "b"}),
        ({"a": 4}, set()),
        ({"a": 100, "b": 7, "c": 4}, {"a"}),  # c is too small, and b would give it away
        ({"a": 100, "b": 3, "c": 4}, {"a"}),  # the two cannot be told apart
        ({"a": 9, "b": 4}, set()),
    ],
)
def test_small_groups_are_kept_back_and_what_would_give_one_away(
    counts: dict[str, int], told: set[str]
) -> None:
    groups = {name: Share(1, count) for name, count in counts.items()}
    shown = figures.kept_back(groups)
    assert {name for name, share in shown.items() if share} == told
    assert shown.keys() == groups.keys()


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"a1": 9, "a2": 9, "b1": 9, "b2": 9}, {"a1", "a2", "b1", "b2"}),
        ({"a1": 4, "a2": 9, "b1": 8, "b2": 9}, set()),  # each one gives the next away
        ({"a1": 4, "a2": 5, "a3": 6, "b1": 7, "b2": 8, "b3": 9}, {"a3", "b3"}),
        ({"a1": 4, "b2": 9}, {"b2"}),
    ],
)
def test_a_table_is_kept_back_both_ways(counts: dict[str, int], told: set[str]) -> None:
    cells = {(name[0], name[1]): Share(1, count) for name, count in counts.items()}
    shown = figures.kept_back_both_ways(cells)
    assert {"".join(cell) for cell, share in shown.items() if share} == told
    assert shown.keys() == cells.keys()


def test_a_group_over_time_by_hand() -> None:
    day = dt.timedelta(days=1)
    cases = [
        *[signed(CALM, submitted_at=NOON, sex=Sex.MALE)] * 6,
        *[signed(GRAVE, submitted_at=NOON, sex=Sex.FEMALE)] * 5,
        *[signed(GRAVE, submitted_at=NOON + day, sex=Sex.MALE)] * 6,
        *[signed(CALM, submitted_at=NOON + day * 2, sex=Sex.MALE)] * 4,
        *[signed(CALM, submitted_at=NOON + day * 2, sex=Sex.FEMALE)] * 4,
    ]
    asked = {"since": NOON, "until": NOON + day * 4, "step": day}
    male, female = (
        figures.over_time_of(sex, cases, lambda case: case.sex, figures.is_agreed, **asked)
        for sex in (Sex.MALE, Sex.FEMALE)
    )
    assert [moment.share for moment in male] == [None, Share(0, 6), None, None]
    assert [moment.share for moment in female] == [None, None, None, None]


def test_a_share_over_time_by_hand() -> None:
    day = dt.timedelta(days=1)
    cases = [
        *[signed(CALM, submitted_at=NOON)] * 3,
        *[signed(GRAVE, submitted_at=NOON + day * 1.9)] * 2,
        *[signed(CALM, submitted_at=NOON + day * 4)] * 6,
        signed(CALM, submitted_at=NOON + day * 2),
        signed(CALM, submitted_at=NOON + day * 6),
    ]
    moments = figures.over_time(
        cases, figures.is_agreed, since=NOON, until=NOON + day * 7, step=day * 2
    )
    assert [moment.share for moment in moments] == [Share(3, 5), None, Share(6, 6), None]
    assert moments[-1].begins_at == NOON + day * 6
    drawn = chart.over_time(moments)
    assert drawn is not None
    assert [place for _x, _y, place in drawn.points] == [0, 2]
    assert len(drawn.lines) == 2  # with a gap between them
    assert chart.over_time(moments[1:2]) is None


def test_abstentions_are_of_what_was_read() -> None:
    cases = [past_case(state=state) for state in State] + [past_case()] * 4
    read = figures.read(cases)
    assert figures.share(read, figures.has_abstained) == Share(1, 6)


def test_calibration_by_hand() -> None:
    def known(probability: float, outcome: int | None) -> PastCase:
        return past_case(probability=probability, has_outcome=True, outcome_id=outcome)

    cases = [
        *[known(0.95, CALM)] * 8,
        *[known(0.95, None)] * 2,  # none of the findings: the model was wrong
        *[known(0.62, CALM)] * 3,
        *[known(0.66, GRAVE)] * 3,
        past_case(),  # nobody knows
        past_case(has_outcome=True, outcome_id=CALM, state=State.ABSTAINED),
    ]
    found = figures.calibration(cases)
    assert [(of.low, of.high, of.right) for of in found.bins] == [
        (0.6, 0.7, Share(3, 6)),
        (0.9, 1.0, Share(8, 10)),
    ]
    assert found.bins[0].mean == pytest.approx(0.64)
    assert found.right == Share(11, 16)
    # |6 * 0.64 - 3| / 16 + |10 * 0.95 - 8| / 16
    assert found.error == pytest.approx((0.84 + 1.5) / 16)
    assert figures.calibration(cases[:4]).error is None
    certain = figures.calibration([known(1.0, CALM)] * 5)
    assert [of.high for of in certain.bins] == [1.0]


def test_percentiles_by_hand() -> None:
    assert figures.percentile([30, 10, 20], 0.5) == 20
    assert figures.percentile([1, 2, 3, 4], 0.5) == 2.5
    assert figures.percentile(list(range(1, 22)), 0.95) == 20
    assert figures.percentile([7], 0.95) == 7


def test_times_by_urgency_by_hand() -> None:
    cases = [
        past_case(priority_rank=3, first_read_at=NOON + dt.timedelta(seconds=seconds))
        for seconds in (1, 2, 3, 4, 100)
    ]
    cases += [past_case(first_read_at=NOON + dt.timedelta(hours=1))] * 4 + [past_case()] * 9
    took = figures.times(cases, lambda case: case.first_read_at)
    assert list(took) == [Priority.STAT, Priority.ROUTINE]
    assert took[Priority.STAT] == figures.Times(5, 3, pytest.approx(80.8))  # 4 + 0.8 * 96
    assert took[Priority.ROUTINE] is None


@pytest.fixture
def clinician(core: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    clinic.serve()
    return people.clinician()


def sign(case: Case, user: User, decision: Decision, finding: str | None, version: int = 1) -> None:
    ids = {of.code: of.id for of in case.reading_task.findings}
    read = db.session.query(AssessedImage).join(AssessedImage.assessment).filter_by(case_id=case.id)
    db.session.add(
        Review(
            case_id=case.id,
            version=version,
            assessment_id=read.order_by(AssessedImage.id).first().assessment_id,
            decision=decision,
            finding_id=ids[finding] if finding else None,
            comment="",
            reason="because" if version > 1 or decision is Decision.VOID else None,
            form_token=f"{case.id}-{version}",
            reviewer_id=user.id,
            signed_at=case.submitted_at + dt.timedelta(hours=version),
        )
    )
    db.session.commit()


def record_outcome(case: Case, user: User, finding: str | None, version: int) -> None:
    ids = {of.code: of.id for of in case.reading_task.findings}
    db.session.add(
        Outcome(
            case_id=case.id,
            version=version,
            finding_id=ids[finding] if finding else None,
            source=OutcomeSource.HISTOLOGY,
            found_on=case.submitted_at.date(),
            note="" if finding else "something else",
            form_token=f"{case.id}-{version}",
            recorded_by_id=user.id,
            recorded_at=now(),
        )
    )
    db.session.commit()


def test_what_is_counted_of_a_case(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980, sex=Sex.MALE, body_site=None)
    first = clinic.read(case, "grave")
    sign(case, clinician, Decision.AGREE, "grave")
    sign(case, clinician, Decision.OVERRIDE, "calm", version=2)
    record_outcome(case, clinician, "grave", 1)
    record_outcome(case, clinician, "watch", 2)
    clinic.serve_newer()
    schedule(case=case)
    clinic.read(case, "calm")
    ids = {of.code: of.id for of in case.reading_task.findings}
    (counted,) = past.cases(since=LONG_AGO, reading_task=case.reading_task)
    assert counted == PastCase(
        submitted_at=case.submitted_at,
        age_years=case.age_at_acquisition_years,
        sex=Sex.MALE,
        body_site=None,
        model_version_id=2,
        state=State.COMPLETED,
        priority_rank=counted.priority_rank,
        finding_id=ids["calm"],
        probability=0.9,
        first_read_at=first.completed_at,
        first_signed_at=case.submitted_at + dt.timedelta(hours=1),
        decision=Decision.OVERRIDE,
        decided_id=ids["calm"],
        shown_state=State.COMPLETED,
        shown_id=ids["grave"],
        has_outcome=True,
        outcome_id=ids["watch"],
    )
    assert counted.is_compared
    assert not counted.is_agreed


def test_void_and_demonstration_cases_never_count(clinician: User) -> None:
    void, shown, counted = (clinic.send(clinician) for _ in range(3))
    for case in (void, shown, counted):
        clinic.read(case, abstained=True)
    sign(void, clinician, Decision.UNCERTAIN, None)
    sign(void, clinician, Decision.VOID, None, version=2)
    shown.is_demonstration = True
    db.session.commit()
    task = counted.reading_task
    version = db.session.query(ModelVersion).one()
    assert [case.submitted_at for case in past.cases(since=LONG_AGO)] == [counted.submitted_at]
    assert past.abstention_reasons(since=LONG_AGO, reading_task=task) == [("ambiguous", 1)]
    assert past.recent(version, since=LONG_AGO, after_id=0).count == 1
    later = counted.submitted_at + dt.timedelta(seconds=1)
    assert past.cases(since=later) == []
    assert past.abstention_reasons(since=later, reading_task=task) == []
    assert past.recent(version, since=later, after_id=0).count == 0


def test_what_light_and_focus_made_of_an_image_is_kept(clinician: User) -> None:
    measures = {"brightness": 120.5, "contrast": 40.0, "sharpness": 7.25}
    clinic.read(clinic.send(clinician), "grave", measures=measures)
    clinic.read(clinic.send(clinician), "calm")  # by a worker that did not measure yet
    version = db.session.query(ModelVersion).one()
    sample = past.recent(version, since=LONG_AGO, after_id=0)
    assert sample.numbers == {
        "brightness": [120.5],
        "contrast": [40.0],
        "sharpness": [7.25],
        "short_side_px": [24, 24],
        "probability": [0.9, 0.9],
    }
    assert sample.answers == {"grave": 1, "calm": 1}


def test_the_reference_is_the_models_own_or_its_first_cases_here(
    clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "FEWEST", 1)
    version = db.session.query(ModelVersion).one()
    first = clinic.read(clinic.send(clinician))
    assert past.reference(version) is None
    second = clinic.read(clinic.send(clinician))
    monkeypatch.setattr(past, "COMPARED_MAX", 2)
    clinic.read(clinic.send(clinician), "grave")
    house = past.reference(version)
    assert house is not None
    assert (house.is_of_house, house.last_id, house.sample.count) == (True, second.id, 2)
    assert first.id < second.id
    later = past.recent(version, since=LONG_AGO, after_id=house.last_id)
    assert later.answers == {"grave": 1}
    figures_brought = {
        "image_count": 3,
        "inputs": {"brightness": [1.0, 2.0, 3.0]},
        "probabilities": [0.5, 0.9],
        "findings": {"calm": 2},
        "abstained_count": 1,
    }
    for _ in range(2):
        keep_reference(version=version, figures=figures_brought)
    assert db.session.query(ModelReference).count() == 1
    own = past.reference(version)
    assert own is not None
    assert (own.is_of_house, own.last_id) == (False, 0)
    assert own.sample.answers == {"calm": 2, None: 1}
    assert own.sample.numbers == {"brightness": [1.0, 2.0, 3.0], "probability": [0.5, 0.9]}
