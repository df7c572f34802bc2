"""What findings mean and how long cases may wait, and what a change of it does to those that wait.
On SQLite and on PostgreSQL."""

import dataclasses
import datetime as dt
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, update
from sqlalchemy.exc import DatabaseError

from tests import clinic
from tests.conftest import People
from tests.factories import manifest
from webapp import queue
from webapp.accounts.models import Site, User
from webapp.assessments.models import Assessment
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case
from webapp.catalogue import queries
from webapp.catalogue.models import Allowance, Finding, FindingTerms, Priority, ReadingTask
from webapp.catalogue.services import Meaning, Minutes, add_reading_task
from webapp.db import db
from webapp.errors import Conflict, Forbidden, Invalid
from webapp.guidance.queries import allowance_changes, terms_changes
from webapp.guidance.services import change_allowance, change_finding
from webapp.triage.filters import Filters
from webapp.triage.queries import readings, worklist

REASON = "As the department decided."


@dataclasses.dataclass
class Ward:
    """A reading task with a model that serves, someone who sends cases, and someone who keeps the
    catalogue."""

    task: ReadingTask
    clinician: User
    keeper: User

    @property
    def site(self) -> Site:
        return self.clinician.sites[0]

    def finding(self, code: str) -> Finding:
        return queries.findings_by_code(self.task.id)[code]

    def change(self, code: str, site: Site | None = None, **changes: Any) -> int | None:
        """Change a finding, knowing what there is; says how many cases moved up."""
        terms = queries.terms_in_force(self.task.id, site.id if site else None)[code]
        latest = queries.latest_terms(terms.finding_id, site.id if site else None)
        return change_finding(
            actor=self.keeper,
            finding=terms.finding,
            site=site,
            meaning=dataclasses.replace(Meaning.of(terms), **changes),
            reason=REASON,
            shown=latest.version if latest else 0,
        )

    def allow(
        self,
        routine: int,
        urgent: int,
        asap: int,
        stat: int,
        task: ReadingTask | None = None,
        site: Site | None = None,
    ) -> int | None:
        """Change how long cases may wait, in minutes, knowing what there is."""
        latest = queries.latest_allowance(task.id if task else None, site.id if site else None)
        return change_allowance(
            actor=self.keeper,
            reading_task=task,
            site=site,
            minutes=Minutes(routine=routine, urgent=urgent, asap=asap, stat=stat),
            reason=REASON,
            shown=latest.version if latest else 0,
        )


