"""Plans, comparisons, promotion by a second person, rollback, ledger, and what is read unseen."""

import datetime as dt
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from tests import clinic, promotions
from tests.conftest import People
from tests.factories import serving_model
from webapp import queue, sweeper
from webapp.accounts.models import User, UserRole
from webapp.assessments import services as assessments
from webapp.assessments.models import SHADOW_RANK, Assessment, Purpose, State
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case
from webapp.db import db, now
from webapp.errors import Conflict, Forbidden
from webapp.jobs import ADMINISTER, ASSESS
from webapp.permissions import Role
from webapp.promotion import queries, services
from webapp.promotion.models import ChangePlan, Comparison, Decision, Verdict
from webapp.promotion.plans import Plan
from webapp.promotion.services import Refusal
from webapp.registry import queries as registry
from webapp.registry.models import Alias, ModelAlias, ModelVersion, Promotion, PromotionKind
from webapp.reviews.queries import basis
from webapp.reviews.services import void as void_case
from webapp.triage.services import read_again

ONE_KIND = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the rings instead of sending them."""
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: heard.append(job) or True)
    return heard


@pytest.fixture
def champion(core: Flask) -> ModelVersion:
    return clinic.serve()


@pytest.fixture
def candidate(champion: ModelVersion) -> ModelVersion:
    return serving_model(version="2.0.0")


@pytest.fixture
def administrator(core: Flask, people: People) -> User:
    return people.administrator()


@pytest.fixture
def approver(core: Flask, people: People) -> User:
    return people.user(Role.APPROVER)


# Plans


def test_a_plan_is_kept_in_versions(champion: ModelVersion, administrator: User) -> None:
    task = champion.reading_task
    assert (queries.plan_in_force(task.id).version, queries.plans(task.id)) == (0, [])
    stricter = Plan(margin=0.01)
    saved = change(administrator, champion, stricter, shown=0)
    assert saved is not None
    assert queries.plan_in_force(task.id).plan == stricter
    assert [plan.version for plan in queries.plans(task.id)] == [2, 1]
    assert queries.plans(task.id)[1].plan == Plan()
    assert change(administrator, champion, stricter, shown=2) is None
    with pytest.raises(Conflict, match="plan_changed"):
        change(administrator, champion, Plan(), shown=1)
    (event,) = clinic.recorded("plan.changed")
    assert event.detail["former"] == {"margin": 0.03}
    assert event.detail["new"] == {"margin": 0.01}


@ONE_KIND
def test_a_plan_from_before_it_said_who_approves_is_read_as_it_was_meant(
    champion: ModelVersion, administrator: User
) -> None:
    change(administrator, champion, Plan(margin=0.01), shown=0)
    old = {
        name: value
        for name, value in Plan(margin=0.02).document.items()
        if name not in ("approvals_needed", "approvers")
    }
    latest = queries.plan_in_force(champion.reading_task_id)
    db.session.add(
        ChangePlan(
            reading_task_id=champion.reading_task_id,
            version=latest.version + 1,
            document=old,
            reason="Before.",
            changed_at=now(),
        )
    )
    db.session.commit()
    plan = queries.plan_in_force(champion.reading_task_id).plan
    assert (plan.approvals_needed, plan.approvers) == (1, ())
    assert plan.lets_approve("anybody")
    change(administrator, champion, Plan(margin=0.02, approvals_needed=2), shown=latest.version + 1)
    *_, event = clinic.recorded("plan.changed")
    assert event.detail["former"] == {"approvals_needed": 1}


def test_a_plan_by_which_nobody_could_approve_is_refused(
    champion: ModelVersion, administrator: User, approver: User, people: People
) -> None:
    gone = people.user(Role.APPROVER, disabled_at=now())
    for needed, named in (
        (1, (administrator.username,)),
        (1, (gone.username,)),
        (1, ("nobody",)),
        (2, (approver.username,)),
        (2, (approver.username, approver.username)),
        (2, (approver.username, gone.username)),
    ):
        plan = Plan(approvals_needed=needed, approvers=named)
        with pytest.raises(Conflict, match="too_few_approvers"):
            change(administrator, champion, plan, shown=0)
    assert change(administrator, champion, Plan(approvers=(approver.username,)), shown=0)


@pytest.mark.parametrize("kept", ["change_plans", "promotions"])
def test_what_was_decided_cannot_be_changed(
    champion: ModelVersion, administrator: User, kept: str
) -> None:
    change(administrator, champion, Plan(margin=0.01), shown=0)
    for statement in (f"UPDATE {kept} SET reason = 'x'", f"DELETE FROM {kept}"):
        with pytest.raises(IntegrityError), db.engine.begin() as connection:
            connection.execute(text(statement))


# Comparing


def test_a_comparison_is_judged_by_the_plan_it_was_asked_for_with(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, rings: list[str]
) -> None:
    asked = services.request_comparison(actor=administrator, candidate=candidate)
    assert services.request_comparison(actor=administrator, candidate=candidate) is asked
    assert rings == [ADMINISTER]
    change(administrator, champion, Plan(margin=0.0001), shown=1)
    compared = compare()
    assert (compared.id, compared.verdict, compared.plan.version) == (asked.id, Verdict.PASSED, 1)
    assert compared.champion is champion
    assert not queries.is_up_to_date(compared)  # by a plan that holds no more
    (event,) = clinic.recorded("comparison.completed")
    assert event.detail["verdict"] == "passed"


def test_one_that_is_worse_does_not_pass(candidate: ModelVersion, administrator: User) -> None:
    services.request_comparison(actor=administrator, candidate=candidate)
    compared = compare(low=-0.2)
    assert compared.verdict is Verdict.FAILED
    (check,) = [check for check in compared.checks or [] if not check["passed"]]
    assert (check["rule"], check["limit"], check["value"]) == ("metric", -0.03, -0.2)
    with pytest.raises(Conflict, match="not_passed"):
        services.request_promotion(actor=administrator, comparison=compared, reason="Please.")


def test_without_its_pictures_it_is_refused_and_says_which(
    candidate: ModelVersion, administrator: User
) -> None:
    services.request_comparison(actor=administrator, candidate=candidate)
    claim = services.claim(worker="test", lease_seconds=60)
    assert claim is not None
    refusal = Refusal("test_set_missing", {"missing_count": 3, "datasets": ["BreastMNIST"]})
    assert services.complete(claim=claim, outcome=refusal)
    assert not services.complete(claim=claim, outcome=refusal)  # it is not held any more
    compared = queries.get_comparison(claim.comparison_id)
    assert compared.verdict is Verdict.REFUSED
    assert compared.refusal == {
        "code": "test_set_missing",
        "missing_count": 3,
        "datasets": ["BreastMNIST"],
    }
    assert services.claim(worker="test", lease_seconds=60) is None


@ONE_KIND
def test_what_serves_or_never_may_is_no_candidate(
    champion: ModelVersion, candidate: ModelVersion, administrator: User
) -> None:
    with pytest.raises(Conflict, match="serves"):
        services.request_comparison(actor=administrator, candidate=champion)
    candidate.manifest = candidate.manifest | {"serves": False}
    db.session.commit()
    with pytest.raises(Conflict, match="not_to_serve"):
        services.request_comparison(actor=administrator, candidate=candidate)
    with pytest.raises(Conflict, match="not_to_serve"):
        services.start_shadow(actor=administrator, version=candidate)


# Promoting


def test_a_second_person_lets_a_candidate_serve(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, approver: User
) -> None:
    request = promotions.asked(administrator, candidate)
    services.approve(actor=approver, request=request)
    task_id = champion.reading_task_id
    assert registry.champion(task_id) is candidate
    assert (request.decision, request.decided_by) == (Decision.APPROVED, approver)
    latest, first = registry.ledger(task_id)
    assert (latest.kind, latest.former) == (PromotionKind.PROMOTION, champion)
    assert (latest.requested_by, latest.approved_by) == (administrator, approver)
    assert (first.kind, first.former_id) == (PromotionKind.FIRST, None)
    assert registry.serving_at(task_id, first.serves_from).model_version is champion
    assert registry.serving_at(task_id, first.serves_from - dt.timedelta(seconds=1)) is None
    assert registry.serving_at(task_id, now()).model_version is candidate
    with pytest.raises(Conflict, match="decided"):
        services.approve(actor=approver, request=request)


def test_nobody_approves_what_they_asked_for(
    candidate: ModelVersion, champion: ModelVersion, people: People
) -> None:
    both = people.user(Role.ADMINISTRATOR, Role.APPROVER)
    request = promotions.asked(both, candidate)
    with pytest.raises(Conflict, match="own_request"):
        services.approve(actor=both, request=request)
    with pytest.raises(IntegrityError), db.engine.begin() as connection:
        connection.execute(  # nor does the database
            text(
                "UPDATE promotion_requests SET decision = 'approved', decided_at = requested_at,"
                " decided_by_id = requested_by_id"
            )
        )
    assert registry.champion(champion.reading_task_id) is champion


def test_two_approve_where_the_plan_asks_for_two(
    champion: ModelVersion,
    candidate: ModelVersion,
    administrator: User,
    approver: User,
    people: People,
) -> None:
    second = people.user(Role.APPROVER)
    promotions.plan(administrator, candidate, approvals_needed=2)
    request = promotions.asked(administrator, candidate)
    assert queries.to_approve(request) == [approver, second]
    assert services.approve(actor=approver, request=request) is None
    assert (request.first_approved_by, request.missing_count) == (approver, 1)
    assert queries.to_approve(request) == [second]
    assert registry.champion(champion.reading_task_id) is champion
    with pytest.raises(Conflict, match="approved_already"):
        services.approve(actor=approver, request=request)
    line = services.approve(actor=second, request=request)
    assert line is not None
    assert line.approvers == [approver, second]
    assert registry.champion(champion.reading_task_id) is candidate
    by = [event.actor_id for event in clinic.recorded("promotion.approved")]
    assert by == [approver.id, second.id]


def test_the_database_takes_no_approval_twice(
    candidate: ModelVersion, administrator: User, approver: User, people: People
) -> None:
    promotions.plan(administrator, candidate, approvals_needed=2)
    request = promotions.asked(administrator, candidate)
    services.approve(actor=approver, request=request)
    for change_ in (
        "decision = 'approved', decided_at = requested_at, decided_by_id = first_approved_by_id",
        "first_approved_by_id = requested_by_id",
        "first_approved_at = NULL",
    ):
        with pytest.raises(IntegrityError), db.engine.begin() as connection:
            connection.execute(text(f"UPDATE promotion_requests SET {change_}"))
    line = services.approve(actor=people.user(Role.APPROVER), request=request)
    assert line is not None
    again = {
        "kind": "promotion",
        "reading_task_id": line.reading_task_id,
        "model_version_id": line.model_version_id,
        "former_id": line.former_id,
        "comparison_id": line.comparison_id,
        "requested_by_id": administrator.id,
        "approved_by_id": approver.id,
        "reason": "Forged.",
        "serves_from": now(),
    }
    for first in (administrator.id, approver.id):
        with pytest.raises(IntegrityError), db.engine.begin() as connection:
            connection.execute(insert(Promotion).values(**again, first_approved_by_id=first))


def test_a_first_version_takes_two_people_and_no_comparison(
    core: Flask, administrator: User, approver: User, people: People
) -> None:
    version, second = promotions.first(), people.user(Role.ADMINISTRATOR, Role.APPROVER)
    task_id = version.reading_task_id
    promotions.plan(administrator, version, approvals_needed=2)
    with pytest.raises(Forbidden):
        services.request_first(actor=approver, version=version, reason="The first.")
    request = services.request_first(actor=administrator, version=version, reason="The first.")
    with pytest.raises(Conflict, match="requested"):
        services.request_first(actor=second, version=version, reason="The same.")
    assert services.approve(actor=approver, request=request) is None
    assert registry.champion(task_id) is None
    line = services.approve(actor=second, request=request)
    assert line is not None
    assert (line.kind, line.comparison_id) == (PromotionKind.FIRST, None)
    assert line.is_uncompared
    assert (line.requested_by, line.approvers) == (administrator, [approver, second])
    assert registry.champion(task_id) is version
    forged = {"kind": "first", "reading_task_id": task_id, "model_version_id": version.id}
    forged |= {"requested_by_id": approver.id, "reason": "Forged.", "serves_from": now()}
    with pytest.raises(IntegrityError), db.engine.begin() as connection:
        connection.execute(insert(Promotion).values(**forged, approved_by_id=approver.id))
    other = serving_model(version="2.0.0")
    with pytest.raises(Conflict, match="compare_first"):
        services.request_first(actor=administrator, version=other, reason="Quicker.")


@ONE_KIND
def test_a_first_version_is_approved_while_none_serves_and_the_plan_holds(
    core: Flask, administrator: User, approver: User, people: People
) -> None:
    version, both = promotions.first(), people.user(Role.ADMINISTRATOR, Role.APPROVER)
    request = services.request_first(actor=both, version=version, reason="The first.")
    with pytest.raises(Conflict, match="own_request"):
        services.approve(actor=both, request=request)
    promotions.plan(administrator, version, margin=0.02)
    with pytest.raises(Conflict, match="not_first"):
        services.approve(actor=approver, request=request)
    services.decline(actor=approver, request=request)
    request = services.request_first(actor=both, version=version, reason="Once more.")
    assert registry.champion(version.reading_task_id) is None
    assert serving_model(version="2.0.0").reading_task_id == version.reading_task_id
    with pytest.raises(Conflict, match="not_first"):
        services.approve(actor=approver, request=request)


@ONE_KIND
def test_only_whom_the_plan_names_approves_and_as_long_as_they_may(
    champion: ModelVersion,
    candidate: ModelVersion,
    administrator: User,
    approver: User,
    people: People,
) -> None:
    other = people.user(Role.APPROVER)
    promotions.plan(administrator, candidate, approvers=(approver.username,))
    request = promotions.asked(administrator, candidate)
    with pytest.raises(Conflict, match="not_named"):
        services.approve(actor=other, request=request)
    approver.user_roles = []
    db.session.commit()
    with pytest.raises(Forbidden):
        services.approve(actor=approver, request=request)
    assert queries.to_approve(request) == []
    in_force = queries.plan_in_force(champion.reading_task_id).plan
    assert queries.no_longer_approvers(in_force) == [approver.username]
    approver.user_roles = [UserRole(role=Role.APPROVER)]
    db.session.commit()
    assert services.approve(actor=approver, request=request) is not None


@ONE_KIND
def test_who_approves_cannot_be_changed_under_a_request(
    candidate: ModelVersion, administrator: User, approver: User
) -> None:
    promotions.plan(administrator, candidate, approvals_needed=2)
    request = promotions.asked(administrator, candidate)
    promotions.plan(administrator, candidate, approvals_needed=1)
    with pytest.raises(Conflict, match="outdated"):
        services.approve(actor=approver, request=request)


@ONE_KIND
def test_who_may_not_is_refused(
    candidate: ModelVersion, champion: ModelVersion, people: People, administrator: User
) -> None:
    request = promotions.asked(administrator, candidate)
    clinician = people.clinician()
    with pytest.raises(Forbidden):
        services.approve(actor=people.administrator(), request=request)
    with pytest.raises(Forbidden):
        services.decline(actor=people.administrator(), request=request)
    with pytest.raises(Forbidden):
        roll_back(clinician, champion)
    with pytest.raises(Forbidden):
        services.request_promotion(actor=clinician, comparison=request.comparison, reason="Why?")


@ONE_KIND
def test_a_request_is_declined_or_withdrawn(
    candidate: ModelVersion, administrator: User, approver: User
) -> None:
    request = promotions.asked(administrator, candidate)
    with pytest.raises(Conflict, match="requested"):
        services.request_promotion(actor=administrator, comparison=request.comparison, reason="!")
    assert services.decline(actor=approver, request=request) is Decision.DECLINED
    again = services.request_promotion(
        actor=administrator, comparison=request.comparison, reason="Look again."
    )
    assert services.decline(actor=administrator, request=again) is Decision.WITHDRAWN
    with pytest.raises(Conflict, match="decided"):
        services.approve(actor=approver, request=again)


@ONE_KIND
def test_a_request_by_another_plan_or_champion_is_outdated(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, approver: User
) -> None:
    request = promotions.asked(administrator, candidate)
    change(administrator, champion, Plan(margin=0.02), shown=1)
    with pytest.raises(Conflict, match="outdated"):
        services.approve(actor=approver, request=request)
    assert request.decision is None


# Rolling back


def test_a_rollback_leads_to_what_served_before_and_then_to_what_served_before_that(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, approver: User
) -> None:
    third = serving_model(version="3.0.0")
    for version in (candidate, third):
        promotions.promoted(administrator, approver, version)
    assert roll_back(approver, third).model_version is candidate
    with pytest.raises(Conflict, match="changed"):  # pressed twice
        roll_back(approver, third)
    assert roll_back(administrator, candidate).model_version is champion
    with pytest.raises(Conflict, match="nothing_before"):
        roll_back(administrator, champion)
    kinds = [line.kind.value for line in registry.ledger(champion.reading_task_id)]
    assert kinds == ["rollback", "rollback", "promotion", "promotion", "first"]
    promotions.promoted(administrator, approver, third)
    assert registry.version_before(champion.reading_task_id) is champion


@ONE_KIND
def test_a_rollback_overtakes_a_request(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, approver: User
) -> None:
    promotions.promoted(administrator, approver, candidate)
    request = promotions.asked(administrator, serving_model(version="3.0.0"))
    roll_back(approver, candidate)
    assert request.decision is Decision.OVERTAKEN


# Reading unseen


def test_a_shadow_reads_what_comes_and_nobody_waits_for_it(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, people: People
) -> None:
    clinician = people.clinician()
    services.start_shadow(actor=administrator, version=candidate)
    case = clinic.send(clinician)
    unseen = unseen_of(case)
    assert (unseen.model_version, unseen.priority_rank) == (candidate, SHADOW_RANK)
    waiting = clinic.send(clinician)
    first, second = take(2)
    assert [first, second] == [current(case).id, current(waiting).id]
    claim = claimed()
    assert claim.assessment_id == unseen.id
    assert claim.bundle_sha256 == candidate.bundle_sha256
    assert claim.image_sha256s == (case.images[0].sha256,)
    assessments.complete(claim=claim, result=clinic.result(claim, "grave"))
    assert unseen.state is State.COMPLETED
    assert current(case).state is State.IN_PROGRESS
    (event,) = clinic.recorded("shadow.completed")
    assert event.subject_id == unseen.id


def test_where_a_shadow_differs_is_counted(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, people: People
) -> None:
    clinician = people.clinician()
    services.start_shadow(actor=administrator, version=candidate)
    same, other, held = (clinic.send(clinician) for _ in range(3))
    for case in (same, other, held):
        clinic.read(case, "calm")
    said: dict[int, dict[str, Any]] = {
        unseen_of(same).id: {"finding": "calm"},
        unseen_of(other).id: {"finding": "grave"},
        unseen_of(held).id: {"finding": "calm", "abstained": True},
    }
    waiting = clinic.send(clinician)
    take(1)
    for _ in said:
        claim = claimed()
        assessments.complete(claim=claim, result=clinic.result(claim, **said[claim.assessment_id]))
    agreement = queries.agreement(candidate)
    assert (agreement.waiting_count, agreement.read_count, agreement.differing_count) == (1, 3, 2)
    assert [one.current.case_id for one in agreement.differences] == [held.id, other.id]
    assert (agreement.more_urgent_count, agreement.less_urgent_count) == (2, 0)
    assert queries.cases_read_otherwise(clinician) == []  # it does not serve
    services.end_shadow(actor=administrator, version=candidate)
    assert unseen_of(waiting).state is State.CANCELLED
    assert registry.shadow(champion.reading_task_id) is None
    later = clinic.send(clinician)
    assert unseen_of(later) is None


def test_what_reads_unseen_for_a_time_ends_by_itself(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, people: People
) -> None:
    services.start_shadow(actor=administrator, version=candidate, days=2)
    unseen = unseen_of(clinic.send(people.clinician()))
    task_id = champion.reading_task_id
    sweeper.sweep(bells=1, anchors=True)
    assert registry.shadow(task_id) is candidate
    part = db.session.get_one(ModelAlias, (task_id, Alias.SHADOW))
    part.until = now()
    db.session.commit()
    sweeper.sweep(bells=1, anchors=True)
    assert registry.shadow(task_id) is None
    db.session.refresh(unseen)
    assert unseen.state is State.CANCELLED
    (event,) = clinic.recorded("model.shadow_ended")
    assert (event.actor_id, event.subject_id) == (None, candidate.id)


def test_an_unseen_reading_that_fails_changes_nothing_for_the_case(
    champion: ModelVersion, candidate: ModelVersion, administrator: User, people: People
) -> None:
    services.start_shadow(actor=administrator, version=candidate)
    case = clinic.send(people.clinician())
    clinic.read(case, "calm")
    before = current(case).priority_rank
    assessments.fail_attempt(
        claim=claimed(), error="torn", failure=assessments.Failure.UNREADABLE_IMAGE
    )
    unseen = unseen_of(case)
    db.session.refresh(unseen)
    assert unseen.state is State.FAILED
    assessments.retry(actor=administrator, assessment=unseen)
    assert (unseen.state, unseen.priority_rank) == (State.SCHEDULED, SHADOW_RANK)
    assert current(case).priority_rank == before
    assert current(case).state is State.COMPLETED


def test_after_a_promotion_cases_that_would_be_read_otherwise_are_told_of(
    champion: ModelVersion,
    candidate: ModelVersion,
    administrator: User,
    approver: User,
    people: People,
) -> None:
    clinician = people.clinician()
    same, other, void = (clinic.send(clinician) for _ in range(3))
    for case in (same, other, void):
        clinic.read(case, "calm")
    promotions.promoted(administrator, approver, candidate)
    for finding in ("calm", "grave", "grave"):
        claim = claimed()
        assessments.complete(claim=claim, result=clinic.result(claim, finding))
    void_case(
        actor=clinician, case=void, reason="By mistake.", shown=basis(void).mark, form_token="v"
    )
    (told,) = queries.cases_read_otherwise(clinician)
    assert (told.current.case_id, told.is_more_urgent) == (other.id, True)
    assert queries.count_read_otherwise(clinician) == 1
    assert queries.cases_read_otherwise(people.clinician()) == []  # of another site
    again = read_again(actor=clinician, case=other)
    assert again.model_version is candidate
    assert queries.count_read_otherwise(clinician) == 0


def test_the_ledger_says_which_version_served_a_case_at_a_moment(
    champion: ModelVersion,
    candidate: ModelVersion,
    administrator: User,
    approver: User,
    people: People,
) -> None:
    clinician = people.clinician()
    case = clinic.send(clinician)
    sent = now()
    assert queries.serving_case(case.id, sent)[1] is None
    read = clinic.read(case, "calm")
    before = now()
    promotions.promoted(administrator, approver, candidate)
    promoted = now()
    read_again(actor=clinician, case=case)
    clinic.read(case, "grave")
    for moment, serving, counted in (
        (before, champion, champion),
        (promoted, candidate, champion),
        (now(), candidate, candidate),
    ):
        line, reading = queries.serving_case(case.id, moment)
        assert line is not None
        assert reading is not None
        assert (line.model_version, reading.model_version) == (serving, counted)
    assert queries.serving_case(case.id, read.completed_at)[1] is read


# What these share


def change(actor: User, version: ModelVersion, plan: Plan, *, shown: int) -> ChangePlan | None:
    return services.change_plan(
        actor=actor, reading_task=version.reading_task, plan=plan, reason="As decided.", shown=shown
    )


def compare(low: float = -0.01) -> Comparison:
    """Have the comparison made that waits: the metric's difference is from `low` to 0.01."""
    claim = services.claim(worker="test", lease_seconds=60)
    assert claim is not None
    assert services.complete(claim=claim, outcome=promotions.proof(low=low))
    return queries.get_comparison(claim.comparison_id)


def roll_back(actor: User, version: ModelVersion) -> Promotion:
    return services.roll_back(actor=actor, reading_task=version.reading_task, shown_id=version.id)


def current(case: Case) -> Assessment:
    found = current_assessment(case)
    assert found is not None
    return found


def unseen_of(case: Case) -> Any:
    return db.session.scalars(
        select(Assessment).where(
            Assessment.case_id == case.id, Assessment.purpose == Purpose.SHADOW
        )
    ).one_or_none()


def take(limit: int) -> list[int]:
    bundles = list(db.session.scalars(select(ModelVersion.bundle_sha256)))
    claims = assessments.claim(worker="test", bundle_sha256s=bundles, limit=limit, lease_seconds=60)
    return [claim.assessment_id for claim in claims]


def claimed() -> assessments.Claim:
    bundles = list(db.session.scalars(select(ModelVersion.bundle_sha256)))
    (claim,) = assessments.claim(worker="test", bundle_sha256s=bundles, limit=1, lease_seconds=60)
    return claim
