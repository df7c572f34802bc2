"""Plans, comparisons and requests; and where two versions read the same cases otherwise."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, select
from sqlalchemy.orm import aliased, defer, joinedload

from webapp.accounts.models import User
from webapp.accounts.queries import users_who_may
from webapp.assessments.models import Assessment, Purpose, State
from webapp.cases.models import Case, Patient
from webapp.cases.queries import visible_site_ids
from webapp.catalogue.models import Finding, ReadingTask
from webapp.datasets.queries import locked_test
from webapp.db import db, now
from webapp.errors import NotFound
from webapp.permissions import Permission
from webapp.promotion.models import ChangePlan, Comparison, PromotionRequest
from webapp.promotion.plans import Plan
from webapp.registry import queries as registry
from webapp.registry.models import ModelVersion, Promotion
from webapp.reviews.models import Decision as ReviewDecision
from webapp.reviews.models import Review
from webapp.reviews.queries import is_told

READ = (State.COMPLETED, State.ABSTAINED)
DIFFERING_MAX = 200
"""Cases that a list of differences shows at most."""
LOOKED_BACK_FOR = dt.timedelta(days=30)
"""So long after another version began to serve are clinicians told which cases it reads
otherwise."""

_Current = aliased(Assessment, name="current_reading")
_Unseen = aliased(Assessment, name="unseen_reading")


@dataclass(frozen=True, slots=True)
class Difference:
    """A case that two versions read otherwise."""

    current: Assessment
    """The reading that counts."""
    unseen: Assessment

    @property
    def is_more_urgent(self) -> bool:
        return self.unseen.priority_rank > self.current.priority_rank

    @property
    def is_less_urgent(self) -> bool:
        return self.unseen.priority_rank < self.current.priority_rank


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of a case: a finding, or none, since the model abstained."""

    finding: Finding | None

    @classmethod
    def of(cls, reading: Assessment) -> "Answer":
        return cls(reading.finding if reading.state is State.COMPLETED else None)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a version's unseen readings compare with those that count, in numbers."""

    waiting_count: int
    """Cases that it has still to read."""
    read_count: int
    differing_count: int
    differences: Sequence[Difference]
    """The newest of them."""

    @property
    def moves(self) -> list[tuple[Answer, Answer, int]]:
        """From which answer to which, and how often, the most frequent first."""
        moves = Counter((Answer.of(one.current), Answer.of(one.unseen)) for one in self.differences)
        return [(before, after, count) for (before, after), count in moves.most_common()]

    @property
    def more_urgent_count(self) -> int:
        return sum(one.is_more_urgent for one in self.differences)

    @property
    def less_urgent_count(self) -> int:
        return sum(one.is_less_urgent for one in self.differences)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that does not serve, and how it last did in a comparison."""

    version: ModelVersion
    comparison: Comparison | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Who serves a reading task, who might, and what was asked for."""

    reading_task: ReadingTask
    line: Promotion | None
    """Of the ledger, by which its champion serves."""
    before: ModelVersion | None
    """What a rollback leads to."""
    shadow: ModelVersion | None
    shadow_until: dt.datetime | None
    candidates: Sequence[Candidate]
    request: PromotionRequest | None
    """That nobody has decided on."""
    to_approve: Sequence[User]
    """Who may still approve it."""
    plan: ChangePlan


def standing(reading_task: ReadingTask) -> Standing:
    """How things stand with a reading task."""
    lines = registry.ledger(reading_task.id)
    serving = registry.champion(reading_task.id)
    comparisons = latest_comparisons(reading_task.id)
    request = open_request(reading_task.id)
    return Standing(
        reading_task=reading_task,
        line=lines[0] if lines else None,
        before=registry.version_before(reading_task.id),
        shadow=registry.shadow(reading_task.id),
        shadow_until=registry.shadow_until(reading_task.id),
        candidates=[
            Candidate(version, comparisons.get(version.id))
            for version in registry.versions_of(reading_task.id)
            if version.may_serve and not (serving and version.id == serving.id)
        ],
        request=request,
        to_approve=to_approve(request) if request else (),
        plan=plan_in_force(reading_task.id),
    )