@pytest.fixture
def ward(core: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> Ward:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    task = clinic.serve().reading_task
    return Ward(task, people.clinician(), people.administrator())


def now_is(case: Case) -> Assessment:
    db.session.expire_all()
    assessment = current_assessment(case)
    assert assessment is not None
    return assessment


def waits_minutes(case: Case) -> float:
    assessment = now_is(case)
    return (assessment.due_at - assessment.case.submitted_at) / dt.timedelta(minutes=1)


def test_a_finding_begins_as_its_bundle_describes_it(ward: Ward) -> None:
    terms = queries.terms_in_force(ward.task.id, ward.site.id)
    assert list(terms) == ["calm", "watch", "grave"]
    assert {t.version for t in terms.values()} == {1}
    assert Meaning.of(terms["grave"]) == Meaning(
        description="grave it is",
        about=None,
        malignancy=terms["grave"].malignancy,
        urgency=Priority.STAT,
        recommendation="Look.",
        mark=None,
    )


def test_a_bundle_that_comes_later_changes_nothing(ward: Ward) -> None:
    ward.change("watch", urgency=Priority.URGENT, recommendation="Look twice.")
    other = manifest(version="2")
    other["findings"][1]["urgency"] = "stat"
    add_reading_task(manifest=other)
    terms = queries.terms_in_force(ward.task.id)["watch"]
    assert (terms.urgency, terms.recommendation) == (Priority.URGENT, "Look twice.")
    assert ward.finding("watch").recommendation == "Look twice."


def test_a_change_is_a_version_with_who_when_why_old_and_new(ward: Ward) -> None:
    assert ward.change("watch", urgency=Priority.ASAP) == 0
    change, first = terms_changes(ward.finding("watch"), [])
    assert (change.version.version, first.version.version) == (2, 1)
    assert change.version.changed_by_id == ward.keeper.id
    assert change.version.reason == REASON
    (difference,) = change.differences
    assert (difference.old, difference.new) == (Priority.ROUTINE, Priority.ASAP)
    (event,) = clinic.recorded("finding.changed")
    assert (event.actor_id, event.subject_type) == (ward.keeper.id, "Finding")
    assert event.detail == {
        "version": 2,
        "reason": REASON,
        "moved_up_count": 0,
        "old": {"urgency": "routine"},
        "new": {"urgency": "asap"},
    }


def test_what_is_so_already_makes_no_version(ward: Ward) -> None:
    assert ward.change("watch", urgency=Priority.ROUTINE) is None
    assert ward.allow(72 * 60, 240, 60, 0) is None
    assert clinic.recorded("finding.changed", "allowance.changed") == []


def test_an_answer_keeps_what_it_was_given_with(ward: Ward) -> None:
    case = clinic.send(ward.clinician)
    clinic.read(case, "watch")
    ward.change("watch", urgency=Priority.ASAP, recommendation="Run.")
    (reading,) = readings(case)
    assert reading.terms is not None
    assert reading.terms.recommendation == "Look."
    assert reading.terms.urgency is Priority.ROUTINE
    later = clinic.send(ward.clinician)
    clinic.read(later, "watch")
    assert readings(later)[0].terms.recommendation == "Run."
    assert now_is(later).priority is Priority.ASAP


def test_a_case_that_waits_moves_up_and_says_why(ward: Ward) -> None:
    case, other = clinic.send(ward.clinician), clinic.send(ward.clinician)
    clinic.read(case, "watch")
    clinic.read(other, "calm")
    assert ward.change("watch", urgency=Priority.ASAP) == 1
    assert now_is(case).priority is Priority.ASAP
    assert waits_minutes(case) == 60
    assert waits_minutes(other) == 72 * 60
    first, second = worklist(actor=ward.clinician, filters=Filters()).items
    assert first.assessment.raised_by.finding.code == "watch"
    assert second.assessment.raised_by is None


def test_a_case_that_waits_never_moves_down(ward: Ward) -> None:
    case = clinic.send(ward.clinician)
    clinic.read(case, "grave")
    assert ward.change("grave", urgency=Priority.ROUTINE) == 0
    assert ward.allow(9000, 8000, 7000, 6000) == 0
    assert now_is(case).priority is Priority.STAT
    assert waits_minutes(case) == 0


def test_a_case_that_is_decided_on_stays_where_it_was(ward: Ward) -> None:
    case = clinic.send(ward.clinician)
    assessment = clinic.read(case, "watch")
    assessment.settled_at = assessment.completed_at
    db.session.commit()
    assert ward.change("watch", urgency=Priority.ASAP) == 0
    assert ward.allow(10, 5, 1, 0) == 0


@pytest.mark.parametrize(("mark", "moved"), [(0.05, 1), (0.06, 0)])
def test_an_operating_point_decides_what_counts(ward: Ward, mark: float, moved: int) -> None:
    case = clinic.send(ward.clinician)
    clinic.read(case, "calm")  # with 0.05 for each other finding
    assert ward.change("grave", mark=mark) == moved
    assert now_is(case).priority is (Priority.STAT if moved else Priority.ROUTINE)
    later = clinic.send(ward.clinician)
    clinic.read(later, "calm")
    assert now_is(later).priority is now_is(case).priority


def test_a_finding_below_its_raised_operating_point_does_not_count(ward: Ward) -> None:
    ward.change("grave", mark=0.5)
    case = clinic.send(ward.clinician)
    clinic.read(case, "calm", supported=("grave",))  # by the model's own
    assert now_is(case).priority is Priority.ROUTINE


def test_without_one_the_models_own_operating_point_counts_again(ward: Ward) -> None:
    model = clinic.serve()
    model.manifest = model.manifest | {"operating_points": {"grave": {"threshold": 0.04}}}
    db.session.commit()
    ward.change("grave", mark=0.5)
    case = clinic.send(ward.clinician)
    clinic.read(case, "calm")
    assert now_is(case).priority is Priority.ROUTINE
    assert ward.change("grave", mark=None) == 1
    assert now_is(case).priority is Priority.STAT


def test_a_sites_own_counts_there_and_nowhere_else(ward: Ward, people: People) -> None:
    elsewhere = people.clinician()
    here, there = clinic.send(ward.clinician), clinic.send(elsewhere)
    clinic.read(here, "watch")
    clinic.read(there, "watch")
    assert ward.change("watch", ward.site, urgency=Priority.ASAP) == 1
    assert now_is(here).priority is Priority.ASAP
    assert now_is(there).priority is Priority.ROUTINE
    assert ward.finding("watch").urgency is Priority.ROUTINE
    # What is changed for everywhere does not reach a site that has its own.
    assert ward.change("watch", urgency=Priority.STAT) == 1
    assert now_is(here).priority is Priority.ASAP
    assert now_is(there).priority is Priority.STAT


def test_a_site_can_be_as_everywhere_again(ward: Ward) -> None:
    ward.change("watch", ward.site, recommendation="Here.")
    finding = ward.finding("watch")
    back = {"actor": ward.keeper, "finding": finding, "meaning": None, "reason": REASON}
    assert change_finding(**back, site=ward.site, shown=1) == 0
    assert queries.terms_in_force(ward.task.id, ward.site.id)["watch"].site_id is None
    with pytest.raises(Invalid, match="meaning"):
        change_finding(**back, site=None, shown=1)
    changes = terms_changes(finding, [ward.site])
    assert [change.version.is_own for change in changes] == [False, True, True]
    assert clinic.recorded("finding.changed")[-1].detail["as_everywhere"] is True
    ward.change("watch", ward.site, recommendation="Here once more.")
    assert queries.latest_terms(finding.id, ward.site.id).version == 3


def test_a_stale_form_is_refused(ward: Ward) -> None:
    ward.change("watch", recommendation="First.")
    finding = ward.finding("watch")
    terms = queries.latest_terms(finding.id, None)
    stale = dataclasses.replace(Meaning.of(terms), recommendation="Second.")
    form = {"actor": ward.keeper, "finding": finding, "site": None, "reason": REASON}
    with pytest.raises(Conflict, match="changed") as refused:
        change_finding(**form, meaning=stale, shown=1)
    assert refused.value.facts["latest"].recommendation == "First."
    # The same again is no collision: it is so already.
    assert change_finding(**form, meaning=Meaning.of(terms), shown=1) is None


def test_only_who_keeps_the_catalogue_may_change_it(ward: Ward) -> None:
    ward.keeper = ward.clinician
    with pytest.raises(Forbidden):
        ward.change("watch", urgency=Priority.ASAP)
    with pytest.raises(Forbidden):
        ward.allow(10, 5, 1, 0)


def test_how_long_a_case_may_wait_is_data_the_nearest_first(ward: Ward, people: People) -> None:
    elsewhere = people.clinician()
    ward.allow(100, 50, 30, 0)
    ward.allow(90, 40, 20, 0, ward.task)
    ward.allow(80, 30, 10, 0, ward.task, ward.site)
    assert waits_minutes(clinic.send(ward.clinician, priority=Priority.ASAP)) == 10
    assert waits_minutes(clinic.send(elsewhere, priority=Priority.ASAP)) == 20
    assert queries.allowances(ward.task.id + 1)[Priority.ASAP] == dt.timedelta(minutes=30)
    gone = {"actor": ward.keeper, "minutes": None, "reason": REASON, "shown": 1}
    assert change_allowance(**gone, reading_task=ward.task, site=ward.site) == 0
    assert waits_minutes(clinic.send(ward.clinician, priority=Priority.ASAP)) == 20
    back, at_site, of_task, general, first = allowance_changes([ward.site])
    assert not back.version.is_own
    assert [one.old for one in at_site.differences] == [20, 40, 90]
    assert [one.new for one in general.differences] == [30, 50, 100]
    assert first.differences == []
    assert of_task.version.reading_task_id == ward.task.id


def test_a_shorter_time_moves_cases_up_that_wait(ward: Ward) -> None:
    unread, read = clinic.send(ward.clinician), clinic.send(ward.clinician)
    clinic.read(read, "grave")
    assert ward.allow(60, 30, 10, 0, ward.task, ward.site) == 1
    assert waits_minutes(unread) == 60
    assert waits_minutes(read) == 0
    assert clinic.recorded("allowance.changed")[0].detail["moved_up_count"] == 1


@pytest.mark.parametrize("minutes", [(10, 20, 5, 0), (10, 5, 6, 0), (10, 5, 1, 2), (3, 2, 1, -1)])
def test_what_is_more_urgent_may_not_wait_longer(ward: Ward, minutes: tuple[int, ...]) -> None:
    with pytest.raises(Invalid, match="order"):
        ward.allow(*minutes)


def test_a_site_without_a_reading_task_is_no_place(ward: Ward) -> None:
    with pytest.raises(Invalid, match="place"):
        ward.allow(10, 5, 1, 0, None, ward.site)


@pytest.mark.parametrize("table", [FindingTerms, Allowance])
def test_the_database_keeps_what_administrators_said(ward: Ward, table: Any) -> None:
    ward.change("watch", urgency=Priority.ASAP)
    ward.allow(10, 5, 1, 0)
    for statement in (update(table).values(reason="another"), delete(table)):
        with pytest.raises(DatabaseError, match="are kept"):
            db.session.execute(statement)
        db.session.rollback()
