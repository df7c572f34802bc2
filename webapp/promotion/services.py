"""Change a plan, compare, ask that a candidate serve, let it, take it back, have it read unseen.

Whoever changes which version serves holds the parts of the reading task first, then the cases that
are looked back at, and goes on record last, as everybody does.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from webapp import audit, storage
from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments import services as assessments
from webapp.assessments.models import Assessment, Purpose, State
from webapp.assessments.queries import is_due
from webapp.cases.models import Case, Patient
from webapp.catalogue.models import ReadingTask
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Forbidden
from webapp.jobs import ADMINISTER
from webapp.permissions import Permission
from webapp.promotion import queries
from webapp.promotion.models import (
    ChangePlan,
    Comparison,
    Decision,
    PromotionRequest,
    Verdict,
)
from webapp.promotion.plans import Plan
from webapp.promotion.verdicts import judge, passes
from webapp.registry import services as registry
from webapp.registry.models import Alias, ModelVersion, Promotion, PromotionKind
from webapp.registry.queries import champion, shadow, shadows_over, version_before

KIND = leases.Kind(
    rows=Comparison,
    job=ADMINISTER,
    word="comparison",
    detail=lambda comparison: {
        "candidate_id": comparison.candidate_id,
        "champion_id": comparison.champion_id,
    },
)

LOOKED_BACK_AT = 200
"""Cases, the newest first, that another version reads unseen when it begins to serve."""
SHADOW_DAYS = 28
"""So long a version reads new cases unseen unless somebody says otherwise."""


@dataclass(frozen=True)
class Claim:
    """One comparison that a worker holds."""

    comparison_id: int
    lease_token: str
    reading_task: str
    champion_sha256: str
    candidate_sha256: str


@dataclass(frozen=True)
class Proof:
    """What came of a comparison."""

    result: Mapping[str, Any]
    test_sha256: str
    predictions_sha256: str
    engine: str
    code_version: str


@dataclass(frozen=True)
class Refusal:
    """Why nothing came of it, in a code and what a sentence needs to name."""

    code: str
    facts: Mapping[str, Any]


def change_plan(
    *, actor: User, reading_task: ReadingTask, plan: Plan, reason: str, shown: int
) -> ChangePlan | None:
    """Make a new version of a plan, from the version that the actor was `shown`; None if it says
    the same.

    Raises:
        Conflict: `plan_changed`: the `latest` version is another one; `too_few_approvers`: of those
            whom it names, fewer may approve models than have to.
    """
    with transaction():
        registry.lock_parts(reading_task_id=reading_task.id)
        former = queries.plan_in_force(reading_task.id)
        if former.version != shown:
            raise Conflict("plan_changed", latest=former)
        if former.plan == plan:
            return None
        if plan.approvers and len(queries.approvers(plan)) < plan.approvals_needed:
            raise Conflict("too_few_approvers")
        former = _kept(former)
        latest = ChangePlan(
            reading_task_id=reading_task.id,
            version=former.version + 1,
            document=plan.document,
            reason=reason,
            changed_by_id=actor.id,
            changed_at=now(),
        )
        db.session.add(latest)
        db.session.flush()
        before = former.plan.document
        changed = sorted(name for name, value in plan.document.items() if before[name] != value)
        audit.record(
            actor=actor,
            action="plan.changed",
            subject=latest,
            reading_task=reading_task.code,
            version=latest.version,
            former={name: before[name] for name in changed},
            new={name: plan.document[name] for name in changed},
            reason=reason,
        )
    return latest


def request_comparison(*, actor: User | None, candidate: ModelVersion) -> Comparison:
    """Have a candidate compared with the version that serves, by today's plan. One that is being
    made is not made twice.

    Raises:
        Conflict: `no_model`: none serves; `serves`: the candidate does; `not_to_serve`: it was made
            only to be compared with.
    """
    with transaction():
        registry.lock_parts(reading_task_id=candidate.reading_task_id)
        serving = champion(candidate.reading_task_id)
        if serving is None:
            raise Conflict("no_model")
        if serving.id == candidate.id:
            raise Conflict("serves")
        if not candidate.may_serve:
            raise Conflict("not_to_serve")
        for asked in db.session.scalars(
            select(Comparison).where(Comparison.candidate_id == candidate.id)
        ):
            if asked.state.is_open:
                return asked
        comparison = Comparison(
            candidate=candidate,
            champion=serving,
            plan=_kept(queries.plan_in_force(candidate.reading_task_id)),
            requested_by=actor,
        )
        KIND.put_in_queue(comparison)
        KIND.record("requested", comparison, actor=actor, version=candidate.version)
    return comparison


def claim(*, worker: str, lease_seconds: int) -> Claim | None:
    """Take the comparison that has waited longest; None if none waits."""
    with transaction():
        comparison = db.session.scalars(
            select(Comparison)
            .where(is_due(Comparison))
            .order_by(Comparison.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if comparison is None:
            return None
        comparison.progress = None
        token = leases.take(Comparison, [comparison.id], worker=worker, lease_seconds=lease_seconds)
        return Claim(
            comparison_id=comparison.id,
            lease_token=token,
            reading_task=comparison.candidate.reading_task.code,
            champion_sha256=comparison.champion.bundle_sha256,
            candidate_sha256=comparison.candidate.bundle_sha256,
        )


def note(*, claim: Claim, read_count: int, to_read_count: int) -> None:
    """Keep how far a claim is, for its page; of one that was lost nothing is kept."""
    with transaction():
        comparison = KIND.held(claim.comparison_id, claim.lease_token)
        if comparison is not None:
            comparison.progress = {"read": read_count, "of": to_read_count}


def complete(*, claim: Claim, outcome: Proof | Refusal) -> bool:
    """Judge what came of a claim by the plan that it was asked for with, and end the work. False,
    and nothing written, if it was lost."""
    with transaction():
        comparison = KIND.held(claim.comparison_id, claim.lease_token)
        if comparison is None:
            return False
        if isinstance(outcome, Refusal):
            comparison.verdict = Verdict.REFUSED
            comparison.refusal = {"code": outcome.code, **outcome.facts}
        else:
            storage.hold([outcome.predictions_sha256])
            checks = judge(comparison.plan.plan, outcome.result)
            comparison.verdict = Verdict.PASSED if passes(checks) else Verdict.FAILED
            comparison.checks = [check.plain for check in checks]
            comparison.result = dict(outcome.result)
            comparison.test_sha256 = outcome.test_sha256
            comparison.predictions_sha256 = outcome.predictions_sha256
            comparison.engine = outcome.engine
            comparison.code_version = outcome.code_version
        comparison.state = State.COMPLETED
        comparison.completed_at = now()
        leases.let_go(comparison)
        KIND.record("completed", comparison, verdict=comparison.verdict)
    return True


def request_promotion(*, actor: User, comparison: Comparison, reason: str) -> PromotionRequest:
    """Ask that a candidate serve which has passed.

    Raises:
        Forbidden: the actor may not ask.
        Conflict: `not_passed`: it has not; `outdated`: another version serves, or another plan
            holds, than it was compared by; `requested`: a request for the reading task is open.
    """
    if not actor.can(Permission.MANAGE_MODELS):
        raise Forbidden(Permission.MANAGE_MODELS)
    candidate = comparison.candidate
    with transaction():
        registry.lock_parts(reading_task_id=candidate.reading_task_id)
        _check_proven(comparison)
        return _request(actor, candidate, reason, comparison=comparison)


def request_first(*, actor: User, version: ModelVersion, reason: str) -> PromotionRequest:
    """Ask that a version serve a reading task that none serves. There is nothing to compare it
    with: what stands before it is that somebody else has to approve it, as the plan says.

    Raises:
        Forbidden: the actor may not ask.
        Conflict: `not_to_serve`: it was made only to be compared with; `compare_first`: a version
            serves, which it has to be compared with; `requested`: a request is open.
    """
    if not actor.can(Permission.MANAGE_MODELS):
        raise Forbidden(Permission.MANAGE_MODELS)
    with transaction():
        registry.lock_parts(reading_task_id=version.reading_task_id)
        if not version.may_serve:
            raise Conflict("not_to_serve")
        if champion(version.reading_task_id):
            raise Conflict("compare_first")
        plan = _kept(queries.plan_in_force(version.reading_task_id))
        return _request(actor, version, reason, uncompared=version, uncompared_by=plan)


def _request(actor: User, version: ModelVersion, reason: str, **basis: Any) -> PromotionRequest:
    """The one open request of a reading task; ``basis`` is what it stands on.

    Raises:
        Conflict: `requested`: one is open.
    """
    if queries.open_request(version.reading_task_id):
        raise Conflict("requested")
    request = PromotionRequest(
        reading_task_id=version.reading_task_id,
        reason=reason,
        requested_by=actor,
        requested_at=now(),
        **basis,
    )
    db.session.add(request)
    db.session.flush()
    _record_request("requested", request, actor)
    return request


def approve(*, actor: User, request: PromotionRequest) -> Promotion | None:
    """Let the candidate of a request serve: at once, for every case that is sent from now on. None
    if the plan asks for a second person's approval beside this one, for which it waits.

    Raises:
        Forbidden: the actor may not approve models.
        Conflict: `decided`: somebody has decided on it; `own_request`: it takes a second person;
            `not_named`: the plan names others; `approved_already`: the actor has; `outdated` or
            `not_first`: another version serves, or another plan holds, than it was compared or
            asked for by.
    """
    if not actor.can(Permission.APPROVE_MODELS):
        raise Forbidden(Permission.APPROVE_MODELS)
    with transaction():
        _hold_open(request)
        if hindrance := request.hindrance(actor):
            raise Conflict(hindrance)
        if request.comparison:
            _check_proven(request.comparison)
        elif not queries.is_still_first(request):
            raise Conflict("not_first")
        if request.missing_count > 1:
            request.first_approved_by_id, request.first_approved_at = actor.id, now()
            db.session.flush()
            _record_request("approved", request, actor)
            return None
        version = request.candidate
        _decide(request, Decision.APPROVED, actor)
        registry.take_part(version=version, alias=Alias.SHADOW)
        _look_back(version)
        line = Promotion(
            kind=PromotionKind.PROMOTION if request.comparison else PromotionKind.FIRST,
            model_version=version,
            comparison_id=request.comparison_id,
            requested_by_id=request.requested_by_id,
            first_approved_by_id=request.first_approved_by_id,
            approved_by_id=actor.id,
            reason=request.reason,
        )
        registry.let_serve(line=line, actor=actor)
        _record_request("approved", request, actor)
    return line


def decline(*, actor: User, request: PromotionRequest) -> Decision:
    """Close a request without letting its candidate serve: whoever asked withdraws it, and whoever
    approves models declines it.

    Raises:
        Forbidden: the actor is neither.
        Conflict: `decided`: somebody has decided on it.
    """
    is_own = request.requested_by_id == actor.id
    if not is_own and not actor.can(Permission.APPROVE_MODELS):
        raise Forbidden(Permission.APPROVE_MODELS)
    decision = Decision.WITHDRAWN if is_own else Decision.DECLINED
    with transaction():
        _hold_open(request)
        _decide(request, decision, actor)
        _record_request(decision.value, request, actor)
    return decision


def roll_back(
    *, actor: User | None, reading_task: ReadingTask, shown_id: int, reason: str = ""
) -> Promotion:
    """Have the version serve again that served before, at once.

    `shown_id` is the version that the actor saw serving, so that pressing twice is pressing once.
    None acts on the command line.

    Raises:
        Forbidden: the actor neither manages nor approves models.
        Conflict: `changed`: another version serves by now; `nothing_before`: there is none.
    """
    may = Permission.MANAGE_MODELS, Permission.APPROVE_MODELS
    if actor is not None and not any(map(actor.can, may)):
        raise Forbidden(Permission.MANAGE_MODELS)
    with transaction():
        registry.lock_parts(reading_task_id=reading_task.id)
        serving, former = champion(reading_task.id), version_before(reading_task.id)
        if serving is None or serving.id != shown_id:
            raise Conflict("changed")
        if former is None:
            raise Conflict("nothing_before")
        request = queries.open_request(reading_task.id)
        if request is not None:
            _decide(request, Decision.OVERTAKEN, actor)
        registry.take_part(version=former, alias=Alias.SHADOW)
        _look_back(former)
        line = Promotion(
            kind=PromotionKind.ROLLBACK,
            model_version=former,
            requested_by_id=actor.id if actor else None,
            reason=reason,
        )
        registry.let_serve(line=line, actor=actor)
    return line


def start_shadow(*, actor: User, version: ModelVersion, days: int = SHADOW_DAYS) -> None:
    """Have a version read every new case of its reading task unseen by clinicians for so many days
    from now on, in place of the one that did.

    Raises:
        Conflict: `serves`: it reads them already; `not_to_serve`: it was made only to be compared
            with.
    """
    with transaction():
        registry.lock_parts(reading_task_id=version.reading_task_id)
        serving, former = champion(version.reading_task_id), shadow(version.reading_task_id)
        if serving is not None and serving.id == version.id:
            raise Conflict("serves")
        if not version.may_serve:
            raise Conflict("not_to_serve")
        if former is not None and former.id != version.id:
            assessments.cancel_unseen(version=former)
        until = now() + dt.timedelta(days=days)
        registry.give_part(version=version, alias=Alias.SHADOW, until=until)
        _record_shadow("started", version, actor)


def end_shadows() -> None:
    """Have versions read no more cases unseen whose time is over."""
    for version in shadows_over(now()):
        with transaction():
            registry.lock_parts(reading_task_id=version.reading_task_id)
            if version in shadows_over(now()):  # nobody has begun anew meanwhile
                end_shadow(actor=None, version=version)


def end_shadow(*, actor: User | None, version: ModelVersion) -> None:
    """Have a version read no more cases unseen; what it said of those that it has read is kept.
    None acts when its time is over."""
    with transaction():
        registry.lock_parts(reading_task_id=version.reading_task_id)
        if registry.take_part(version=version, alias=Alias.SHADOW):
            assessments.cancel_unseen(version=version)
            _record_shadow("ended", version, actor)


def _kept(plan: ChangePlan) -> ChangePlan:
    """A plan as a row: the one that comes with Firstlook is kept once it is needed."""
    if plan.version == 0:
        plan.version, plan.changed_at = 1, now()
        db.session.add(plan)
        db.session.flush()
    return plan


def _check_proven(comparison: Comparison) -> None:
    if comparison.verdict is not Verdict.PASSED:
        raise Conflict("not_passed")
    if not queries.is_up_to_date(comparison):
        raise Conflict("outdated")


def _hold_open(request: PromotionRequest) -> None:
    registry.lock_parts(reading_task_id=request.reading_task_id)
    db.session.refresh(request, with_for_update=True)
    if request.decision is not None:
        raise Conflict("decided")


def _decide(request: PromotionRequest, decision: Decision, actor: User | None) -> None:
    request.decision = decision
    request.decided_by_id = actor.id if actor else None
    request.decided_at = now()
    db.session.flush()


def _look_back(version: ModelVersion) -> None:
    """Have a version that is going to serve read the newest cases unseen, so that it can be told
    which of them it reads otherwise."""
    current = (
        Assessment.purpose == Purpose.TRIAGE,
        Assessment.superseded_at.is_(None),
        Assessment.state.in_(queries.READ),
    )
    case_ids = db.session.scalars(
        select(Assessment.case_id)
        .join(Assessment.case)
        .join(Case.patient)
        .where(
            *current,
            Case.reading_task_id == version.reading_task_id,
            Patient.erased_at.is_(None),
        )
        .order_by(Case.submitted_at.desc())
        .limit(LOOKED_BACK_AT)
    ).all()
    db.session.execute(
        select(Case.id).where(Case.id.in_(case_ids)).order_by(Case.id).with_for_update()
    )
    readings = db.session.scalars(
        select(Assessment)
        .where(*current, Assessment.case_id.in_(case_ids))
        .order_by(Assessment.id)
        .options(selectinload(Assessment.images))
    ).all()
    assessments.schedule_unseen(readings=readings, version=version)


def _record_request(what: str, request: PromotionRequest, actor: User) -> None:
    audit.record(
        actor=actor,
        action=f"promotion.{what}",
        subject=request,
        version=request.candidate.version,
        comparison_id=request.comparison_id,
    )


def _record_shadow(what: str, version: ModelVersion, actor: User | None) -> None:
    audit.record(
        actor=actor, action=f"model.shadow_{what}", subject=version, version=version.version
    )