def plan_in_force(reading_task_id: int) -> ChangePlan:
    """The latest version of the plan; the one that comes with Firstlook, as version 0 and kept
    nowhere yet, where nobody has needed one."""
    return latest_plan(reading_task_id) or ChangePlan(
        reading_task_id=reading_task_id, version=0, document=Plan().document, reason=""
    )


def latest_plan(reading_task_id: int) -> ChangePlan | None:
    """The latest version that is kept."""
    return next(iter(plans(reading_task_id)), None)


def plans(reading_task_id: int) -> Sequence[ChangePlan]:
    """All versions of a plan, the latest first."""
    return db.session.scalars(
        select(ChangePlan)
        .where(ChangePlan.reading_task_id == reading_task_id)
        .order_by(ChangePlan.version.desc())
        .options(joinedload(ChangePlan.changed_by))
    ).all()


def get_comparison(comparison_id: int) -> Comparison:
    """
    Raises:
        NotFound: there is none.
    """
    comparison = db.session.get(Comparison, comparison_id)
    if comparison is None:
        raise NotFound("comparison", comparison_id=comparison_id)
    return comparison


def latest_comparisons(reading_task_id: int) -> dict[int, Comparison]:
    """The latest comparison of each version that was ever a candidate, by its number; its figures
    are loaded only where they are asked for."""
    found = db.session.scalars(
        select(Comparison)
        .join(Comparison.candidate)
        .where(ModelVersion.reading_task_id == reading_task_id)
        .order_by(Comparison.id)
        .options(defer(Comparison.result), defer(Comparison.checks))
    )
    return {comparison.candidate_id: comparison for comparison in found}


def is_up_to_date(comparison: Comparison) -> bool:
    """Whether it was made with the version that serves today, by today's plan."""
    task_id = comparison.candidate.reading_task_id
    serving, plan = registry.champion(task_id), latest_plan(task_id)
    return bool(
        serving and plan and (comparison.champion_id, comparison.plan_id) == (serving.id, plan.id)
    )


def is_still_first(request: PromotionRequest) -> bool:
    """Whether still none serves the reading task of a request without a comparison, and the plan
    holds that it was asked for by."""
    plan = latest_plan(request.reading_task_id)
    is_by_plan = plan is not None and plan.id == request.plan_id
    return is_by_plan and registry.champion(request.reading_task_id) is None


def get_request(request_id: int) -> PromotionRequest:
    """
    Raises:
        NotFound: there is none.
    """
    request = db.session.get(PromotionRequest, request_id)
    if request is None:
        raise NotFound("promotion_request", request_id=request_id)
    return request


def open_request(reading_task_id: int) -> PromotionRequest | None:
    """The request for a reading task that nobody has decided on."""
    return db.session.scalars(
        select(PromotionRequest).where(
            PromotionRequest.reading_task_id == reading_task_id,
            PromotionRequest.decision.is_(None),
        )
    ).one_or_none()


def approvers(plan: Plan) -> Sequence[User]:
    """Who may approve by a plan today, whoever asks."""
    may = users_who_may(Permission.APPROVE_MODELS)
    return [user for user in may if plan.lets_approve(user.username)]


def no_longer_approvers(plan: Plan) -> Sequence[str]:
    """The user names of those whom a plan names and who may not approve models any more."""
    able = {user.username for user in approvers(plan)}
    return [username for username in plan.approvers if username not in able]


def to_approve(request: PromotionRequest) -> Sequence[User]:
    """Who may still approve a request."""
    return [user for user in approvers(request.plan) if request.hindrance(user) is None]


def requests_of(comparison: Comparison) -> Sequence[PromotionRequest]:
    """What was asked for on the strength of a comparison, the latest first."""
    return db.session.scalars(
        select(PromotionRequest)
        .where(PromotionRequest.comparison_id == comparison.id)
        .order_by(PromotionRequest.id.desc())
    ).all()


def agreement(version: ModelVersion) -> Agreement:
    """How a version's unseen readings compare with those that count."""
    unseen = _purpose(Assessment, Purpose.SHADOW) & (Assessment.model_version_id == version.id)
    is_open = Assessment.state.in_([State.SCHEDULED, State.IN_PROGRESS])
    pairs, differing = _pairs(version.id), _pairs(version.id).where(_differs())
    return Agreement(
        waiting_count=db.session.scalar(select(func.count()).where(unseen, is_open)) or 0,
        read_count=_count(pairs),
        differing_count=_count(differing),
        differences=_differences(differing),
    )


