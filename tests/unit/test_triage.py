import datetime as dt
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic
from webapp import audit, queue
from webapp.accounts.models import User
from webapp.assessments import services as assessments
from webapp.assessments.models import Assessment, State
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case, Image, Particulars, Patient, Sex
from webapp.cases.queries import corrections, get_patient, particulars_at
from webapp.catalogue.models import Priority
from webapp.db import Base, db, now, transaction
from webapp.errors import Conflict, NotFound
from webapp.permissions import Role
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision, ReportStatus
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict
from webapp.triage import filters as filters_module
from webapp.triage import queries, services
from webapp.triage.filters import FEW_CASES, Filters, Scope, Sort, behind, matching_cases, part_of
from webapp.triage.queries import Count
from webapp.triage.services import Rereading


@pytest.fixture
def clinician(core: Flask, people: Any, monkeypatch: pytest.MonkeyPatch) -> User:
    """Someone who may send cases, with a model that reads them; nobody hears the doorbell."""
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    clinic.serve()
    return people.clinician()


def row_counts() -> dict[str, int]:
    return {
        table.name: db.session.scalars(sa.select(sa.func.count()).select_from(table)).one()
        for table in Base.metadata.sorted_tables
    }


def correct(actor: User, case: Case, birth_year: int | None, sex: Sex = Sex.UNKNOWN) -> Rereading:
    return services.correct_patient(
        actor=actor,
        patient=case.patient,
        shown=Particulars.of(case.patient),
        corrected=Particulars(birth_year=birth_year, sex=sex),
    )


def listed(actor: User, **filters: Any) -> list[int]:
    page = queries.worklist(actor=actor, filters=Filters(**{"sort": Sort.NEWEST} | filters))
    return [row.case.id for row in page.items]


# Sending a case.


def test_a_case_is_filed_with_its_images_its_work_and_a_record(clinician: User) -> None:
    case = clinic.send(
        clinician,
        identifier="  A  1 ",
        birth_year=1980,
        sex=Sex.FEMALE,
        priority=Priority.ASAP,
        note="a note",
        pictures=[clinic.picture(), clinic.picture()],
    )
    db.session.expire_all()
    assert (case.patient.identifier, case.patient.birth_year) == ("A 1", 1980)
    assert case.age_at_acquisition_years == now().year - 1980
    assert [image.position for image in case.images] == [0, 1]
    assessment = db.session.scalars(sa.select(Assessment)).one()
    assert assessment.case is case
    assert assessment.state is State.SCHEDULED
    assert assessment.priority is Priority.ASAP
    (event,) = clinic.recorded("case.submitted")
    assert (event.actor_id, event.subject_id, event.site_id) == (
        clinician.id,
        case.id,
        case.site_id,
    )
    assert event.detail["image_count"] == 2


def test_the_worker_is_woken_once_everything_is_there(
    clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def ring(_job: str) -> bool:
        with db.engine.connect() as other:
            seen.append(other.scalar(sa.select(sa.func.count()).select_from(Assessment)) or 0)
        return True

    monkeypatch.setattr(queue, "ring", ring)
    clinic.send(clinician)
    assert seen == [1]


def test_an_age_that_is_given_is_kept(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980, age_at_acquisition_years=30)
    assert case.age_at_acquisition_years == 30


def test_the_age_follows_from_the_record_if_the_form_says_nothing(clinician: User) -> None:
    clinic.send(clinician, identifier="A1", birth_year=2000)
    assert clinic.send(clinician, identifier="A1").age_at_acquisition_years == now().year - 2000


def test_the_same_form_again_is_the_same_case(clinician: User) -> None:
    asked = clinic.submission(clinician)
    first = services.submit(actor=clinician, submission=asked)
    before = row_counts()
    assert services.submit(actor=clinician, submission=asked).id == first.id
    assert row_counts() == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": "another"},
        {"birth_year": 1981},
        {"sex": Sex.MALE},
        {"reading_task_id": 0},
        {"priority": Priority.STAT},
        {"age_at_acquisition_years": 41},
        {"age_at_acquisition_years": None},
        {"body_site": "foot"},
        {"body_site": None},
        {"note": "another"},
        {"note": ""},
        {"uploads": ()},
    ],
    ids=str,
)
def test_a_form_that_was_changed_since_it_was_sent_does_not_vanish(
    clinician: User, changes: dict[str, Any]
) -> None:
    asked = clinic.submission(
        clinician,
        birth_year=1980,
        sex=Sex.FEMALE,
        age_at_acquisition_years=40,
        body_site=" hand ",
        note="two\r\nlines \0",
    )
    first = services.submit(actor=clinician, submission=asked)
    db.session.expire_all()
    assert services.submit(actor=clinician, submission=asked).id == first.id
    with pytest.raises(Conflict) as caught:
        services.submit(actor=clinician, submission=replace(asked, **changes))
    assert caught.value.reason == "form_used"
    assert caught.value.facts == {"case_id": first.id}


