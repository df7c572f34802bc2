"""What is more urgent, or has waited longer, is never further down; and whatever a model says, no
case leaves the worklist."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from tests import clinic
from webapp import queue
from webapp.assessments import services
from webapp.assessments.models import AssessedImage, Assessment, State
from webapp.assessments.services import AssessmentResult, ImageResult
from webapp.cases.models import Case
from webapp.catalogue.models import Finding, FindingTerms, Priority
from webapp.triage import queries
from webapp.triage.filters import Filters

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
FINDINGS = {
    priority: Finding(id=priority.rank + 1, code=priority.value, severity=priority.rank)
    for priority in Priority
}
"""One of each urgency, called by it."""


def terms_with(marks: Sequence[float | None]) -> dict[str, FindingTerms]:
    """The catalogue's terms of each, with its operating point; None: the model's own."""
    return {
        priority.value: FindingTerms(id=finding.id, urgency=priority, finding=finding, mark=mark)
        for (priority, finding), mark in zip(FINDINGS.items(), marks, strict=True)
    }


@dataclass(frozen=True)
class Sent:
    """A case as it was sent, and what a model says of each of its images."""

    at: dt.datetime
    requested: Priority
    images: tuple[ImageResult, ...]


def shows(
    named: Priority, probabilities: list[float], supported: set[Priority], abstained: bool
) -> ImageResult:
    reason = "blurred" if abstained else None
    said = dict(zip(FINDINGS, probabilities, strict=True))
    return ImageResult(named, said, abstained, reason, supported)


def one_each(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A list with one for each finding."""
    return st.lists(values, min_size=len(FINDINGS), max_size=len(FINDINGS))


priorities = st.sampled_from(Priority)
shares = st.sampled_from((0.0, 0.25, 0.5, 0.75, 1.0))
images = st.builds(shows, priorities, one_each(shares), st.sets(priorities), st.booleans())
moments = st.integers(0, 10**6).map(lambda seconds: NOON - dt.timedelta(seconds=seconds))
cases = st.builds(Sent, moments, priorities, st.lists(images, min_size=1, max_size=4).map(tuple))
terms = one_each(st.none() | shares.filter(bool)).map(terms_with)
allowances = st.lists(st.integers(0, 10**4), min_size=4, max_size=4).map(
    lambda minutes: {
        priority: dt.timedelta(minutes=allowed)
        for priority, allowed in zip(Priority, sorted(minutes, reverse=True), strict=True)
    }
)


@st.composite
def worse(draw: st.DrawFn, case: Sent) -> Sent:
    """The same case, if anything sent earlier, requested sooner, and with more to be seen that is
    more probable."""

    def higher(priority: Priority) -> Priority:
        return draw(st.sampled_from([one for one in Priority if one.rank >= priority.rank]))

    return Sent(
        case.at - dt.timedelta(seconds=draw(st.integers(0, 10**6))),
        higher(case.requested),
        tuple(
            replace(
                image,
                prediction=higher(Priority(image.prediction)),
                probabilities={
                    code: draw(st.sampled_from((value, 1.0)))
                    for code, value in image.probabilities.items()
                },
                supported={*image.supported, *draw(st.sets(priorities))},
            )
            for image in case.images
        ),
    )


def read(
    case: Sent, by_code: dict[str, FindingTerms], allowed: dict[Priority, dt.timedelta]
) -> Assessment:
    """The case once it is read."""
    assessment = Assessment(
        case=Case(priority=case.requested, submitted_at=case.at),
        priority_rank=case.requested.rank,
        images=[AssessedImage(id=number) for number, _ in enumerate(case.images)],
    )
    result = AssessmentResult(case.images, {}, "test", "test", 1.0)
    services._answer(assessment, result, by_code, allowed)
    return assessment


@given(st.data(), cases, terms, allowances)
def test_more_to_be_seen_or_a_longer_wait_never_moves_a_case_down(
    data: st.DataObject,
    case: Sent,
    by_code: dict[str, FindingTerms],
    allowed: dict[Priority, dt.timedelta],
) -> None:
    before = read(case, by_code, allowed)
    after = read(data.draw(worse(case)), by_code, allowed)
    assert after.due_at <= before.due_at
    assert after.priority_rank >= before.priority_rank


@given(one_each(shares), one_each(shares), terms, allowances)
def test_what_is_more_probable_never_moves_a_case_down(
    probabilities: list[float],
    others: list[float],
    by_code: dict[str, FindingTerms],
    allowed: dict[Priority, dt.timedelta],
) -> None:
    def due_at(said: list[float]) -> dt.datetime:
        image = shows(Priority.ROUTINE, said, set(), False)
        return read(Sent(NOON, Priority.ROUTINE, (image,)), by_code, allowed).due_at

    assert due_at(list(map(max, probabilities, others))) <= due_at(probabilities)


@given(cases, terms, allowances)
def test_a_reading_never_makes_a_case_wait_longer_than_was_requested(
    case: Sent, by_code: dict[str, FindingTerms], allowed: dict[Priority, dt.timedelta]
) -> None:
    due_at = read(case, by_code, allowed).due_at
    assert due_at <= case.at + allowed[case.requested]
    if any(image.abstained for image in case.images):
        assert due_at <= case.at + allowed[Priority.URGENT]


def test_every_case_is_there_in_its_order_whatever_came_of_it(
    core: Flask, people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    version = clinic.serve()
    clinician = people.clinician()
    urgency = {"calm": Priority.ROUTINE, "watch": Priority.ROUTINE, "grave": Priority.STAT}
    need = {}
    for finding, own in urgency.items():
        for abstained in (False, True):
            for supported in ((), ("calm",), ("grave",)):
                case = clinic.send(clinician)
                clinic.read(case, finding, abstained=abstained, supported=supported)
                seen = [Priority.URGENT if abstained else own, *map(urgency.get, supported)]
                need[case.id] = max(one.rank for one in seen)
    clinic.fail(clinic.send(clinician))
    clinic.send(clinician)
    services.claim(worker="test", bundle_sha256s=[version.bundle_sha256], limit=1, lease_seconds=60)
    clinic.send(clinician)
    rows = queries.worklist(actor=clinician, filters=Filters()).items
    assert len({row.case.id for row in rows}) == len(rows) == 21
    assert {row.assessment.state for row in rows} == {*State} - {State.CANCELLED}
    by_due = sorted(rows, key=lambda row: (row.assessment.due_at, row.case.id))
    assert [row.case.id for row in rows] == [row.case.id for row in by_due]
    as_needed = sorted(need, key=lambda number: (-need[number], number))
    assert [row.case.id for row in rows if row.case.id in need] == as_needed