def cases_read_otherwise(actor: User) -> Sequence[Difference]:
    """Cases at the actor's sites of which the versions that serve today say something else than the
    reading that counts, the newest first; as far as the actor may be told what was found."""
    return _differences(_read_otherwise(actor))


def count_read_otherwise(actor: User) -> int:
    """How many those are."""
    return _count(_read_otherwise(actor)) if _recent() else 0


def serving_case(case_id: int, moment: dt.datetime) -> tuple[Promotion | None, Assessment | None]:
    """Which version served a case at a moment: the line of the ledger that held for its reading
    task, and the reading that counted, None before there was one.

    Raises:
        NotFound: there is no such case.
    """
    case = db.session.get(Case, case_id)
    if case is None:
        raise NotFound("case", case_id=case_id)
    counted = db.session.scalars(
        select(Assessment)
        .where(
            Assessment.case_id == case_id,
            Assessment.purpose == Purpose.TRIAGE,
            Assessment.completed_at <= moment,
            Assessment.superseded_at.is_(None) | (Assessment.superseded_at > moment),
        )
        .order_by(Assessment.completed_at.desc())
        .limit(1)
    ).one_or_none()
    return registry.serving_at(case.reading_task_id, moment), counted


def test_subject_count(reading_task: ReadingTask) -> int:
    """How many subjects the locked test set of a reading task shows; 0 where it has none."""
    test = locked_test(reading_task)
    return len(test.subjects) or len(test.hashes)


def _read_otherwise(actor: User) -> Select[Assessment, Assessment]:
    is_void = exists().where(Review.case_id == Case.id, Review.decision == ReviewDecision.VOID)
    return _pairs(*_recent()).where(
        _differs(),
        Case.site_id.in_(visible_site_ids(actor)),
        is_told(actor),
        ~is_void,
        Case.patient.has(Patient.erased_at.is_(None)),
    )


def _recent() -> Sequence[int]:
    return registry.began_to_serve(since=now() - LOOKED_BACK_FOR)


def _pairs(*version_ids: int) -> Select[Assessment, Assessment]:
    """The readings that count, each with that of another version of the same input."""
    return (
        select(_Current, _Unseen)
        .join(_Unseen, _Unseen.case_id == _Current.case_id)
        .join(Case, Case.id == _Current.case_id)
        .where(
            _purpose(_Unseen, Purpose.SHADOW),
            _Unseen.model_version_id.in_(version_ids),
            _Unseen.state.in_(READ),
            _purpose(_Current, Purpose.TRIAGE),
            _Current.superseded_at.is_(None),
            _Current.state.in_(READ),
            _Current.model_version_id != _Unseen.model_version_id,
            _Current.input_sha256 == _Unseen.input_sha256,
        )
    )


def _differs() -> ColumnElement[bool]:
    """Another finding, an answer where there was none or none where there was one, or another
    urgency."""
    is_same = (
        (_Current.state == _Unseen.state)
        & (_Current.finding_id == _Unseen.finding_id)
        & (_Current.priority_rank == _Unseen.priority_rank)
    )
    return ~is_same


def _differences(pairs: Select[Assessment, Assessment]) -> Sequence[Difference]:
    rows = db.session.execute(
        pairs.order_by(_Current.case_id.desc())
        .limit(DIFFERING_MAX)
        .options(
            joinedload(_Current.finding),
            joinedload(_Current.case).joinedload(Case.patient),
            joinedload(_Unseen.finding),
        )
    )
    return [Difference(current, unseen) for current, unseen in rows]


def _count(pairs: Select[Assessment, Assessment]) -> int:
    counted = pairs.with_only_columns(func.count(), maintain_column_froms=True)
    return db.session.scalar(counted) or 0


def _purpose(reading: type[Assessment], purpose: Purpose) -> ColumnElement[bool]:
    """A condition that the partial indexes answer: they need the purpose in the statement."""
    value: ColumnElement[Purpose] = bindparam(None, purpose, literal_execute=True)
    return reading.purpose == value