def test_the_same_form_sent_many_times_at_once_makes_one_case(core: Flask, clinician: User) -> None:
    asked = clinic.submission(clinician)
    clinician_id = clinician.id
    start = threading.Barrier(6)
    answers: list[int] = []

    def submit() -> None:
        with core.app_context():
            actor = db.session.get_one(User, clinician_id)
            start.wait()
            answers.append(services.submit(actor=actor, submission=asked).id)

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    db.session.rollback()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    counts = row_counts()
    assert (counts["cases"], counts["patients"], counts["images"]) == (1, 1, 1)
    assert counts["assessments"] == 1


def test_a_new_patient_in_several_forms_at_once_is_one_patient(
    core: Flask, clinician: User
) -> None:
    asked = [clinic.submission(clinician, identifier="A1") for _ in range(4)]
    clinician_id = clinician.id
    start = threading.Barrier(4)

    def submit(one: services.Submission) -> None:
        with core.app_context():
            actor = db.session.get_one(User, clinician_id)
            start.wait()
            services.submit(actor=actor, submission=one)

    threads = [threading.Thread(target=submit, args=[one]) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    db.session.rollback()
    assert (row_counts()["cases"], row_counts()["patients"]) == (4, 1)


@pytest.mark.parametrize("culprit", ["schedule", "metadata_fed"])
def test_nothing_is_half_filed(
    clinician: User, culprit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError(culprit)

    rung: list[bool] = []
    monkeypatch.setattr(queue, "ring", lambda *_: rung.append(True))
    asked = clinic.submission(clinician)
    before = row_counts()
    monkeypatch.setattr(f"webapp.assessments.services.{culprit}", broken)
    with pytest.raises((RuntimeError, TypeError)):
        services.submit(actor=clinician, submission=asked)
    assert row_counts() == before
    assert not rung


def test_a_record_that_cannot_be_written_keeps_the_case_out(
    clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("the record")

    asked = clinic.submission(clinician)
    before = row_counts()
    monkeypatch.setattr("webapp.audit.record", broken)
    with pytest.raises(RuntimeError, match="the record"):
        services.submit(actor=clinician, submission=asked)
    assert row_counts() == before


def test_another_birth_year_than_on_record_is_refused(clinician: User) -> None:
    clinic.send(clinician, identifier="A1", birth_year=1980)
    before = row_counts()
    with pytest.raises(Conflict) as caught:
        clinic.send(clinician, identifier="A1", birth_year=1981)
    assert caught.value.reason == "patient_differs"
    assert caught.value.facts["on_record"].birth_year == 1980
    assert row_counts() == before


def test_a_site_of_others_is_not_there(clinician: User, people: Any) -> None:
    with pytest.raises(NotFound):
        clinic.send(clinician, site_id=people.site().id)


def test_an_image_of_another_patient_needs_a_second_look(clinician: User) -> None:
    data = clinic.picture()
    first = clinic.send(clinician, identifier="A1", pictures=[data])
    before = row_counts()
    with pytest.raises(Conflict) as caught:
        clinic.send(clinician, identifier="A2", pictures=[data])
    assert caught.value.reason == "filed_elsewhere"
    assert [image.case_id for image in caught.value.facts["images"]] == [first.id]
    assert row_counts() == before
    confirmed = clinic.send(clinician, identifier="A2", pictures=[data], confirm_duplicates=True)
    assert confirmed.id != first.id


def test_the_same_pixels_in_another_file_are_the_same_image(clinician: User) -> None:
    clinic.send(clinician, identifier="A1", pictures=[clinic.picture(7, "PNG")])
    with pytest.raises(Conflict):
        clinic.send(clinician, identifier="A2", pictures=[clinic.picture(7, "BMP")])


def test_an_image_may_come_twice_for_its_own_patient(clinician: User) -> None:
    data = clinic.picture()
    clinic.send(clinician, identifier="A1", pictures=[data])
    clinic.send(clinician, identifier="A1", pictures=[data])
    assert row_counts()["cases"] == 2


def test_images_at_sites_of_others_are_not_told_of(clinician: User, people: Any) -> None:
    data = clinic.picture()
    clinic.send(people.clinician(), pictures=[data])
    assert clinic.send(clinician, pictures=[data])


# Correcting a patient.


def test_a_correction_is_read_anew_and_old_answers_stay(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980, sex=Sex.FEMALE)
    old = clinic.read(case)
    correct(clinician, case, 1990, Sex.FEMALE)
    db.session.expire_all()
    new, kept = queries.readings(case)
    assert (kept.id, kept.state) == (old.id, State.COMPLETED)
    assert kept.metadata_fed["raw"]["age"] == now().year - 1980
    assert new.state is State.SCHEDULED
    assert new.metadata_fed["raw"]["age"] == now().year - 1990


def test_a_model_that_uses_no_metadata_does_not_read_a_corrected_case_again(
    clinician: User,
) -> None:
    image_only = clinic.serve("image-only", encoding_version="none").reading_task_id
    unaffected = clinic.send(
        clinician, identifier="A1", birth_year=1980, reading_task_id=image_only
    )
    waiting, read = (clinic.send(clinician, identifier="A1") for _ in range(2))
    clinic.read(unaffected)
    clinic.read(read)
    assert correct(clinician, read, 1990) == Rereading(again_count=2, unaffected_count=1)
    db.session.expire_all()
    assert [reading.state for reading in queries.readings(unaffected)] == [State.COMPLETED]
    assert [len(queries.readings(case)) for case in (waiting, read)] == [2, 2]
    assert unaffected.age_at_acquisition_years == now().year - 1990


def test_what_a_new_case_adds_is_no_reason_for_a_model_that_uses_no_metadata(
    clinician: User,
) -> None:
    image_only = clinic.serve("image-only", encoding_version="none").reading_task_id
    old = clinic.send(clinician, identifier="A1", reading_task_id=image_only)
    clinic.send(clinician, identifier="A1", birth_year=1980)
    assert len(queries.readings(old)) == 1


def test_a_correction_that_changes_nothing_reads_nothing_again(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980, age_at_acquisition_years=30)
    assert correct(clinician, case, 1980) == Rereading()
    assert correct(clinician, case, 1981) == Rereading()


def test_a_correction_leaves_an_age_that_was_given(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980, age_at_acquisition_years=30)
    correct(clinician, case, 1981)
    db.session.expire_all()
    assert case.age_at_acquisition_years == 30
    assert len(queries.readings(case)) == 1


def test_an_age_that_was_given_stays_also_where_it_is_what_would_follow(clinician: User) -> None:
    age = now().year - 1980
    case = clinic.send(clinician, birth_year=1980, age_at_acquisition_years=age)
    correct(clinician, case, 1981)
    db.session.expire_all()
    assert case.age_at_acquisition_years == age


def test_a_patient_that_was_shown_with_their_site_can_be_corrected(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980)
    db.session.expunge_all()
    clinician = db.session.get_one(User, clinician.id)
    patient = get_patient(actor=clinician, patient_id=case.patient_id)
    services.correct_patient(
        actor=clinician,
        patient=patient,
        shown=Particulars.of(patient),
        corrected=Particulars(birth_year=1981, sex=Sex.MALE),
    )
    db.session.expire_all()
    assert Particulars.of(patient) == Particulars(birth_year=1981, sex=Sex.MALE)


def test_a_correction_of_what_someone_else_has_corrected_is_refused(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980)
    shown = Particulars.of(case.patient)
    correct(clinician, case, 1981)
    with pytest.raises(Conflict) as caught:
        services.correct_patient(
            actor=clinician,
            patient=case.patient,
            shown=shown,
            corrected=Particulars(birth_year=1980, sex=Sex.MALE),
        )
    assert caught.value.reason == "patient_changed"
    assert caught.value.facts["on_record"] == Particulars(birth_year=1981, sex=Sex.UNKNOWN)
    db.session.expire_all()
    assert Particulars.of(case.patient) == caught.value.facts["on_record"]


def test_a_correction_says_which_particulars_changed_and_not_to_what(clinician: User) -> None:
    case = clinic.send(clinician, identifier="A1", birth_year=1980, sex=Sex.FEMALE)
    correct(clinician, case, 1980, Sex.FEMALE)
    assert clinic.recorded("patient.corrected") == []
    correct(clinician, case, 1981, Sex.FEMALE)
    correct(clinician, case, None, Sex.OTHER)
    events = clinic.recorded("patient.corrected")
    assert [event.detail for event in events] == [
        {"changed": ["birth_year"]},
        {"changed": ["birth_year", "sex"]},
    ]
    assert {(event.actor_id, event.subject_id, event.site_id) for event in events} == {
        (clinician.id, case.patient_id, case.site_id)
    }


def test_what_a_new_case_adds_to_the_record_is_a_correction_for_the_older_ones(
    clinician: User,
) -> None:
    old = clinic.send(clinician, identifier="A1")
    clinic.read(old)
    new = clinic.send(clinician, identifier="A1", birth_year=1980)
    db.session.expire_all()
    assert old.age_at_acquisition_years == new.age_at_acquisition_years == now().year - 1980
    current, superseded = queries.readings(old)
    assert superseded.metadata_fed["raw"]["age"] is None
    assert (current.state, current.metadata_fed["raw"]["age"]) == (
        State.SCHEDULED,
        now().year - 1980,
    )
    (event,) = clinic.recorded("patient.corrected")
    assert event.detail == {"changed": ["birth_year"]}


def test_a_correction_and_the_end_of_a_reading_do_not_wait_for_each_other(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both change the reading and write the record; whichever is first, both come to their end."""
    case = clinic.send(clinician, birth_year=1980)
    (claim,) = assessments.claim(
        worker="test",
        bundle_sha256s=[queries.readings(case)[0].model_version.bundle_sha256],
        limit=1,
        lease_seconds=60,
    )
    result = clinic.result(claim)
    is_ending, failures = threading.Event(), []
    record_all = audit.record_all

    def slow_record_all(*, actor: User | None, entries: Iterable[audit.Entry]) -> None:
        entries = list(entries)
        if entries[0].action == "assessment.completed":
            is_ending.set()  # it holds the reading, and has not begun to write the record
            time.sleep(0.5)
        record_all(actor=actor, entries=entries)

    def end_reading() -> None:
        with core.app_context():
            try:
                assert assessments.complete(claim=claim, result=result)
            except Exception as error:
                failures.append(error)

    monkeypatch.setattr(audit, "record_all", slow_record_all)
    worker = threading.Thread(target=end_reading)
    worker.start()
    assert is_ending.wait(10)
    correct(clinician, case, 1990)
    worker.join(30)
    assert failures == []
    db.session.expire_all()
    current, superseded = queries.readings(case)
    assert (current.state, superseded.state) == (State.SCHEDULED, State.COMPLETED)


# The worklist.


def test_what_is_due_first_is_on_top_and_of_that_what_was_sent_first(clinician: User) -> None:
    routine, asap, later, later_asap = (
        clinic.send(clinician, priority=priority).id
        for priority in (Priority.ROUTINE, Priority.ASAP) * 2
    )
    page = queries.worklist(actor=clinician, filters=Filters())
    by_due = [asap, later_asap, routine, later]
    assert [row.case.id for row in page.items] == by_due
    assert listed(clinician, sort=Sort.DUE) == by_due
    assert listed(clinician, sort=Sort.DUE, identifier="P-") == by_due
    assert listed(clinician, sort=Sort.DUE, priority=Priority.ASAP) == by_due[:2]
    assert listed(clinician, sort=Sort.NEWEST) == [later_asap, later, asap, routine]
    assert listed(clinician, sort=Sort.OLDEST) == [routine, asap, later, later_asap]


def test_what_has_waited_long_is_above_what_is_more_urgent_and_new(clinician: User) -> None:
    old, new = clinic.send(clinician), clinic.send(clinician, priority=Priority.ASAP)
    assert listed(clinician, sort=Sort.DUE) == [new.id, old.id]
    clinic.let_wait(old, dt.timedelta(hours=72))
    assert listed(clinician, sort=Sort.DUE) == [old.id, new.id]


def test_pages_by_due_follow_each_other(clinician: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 2)
    ids = [
        clinic.send(clinician, priority=priority).id
        for priority in reversed(Priority)
        for _ in range(2)
    ]
    pages = [queries.worklist(actor=clinician, filters=Filters(), number=n) for n in range(1, 5)]
    assert [[row.case.id for row in page.items] for page in pages] == [
        ids[:2],
        ids[2:4],
        ids[4:6],
        ids[6:],
    ]
    assert [page.has_next for page in pages] == [True, True, True, False]


def test_a_row_says_how_many_images_have_no_answer(clinician: User) -> None:
    case = clinic.send(clinician, pictures=[clinic.picture() for _ in range(3)])
    other = clinic.send(clinician)
    clinic.read(case, abstained=[True, False, True])
    clinic.read(other)
    page = queries.worklist(actor=clinician, filters=Filters())
    assert {row.case.id: row.unanswered_count for row in page.items} == {case.id: 2, other.id: 0}


def test_what_was_found_can_bring_a_case_to_the_top(clinician: User) -> None:
    found, asked = clinic.send(clinician), clinic.send(clinician, priority=Priority.ASAP)
    assert listed(clinician, sort=Sort.DUE) == [asked.id, found.id]
    assert clinic.read(found, "grave").priority is Priority.STAT
    assert listed(clinician, sort=Sort.DUE) == [found.id, asked.id]
    assert listed(clinician, priority=Priority.STAT) == [found.id]


def test_a_case_without_an_answer_is_urgent_whatever_its_finding_would_be(
    clinician: User,
) -> None:
    case = clinic.send(clinician)
    assert clinic.read(case, "grave", abstained=True).priority is Priority.URGENT


def test_each_filter_leaves_what_fits(clinician: User) -> None:
    other_task = clinic.serve("fundus").reading_task_id
    waiting = clinic.send(clinician, identifier="AB-1", priority=Priority.STAT)
    done = clinic.send(clinician, identifier="AC-1")
    elsewhere = clinic.send(clinician, identifier="ac-1", reading_task_id=other_task)
    clinic.read(done)
    assert listed(clinician, identifier="A") == [done.id, waiting.id]
    assert listed(clinician, identifier="AB") == [waiting.id]
    assert listed(clinician, identifier="AB-1") == [waiting.id]
    assert listed(clinician, identifier="AB-12") == []
    assert listed(clinician, state=State.COMPLETED) == [done.id]
    assert listed(clinician, priority=Priority.STAT) == [waiting.id]
    assert listed(clinician, reading_task_id=other_task) == [elsewhere.id]
    assert listed(clinician, identifier="A", state=State.SCHEDULED) == [waiting.id]


def sign(actor: User, case: Case, finding_id: int | None = None, reason: str = "") -> None:
    """Decide on a case: on this finding, or agree with the model."""
    decision = Decision.OVERRIDE if finding_id else Decision.AGREE
    verdict = Verdict(decision=decision, finding_id=finding_id, reason=reason)
    mark = basis(case).mark
    reviews.sign(
        actor=actor, case=case, verdict=verdict, shown=mark, form_token=secrets.token_hex(8)
    )


@pytest.mark.parametrize("few", [FEW_CASES, 0], ids=["few", "many"])
def test_what_was_found_and_decided_is_searched(
    clinician: User, people: Any, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("webapp.triage.filters.FEW_CASES", few)
    colleague = people.user(Role.CLINICIAN, sites=clinician.sites)
    answered, held, agreed, overridden, void = (clinic.send(clinician) for _ in range(5))
    grave, watch = (f.id for f in reversed(answered.reading_task.findings) if f.code != "calm")
    for case in (answered, agreed, overridden, void):
        clinic.read(case, "grave")
    clinic.read(held, "grave", abstained=True)
    sign(clinician, agreed)
    sign(colleague, overridden)
    sign(colleague, overridden, watch, reason="looked again")
    mark = basis(void).mark
    reviews.void(actor=colleague, case=void, reason="twice", shown=mark, form_token="v")

    def found(**filters: Any) -> list[int]:
        return listed(clinician, scope=Scope.ALL, **filters)

    everything = [void.id, overridden.id, agreed.id, held.id, answered.id]
    assert found() == everything
    assert found(finding_id=grave) == [void.id, overridden.id, agreed.id, answered.id]
    assert found(finding_id=watch) == [overridden.id]
    assert found(reviewer_id=clinician.id) == [agreed.id]
    assert found(reviewer_id=colleague.id) == [void.id, overridden.id]
    assert found(status=ReportStatus.PRELIMINARY) == [held.id, answered.id]
    assert found(status=ReportStatus.FINAL) == [agreed.id]
    assert found(status=ReportStatus.AMENDED) == [overridden.id]
    assert found(status=ReportStatus.CANCELLED) == [void.id]
    assert listed(clinician, finding_id=grave, sort=Sort.DUE) == [answered.id]


@pytest.mark.parametrize("few", [FEW_CASES, 0], ids=["few", "many"])
def test_a_finding_over_its_mark_is_searched_where_the_answer_is_less_severe(
    clinician: User, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("webapp.triage.filters.FEW_CASES", few)
    beside, below, held, named = (clinic.send(clinician) for _ in range(4))
    calm, watch, grave = (finding.id for finding in beside.reading_task.findings)
    clinic.read(beside, "calm", supported=("calm", "grave"))
    clinic.read(below, "calm")
    clinic.read(held, "calm", abstained=True, supported=("calm", "grave"))
    clinic.read(named, "grave", supported=("calm", "grave"))
    for scope, sort in ((Scope.OPEN, Sort.DUE), (Scope.ALL, Sort.NEWEST)):
        found = {"scope": scope, "sort": sort}
        assert set(listed(clinician, finding_id=grave, **found)) == {beside.id, named.id}
        assert set(listed(clinician, finding_id=calm, **found)) == {beside.id, below.id}
        assert listed(clinician, finding_id=watch, **found) == []
    rows = queries.rows(actor=clinician, case_ids=[beside.id, below.id, held.id, named.id])
    told = [row.also and (row.also.finding.code, row.also.probability) for row in rows]
    assert told == [("grave", 0.05), None, None, None]
    db.session.expunge_all()
    one = queries.readings(db.session.get_one(Case, beside.id))[0].also  # says the same
    assert one is not None
    assert (one.finding.code, one.probability) == told[0]


def test_days_of_sending_are_searched(clinician: User) -> None:
    old, middle, new = (clinic.send(clinician) for _ in range(3))
    clinic.let_wait(old, dt.timedelta(days=9))
    clinic.let_wait(middle, dt.timedelta(days=4))
    on = middle.submitted_at.date()
    day = dt.timedelta(days=1)
    for sort in (Sort.NEWEST, Sort.DUE):
        order = 1 if sort is Sort.DUE else -1
        assert listed(clinician, sort=sort, first_day=on) == [middle.id, new.id][::order]
        assert listed(clinician, sort=sort, last_day=on) == [old.id, middle.id][::order]
    assert listed(clinician, first_day=on, last_day=on) == [middle.id]
    assert listed(clinician, first_day=on + day, last_day=on + day) == []
    assert listed(clinician, first_day=dt.date.min, last_day=dt.date.max) == [
        new.id,
        middle.id,
        old.id,
    ]


def test_before_an_own_impression_no_search_tells_what_was_found(clinician: User) -> None:
    answered, held, failed = (clinic.send(clinician) for _ in range(3))
    clinic.read(answered, "calm", supported=("grave",))
    clinic.read(held, "grave", abstained=True)
    clinic.fail(failed)
    grave = answered.reading_task.findings[-1].id
    read = {"status": ReportStatus.PRELIMINARY}
    assert listed(clinician, finding_id=grave) == [answered.id]
    assert listed(clinician, **read) == [held.id, answered.id]
    clinician.sites[0].own_impression_first = True
    db.session.commit()
    assert listed(clinician, finding_id=grave) == []
    assert listed(clinician, **read) == [failed.id, held.id, answered.id]
    for case in (answered, held, failed):
        reviews.save_impression(actor=clinician, case=case, finding_id=None)
    assert listed(clinician, finding_id=grave) == [answered.id]
    assert listed(clinician, **read) == [held.id, answered.id]


@pytest.mark.parametrize("prefix", ["%", "_", "A%", "\\", "'"])
def test_an_identifier_is_taken_as_it_is(clinician: User, prefix: str) -> None:
    clinic.send(clinician, identifier="AB")
    wanted = clinic.send(clinician, identifier=f"{prefix}1")
    assert listed(clinician, identifier=prefix) == [wanted.id]


def test_many_cases_with_an_identifier_are_found_as_few_are(
    clinician: User, people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [clinic.send(clinician, identifier=f"A-{number}").id for number in range(4)]
    clinic.send(clinician, identifier="B-1")
    clinic.send(people.clinician(), identifier="A-9")
    few = listed(clinician, identifier="A-")
    monkeypatch.setattr("webapp.triage.filters.FEW_CASES", 2)
    assert listed(clinician, identifier="A-") == few == ids[::-1]


def test_only_the_cases_of_ones_own_sites_are_there(clinician: User, people: Any) -> None:
    other = people.clinician()
    both = people.user(Role.CLINICIAN, sites=[*clinician.sites, *other.sites])
    mine, theirs = clinic.send(clinician), clinic.send(other)
    assert listed(clinician) == [mine.id]
    assert listed(both) == [theirs.id, mine.id]
    assert queries.rows(actor=clinician, case_ids=[theirs.id, mine.id, 10**9])[0].case is mine


def test_a_role_without_patients_sees_none(clinician: User, people: Any) -> None:
    clinic.send(clinician)
    administrator = people.user(Role.ADMINISTRATOR, sites=clinician.sites)
    assert listed(administrator) == []


def test_pages_follow_each_other(clinician: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 2)
    ids = [clinic.send(clinician).id for _ in range(5)][::-1]
    newest = Filters(sort=Sort.NEWEST)
    pages = [queries.worklist(actor=clinician, filters=newest, number=n) for n in (1, 2, 3, 4)]
    assert [[row.case.id for row in page.items] for page in pages] == [
        ids[:2],
        ids[2:4],
        ids[4:],
        [],
    ]
    assert [page.has_next for page in pages] == [True, True, False, False]
    assert {page.total for page in pages} == {Count(5, is_capped=False)}
    assert queries.worklist(actor=clinician, filters=Filters(), number=-3).number == 1
    last = queries.worklist(actor=clinician, filters=Filters(), number=10**9)
    assert last.number == queries.MAX_PAGE_NUMBER


@pytest.mark.parametrize("sort", Sort)
def test_behind_the_last_page_the_list_goes_on(
    clinician: User, people: Any, monkeypatch: pytest.MonkeyPatch, sort: Sort
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 2)
    monkeypatch.setattr(queries, "MAX_PAGE_NUMBER", 1)
    cases = [clinic.send(clinician) for _ in range(5)]
    moment = now()
    for case, days in zip(cases, (1, 2, 1, 3, 1), strict=True):  # several due at once
        current_assessment(case).due_at = moment + dt.timedelta(days=days)
    db.session.commit()
    order = {Sort.DUE: [0, 2, 4, 1, 3], Sort.NEWEST: [4, 3, 2, 1, 0], Sort.OLDEST: range(5)}[sort]
    filters, seen, pages = Filters(sort=sort), [], []
    last_id = None
    while not pages or pages[-1].goes_on:
        pages.append(queries.worklist(actor=clinician, filters=filters, behind_id=last_id))
        seen += [row.case.id for row in pages[-1].items]
        last_id = seen[-1]
    assert seen == [cases[number].id for number in order]
    assert [page.behind_id for page in pages] == [None, seen[1], seen[3]]
    assert not any(page.has_next for page in pages)
    elsewhere = clinic.send(people.clinician())
    for unknown in (elsewhere.id, 10**6):  # of others nothing is told, not even an order
        page = queries.worklist(actor=clinician, filters=filters, behind_id=unknown)
        assert ([row.case.id for row in page.items], page.behind_id) == (seen[:2], None)


def test_counting_stops(clinician: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "COUNT_CAP", 3)
    for expected in ((1, False), (2, False), (3, False), (3, True)):
        clinic.send(clinician)
        page = queries.worklist(actor=clinician, filters=Filters())
        assert page.total == Count(*expected)


def test_a_superseded_reading_is_not_a_second_row(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980)
    clinic.read(case)
    correct(clinician, case, 1990)
    assert listed(clinician) == [case.id]
    assert listed(clinician, state=State.COMPLETED) == []


def test_a_longer_worklist_takes_no_more_statements(
    clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(row_count: int) -> None:
        monkeypatch.setattr(queries, "PAGE_SIZE", row_count)
        db.session.expunge_all()
        actor = db.session.get_one(User, clinician.id)
        page = queries.worklist(actor=actor, filters=Filters(identifier="P"))
        assert len(page.items) == row_count
        for row in page.items:
            assert row.case.images
            assert row.case.patient.identifier
            assert row.case.reading_task.name
            assert row.assessment.finding is None or row.assessment.finding.name
            assert row.also is not None
            assert row.also.finding.name

    for _ in range(8):
        clinic.read(clinic.send(clinician), supported=("grave",))
    short = clinic.count_statements(lambda: show(1))
    assert clinic.count_statements(lambda: show(8)) == short


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"sort": Sort.NEWEST}, "ix_cases_worklist"),
        ({"sort": Sort.OLDEST}, "ix_cases_worklist"),
        ({"state": State.FAILED, "sort": Sort.NEWEST}, "ix_assessments_by_state"),
        ({"state": State.FAILED, "sort": Sort.OLDEST}, "ix_assessments_by_state"),
        ({"priority": Priority.STAT, "sort": Sort.NEWEST}, "ix_assessments_by_priority"),
        ({"priority": Priority.STAT}, "ix_assessments_by_priority_due"),
        ({"state": State.FAILED}, "ix_assessments_by_state_due"),
        (
            {"first_day": dt.date(2020, 1, 1), "scope": Scope.ALL},
            "ix_cases_worklist (site_id=? AND id>? AND id<?)",
        ),
        ({"reviewer_id": 1, "scope": Scope.ALL}, "ix_cases_worklist"),
        ({"finding_id": 1, "scope": Scope.ALL}, "ix_cases_worklist"),
    ],
)
def test_an_index_answers_the_worklist_in_its_order(
    clinician: User, filters: dict[str, Any], index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.send(clinician)
    monkeypatch.setattr("webapp.triage.filters.FEW_CASES", -1)
    steps = plan(clinician, Filters(**filters))
    assert index in steps[0]
    assert not [step for step in steps if "TEMP B-TREE" in step or "ix_reviews_" in step]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"identifier": "P"},
        {"state": State.COMPLETED},
        {"priority": Priority.ROUTINE},
        {"finding_id": 1},
        {"status": ReportStatus.PRELIMINARY},
        {"first_day": dt.date(2020, 1, 1)},
    ],
    ids=str,
)
def test_an_index_answers_the_worklist_by_due(
    clinician: User, filters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.send(clinician)
    monkeypatch.setattr("webapp.triage.filters.FEW_CASES", -1)
    steps = plan(clinician, Filters(**filters))
    assert [step for step in steps if re.search("ix_assessments_by_(state_|priority_)?due", step)]
    assert not [step for step in steps if "Sort" in step or "TEMP B-TREE" in step]


def test_an_index_answers_what_is_behind_a_case(clinician: User) -> None:
    last = current_assessment(clinic.send(clinician))
    matching = behind(matching_cases(clinician, Filters()), Filters(), last)
    steps = plan_of(part_of(matching, Filters(), 0, 26))
    assert [step for step in steps if re.search(r"by_due .*due_at>|Index Cond.*due_at >=", step)]
    assert not [step for step in steps if "Sort" in step or "TEMP B-TREE" in step]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_index_counts_what_waits(clinician: User) -> None:
    clinic.send(clinician)
    waiting = matching_cases(clinician, Filters(priority=Priority.ROUTINE))
    steps = plan_of(queries._count(waiting))
    assert [step for step in steps if "ix_assessments_by_priority" in step]
    assert not [step for step in steps if re.search("Seq Scan|SCAN (assessments|cases)", step)]


def test_an_index_finds_the_few_that_have_a_finding_over_their_mark(
    clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of a database of a hundred thousand cases, which has no statistics on SQLite."""
    finding = clinic.send(clinician).reading_task.findings[-1]
    asked: list[str] = []

    def look(way: sa.Select[int]) -> Any:
        asked.append(" ".join(plan_of(way)))
        return []

    monkeypatch.setattr(filters_module, "_is_among", lambda _id, ways, **_: [*map(look, ways)])
    filters_module._names(finding.id, Case.id)
    assert "ix_predictions_over_mark" in asked[1]
    assert not re.search("(Seq Scan on|SCAN) (predictions|assessed_images|assessments)", asked[1])


def plan(actor: User, filters: Filters) -> list[str]:
    """How the database finds a page."""
    return plan_of(part_of(matching_cases(actor, filters), filters, 0, 26))


def plan_of(statement: sa.Select[int]) -> list[str]:
    compiled = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
    if db.engine.dialect.name == "sqlite":
        return [row[-1] for row in db.session.execute(sa.text(f"EXPLAIN QUERY PLAN {compiled}"))]
    # A few rows are read whole and sorted, unless that is refused.
    for way in ("seqscan", "bitmapscan", "sort"):
        db.session.execute(sa.text(f"SET LOCAL enable_{way} = off"))
    return [row[0] for row in db.session.execute(sa.text(f"EXPLAIN {compiled}"))]


def test_only_tasks_with_a_model_are_offered(clinician: User) -> None:
    clinic.serve("fundus", body_sites=["hand"])
    assert [task.code for task in queries.offered_reading_tasks()] == ["fundus", "test-task"]
    assert list(queries.body_sites().values()) == [["hand"]]
    db.session.execute(sa.text("DELETE FROM model_aliases"))
    assert queries.offered_reading_tasks() == []
    assert queries.body_sites() == {}


def test_everything_there_is_of_a_case(clinician: User) -> None:
    case = clinic.send(clinician)
    clinic.read(case, "watch")
    (reading,) = queries.readings(case)
    assert reading.finding.code == "watch"
    codes = [prediction.finding.code for prediction in reading.images[0].predictions]
    assert codes[0] == "watch"
    assert len(codes) == 3
    assert db.session.scalars(sa.select(Patient)).one() is case.patient
    assert db.session.scalars(sa.select(Image)).one().case_id == case.id
    assert case.submitted_at <= now() + dt.timedelta(seconds=1)
    assert isinstance(case, Case)


def test_what_was_on_record_before_is_kept(clinician: User) -> None:
    case = clinic.send(clinician, identifier="A1", sex=Sex.FEMALE)
    blank, filled_in, corrected = (
        Particulars(birth_year=year, sex=Sex.FEMALE) for year in (None, 1980, 1981)
    )
    clinic.send(clinician, identifier="A1", birth_year=1980)
    correct(clinician, case, 1981, Sex.FEMALE)
    correct(clinician, case, 1981, Sex.FEMALE)
    kept = corrections(case.patient)
    assert [(one.former, one.corrected) for one in kept] == [
        (blank, filled_in),
        (filled_in, corrected),
    ]
    assert {one.by for one in kept} == {clinician}
    for statement in (
        "UPDATE former_particulars SET birth_year = 1990",
        "DELETE FROM former_particulars",
    ):
        with pytest.raises(sa.exc.DatabaseError, match="are kept as they were"), transaction():
            db.session.execute(sa.text(statement))


def test_a_signed_decision_keeps_the_particulars_until_it_is_amended(clinician: User) -> None:
    case = clinic.send(clinician, birth_year=1980)
    clinic.read(case)
    before, shown = Particulars.of(case.patient), basis(case).mark
    uncertain = Verdict(decision=Decision.UNCERTAIN, reason="corrected")
    first = reviews.sign(actor=clinician, case=case, verdict=uncertain, shown=shown, form_token="1")
    correct(clinician, case, 1990, Sex.MALE)
    clinic.read(case)
    after = Particulars.of(case.patient)
    assert particulars_at(case.patient, first.signed_at) == before
    assert before.age_in(case) == case.submitted_at.year - 1980
    second = reviews.sign(
        actor=clinician, case=case, verdict=uncertain, shown=basis(case).mark, form_token="2"
    )
    assert particulars_at(case.patient, second.signed_at) == after
    assert after.age_in(case) == case.age_at_acquisition_years == case.submitted_at.year - 1990


def test_nobody_signs_on_particulars_that_were_corrected_meanwhile(clinician: User) -> None:
    clinic.serve(encoding_version="none")  # the reading stays: only the particulars differ
    case = clinic.send(clinician, birth_year=1980)
    clinic.read(case)
    shown = basis(case).mark
    correct(clinician, case, 1990)
    uncertain = Verdict(decision=Decision.UNCERTAIN)
    with pytest.raises(Conflict, match="changed"):
        reviews.sign(actor=clinician, case=case, verdict=uncertain, shown=shown, form_token="1")
