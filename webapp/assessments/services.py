"""Schedule, claim, complete, abstain, fail: the rows are the work.

Whoever changes rows locks all of them, by their numbers, before anything goes on the audit record,
which only one at a time may write: so nobody waits for a row who keeps others from the record.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.orm import selectinload

from webapp import audit
from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import (
    SHADOW_RANK,
    WITHOUT_ANSWER,
    AssessedImage,
    Assessment,
    Failure,
    Prediction,
    Purpose,
    State,
)
from webapp.assessments.queries import current_assessment, expired_count, in_state, is_due
from webapp.cases.models import Case, Sex
from webapp.catalogue.models import Finding, FindingTerms, Priority
from webapp.catalogue.queries import allowances, terms_in_force
from webapp.db import db, now, transaction
from webapp.errors import Conflict
from webapp.queue import ring_after_commit
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion, shadow


@dataclass(frozen=True)
class Claim:
    """One assessment that a worker holds, with everything that it needs to read it."""

    assessment_id: int
    lease_token: str
    attempt: int
    bundle_sha256: str
    image_sha256s: tuple[str, ...]
    metadata: Mapping[str, Any]
    """The raw values, None where one is missing."""


@dataclass(frozen=True)
class ImageResult:
    """What a model said of one image; findings are named by their codes."""

    prediction: str
    """Several, where they do not exclude each other, are joined by `|`."""
    probabilities: Mapping[str, float]
    abstained: bool
    reason: str | None
    supported: Collection[str] = ()
    """Those whose probability reaches the model's own operating point for them; the catalogue may
    have another one."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """What light and focus made of the image: `brightness`, `contrast`, `sharpness`."""


@dataclass(frozen=True)
class AssessmentResult:
    """What a model said of one case, image by image in the order of the claim."""

    images: tuple[ImageResult, ...]
    metadata_encoded: Mapping[str, Any]
    engine: str
    code_version: str
    inference_ms: float


def schedule(*, case: Case) -> Assessment:
    """Have a case read by the champion of its reading task, and by its shadow, if it has one.

    The same input is read once: it gives the assessment that is there. Another input makes a new
    assessment, and the older one is kept, marked superseded.

    Raises:
        Conflict: no model serves the reading task.
    """
    with transaction():
        db.session.flush()
        db.session.execute(select(Case.id).where(Case.id == case.id).with_for_update())
        version = champion(case.reading_task_id)
        if version is None:
            raise Conflict("no_model", reading_task=case.reading_task.code)
        fed = metadata_fed(case)
        input_sha256 = hash_input([image.sha256 for image in case.images], fed)
        readings = db.session.scalars(
            select(Assessment)
            .where(Assessment.case_id == case.id, Assessment.purpose == Purpose.TRIAGE)
            .order_by(Assessment.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).all()
        current = next((row for row in readings if row.superseded_at is None), None)
        same = (row for row in readings if row.model_version_id == version.id)
        assessment = next((row for row in same if row.input_sha256 == input_sha256), None)
        if current is not None and current is not assessment:
            _supersede(current)
        allowed = allowances(case.reading_task_id, case.site_id)
        if assessment is None:
            assessment = _new_assessment(case, version, Purpose.TRIAGE, fed, input_sha256)
            _set_urgency(assessment, {case.priority}, allowed)
            db.session.add(assessment)
        assessment.superseded_at = None
        if current is not None:
            assessment.settled_at = current.settled_at
        if current is not None and assessment.state is not State.COMPLETED:
            # What was found to be urgent stays so until it has been read anew.
            priorities = {case.priority, current.priority}
            if assessment.state in (State.ABSTAINED, State.FAILED):
                priorities.add(assessment.priority)
            _set_urgency(assessment, priorities, allowed)
        if assessment.state is State.CANCELLED:
            leases.back_to_the_queue(assessment)
        db.session.flush()
        if assessment.state is State.SCHEDULED:
            ring_after_commit()
        unseen = shadow(case.reading_task_id)
        if unseen is not None:
            schedule_unseen(readings=[assessment], version=unseen)
    return assessment


def schedule_unseen(*, readings: Sequence[Assessment], version: ModelVersion) -> int:
    """Have the stored input of readings read by another version too, unseen by clinicians and after
    all that is waited for. What it reads or has read so is not read again; says how much is.

    In an open `transaction()`.
    """
    known = {
        (row.case_id, row.input_sha256): row
        for row in db.session.scalars(
            select(Assessment)
            .where(
                Assessment.case_id.in_([reading.case_id for reading in readings]),
                Assessment.model_version_id == version.id,
                Assessment.purpose == Purpose.SHADOW,
            )
            .order_by(Assessment.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    }
    count = 0
    for reading in readings:
        unseen = known.get((reading.case_id, reading.input_sha256))
        if reading.model_version_id == version.id or (
            unseen and unseen.state is not State.CANCELLED
        ):
            continue
        if unseen is None:
            db.session.add(_unseen(reading, version))
        else:
            leases.back_to_the_queue(unseen)
        count += 1
    if count:
        db.session.flush()
        ring_after_commit()
    return count


def cancel_unseen(*, version: ModelVersion) -> int:
    """Give up what a version was still to read unseen; says how much.

    In an open `transaction()`.
    """
    waiting = db.session.scalars(
        select(Assessment)
        .where(
            Assessment.model_version_id == version.id,
            Assessment.purpose == Purpose.SHADOW,
            in_state(State.SCHEDULED),
        )
        .order_by(Assessment.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for assessment in waiting:
        assessment.state = State.CANCELLED
    db.session.flush()
    return len(waiting)


def settle(*, case: Case) -> None:
    """Take a case that somebody has decided on from those that wait."""
    current = current_assessment(case)
    if current is not None and current.settled_at is None:
        current.settled_at = now()


def metadata_fed(case: Case) -> dict[str, Any]:
    """What is known of a case, as models are given it: raw values, and which were missing."""
    raw = {
        "age": case.age_at_acquisition_years,
        "sex": None if case.patient.sex is Sex.UNKNOWN else case.patient.sex.value,
        "localization": case.body_site,
    }
    return {"raw": raw, "missing": [name for name, value in raw.items() if value is None]}


def hash_input(image_sha256s: Sequence[str], fed: Mapping[str, Any]) -> str:
    """SHA-256 over the images, in order, and the metadata: equal for equal input."""
    text = json.dumps(
        {"images": list(image_sha256s), "metadata": fed}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()


def claim(
    *, worker: str, bundle_sha256s: Collection[str], limit: int, lease_seconds: int
) -> list[Claim]:
    """Take assessments with up to `limit` images in all, or one, the most urgent first; none if
    nothing waits.

    Only those of the bundles that the worker has: the others wait for one that has theirs.

    One that was tried before is taken alone: should it be what ended its worker, then it does not
    end its neighbours too.
    """
    with transaction():
        waiting = _most_urgent(limit, bundle_sha256s)
        if not waiting:
            return []
        taken = [waiting[0].id]
        image_count = waiting[0].image_count
        for row in waiting[1:]:
            image_count += row.image_count
            if waiting[0].attempt_count > 0 or row.attempt_count > 0 or image_count > limit:
                break
            taken.append(row.id)
        token = leases.take(Assessment, taken, worker=worker, lease_seconds=lease_seconds)
        return _claims(token, taken)


def extend_lease(*, lease_token: str, lease_seconds: int) -> bool:
    """Keep what one claim took for longer. False if nothing of it is held any more."""
    return leases.extend(Assessment, lease_token=lease_token, lease_seconds=lease_seconds)


def complete(*, claim: Claim, result: AssessmentResult) -> bool:
    """Write what the model said, and end the work. False, and nothing written, if it was lost.

    The answer for the case is the most severe finding among the images that the model answered
    for; it abstained on the case if it abstained on every image. The case then has the highest
    priority of what was requested, what each image is said to show, and every finding that is
    supported on any image, which may be lower than what an earlier reading had found. With an image
    without an answer it is at least urgent. Without any answer, because the model abstained or the
    reading failed for good, it also keeps a higher priority that it had.
    """
    return end_all(outcomes=[(claim, result)]) == {claim.assessment_id}


def fail_attempt(*, claim: Claim, error: str, failure: Failure) -> bool:
    """End an attempt that did not succeed: the work waits for a while and then for a worker again,
    or has failed for good. False, and nothing written, if it was lost."""
    return end_all(outcomes=[(claim, FailedAttempt(error, failure))]) == {claim.assessment_id}


def end_all(*, outcomes: Sequence[tuple[Claim, AssessmentResult | FailedAttempt]]) -> set[int]:
    """`complete` or `fail_attempt` for several claims at once; the numbers of those that were not
    lost."""
    with transaction():
        held = _held([claim for claim, _ in outcomes])
        terms_at, allowed_at = cache(terms_in_force), cache(allowances)
        predictions: list[dict[str, Any]] = []
        for claim, outcome in outcomes:
            assessment = held.get(claim.assessment_id)
            if assessment is not None and isinstance(outcome, AssessmentResult):
                place = _place(assessment)
                predictions += _answer(assessment, outcome, terms_at(*place), allowed_at(*place))
        if predictions:
            db.session.execute(insert(Prediction), predictions)
        answered = []
        for claim, outcome in outcomes:
            assessment = held.get(claim.assessment_id)
            if assessment is None:
                continue
            if isinstance(outcome, FailedAttempt):
                _end_attempt(assessment, outcome, allowed_at(*_place(assessment)))
            else:
                answered.append(assessment)
        audit.record_all(actor=None, entries=map(_answer_entry, answered))
    return set(held)


def _answer_entry(assessment: Assessment) -> audit.Entry:
    detail = {
        "case_id": assessment.case_id,
        "finding_id": assessment.finding_id,
        "attempt": assessment.attempt_count,
    }
    return audit.Entry(f"{_word(assessment)}.{assessment.state}", assessment, detail=detail)


def _word(assessment: Assessment) -> str:
    """What the record calls it."""
    return "shadow" if assessment.purpose is Purpose.SHADOW else "assessment"


def hold(*, claims: Sequence[Claim]) -> None:
    """Lock claimed rows that are going to be ended one after the other."""
    ids = [claim.assessment_id for claim in claims]
    db.session.execute(
        select(Assessment.id)
        .where(Assessment.id.in_(ids))
        .order_by(Assessment.id)
        .with_for_update()
    )


def hold_current(*, case: Case) -> Assessment | None:
    """The assessment that counts for a case, as it is now. Keeps others from deciding on the case,
    and a worker from ending its reading, to the end of the open `transaction()`."""
    db.session.execute(select(Case.id).where(Case.id == case.id).with_for_update())
    return db.session.scalars(
        select(Assessment)
        .where(
            Assessment.case_id == case.id,
            Assessment.purpose == Purpose.TRIAGE,
            Assessment.superseded_at.is_(None),
        )
        .with_for_update(of=Assessment)
        .execution_options(populate_existing=True)
    ).one_or_none()


def input_of(assessment: Assessment, *, lease_token: str) -> Claim:
    """What a worker needs to read an assessment's input once more."""
    return Claim(
        assessment_id=assessment.id,
        lease_token=lease_token,
        attempt=1,
        bundle_sha256=assessment.model_version.bundle_sha256,
        image_sha256s=tuple(image.image_sha256 for image in assessment.images),
        metadata=assessment.metadata_fed["raw"],
    )


def named_code(said: ImageResult, findings: Mapping[str, Finding]) -> str:
    """The finding that is the answer for an image: the most severe of those that a model names."""
    return max(
        said.prediction.split("|"),
        key=lambda code: (findings[code].severity, said.probabilities[code]),
    )


def _answer(
    assessment: Assessment,
    result: AssessmentResult,
    terms: Mapping[str, FindingTerms],
    allowed: Mapping[Priority, dt.timedelta],
) -> list[dict[str, Any]]:
    """Fill in a row and its images; returns the predictions that belong to them."""
    predictions = []
    answers = []
    priorities = {assessment.case.priority}
    for image, said in zip(assessment.images, result.images, strict=True):
        probabilities = {
            code: min(max(float(value), 0.0), 1.0) for code, value in said.probabilities.items()
        }
        named = named_code(said, {code: of.finding for code, of in terms.items()})
        supported = {
            code for code, value in probabilities.items() if _counts(code, value, said, terms[code])
        }
        image.finding_id = terms[named].finding.id
        image.abstained = said.abstained
        image.abstention_reason = said.reason
        image.brightness = said.measures.get("brightness")
        image.contrast = said.measures.get("contrast")
        image.sharpness = said.measures.get("sharpness")
        predictions += [
            {
                "assessed_image_id": image.id,
                "finding_id": terms[code].finding.id,
                "probability": probability,
                "supported": code in supported,
                "terms_id": terms[code].id,
            }
            for code, probability in probabilities.items()
        ]
        answers.append((terms[named].finding, probabilities[named], said.abstained))
        priorities |= {terms[code].urgency for code in supported}
        priorities.add(WITHOUT_ANSWER if said.abstained else terms[named].urgency)
    abstained = all(image_abstained for _, _, image_abstained in answers)
    finding, probability, _ = max(
        (answer for answer in answers if abstained or not answer[2]),
        key=lambda answer: (answer[0].severity, answer[1]),
    )
    assessment.state = State.ABSTAINED if abstained else State.COMPLETED
    assessment.completed_at = now()
    assessment.finding_id = finding.id
    assessment.probability = probability
    if abstained:
        priorities |= _so_far(assessment)
    _set_urgency(assessment, priorities, allowed)
    assessment.metadata_encoded = dict(result.metadata_encoded)
    assessment.engine = result.engine
    assessment.code_version = result.code_version
    assessment.inference_ms = result.inference_ms
    leases.let_go(assessment)
    return predictions


def _place(assessment: Assessment) -> tuple[int, int]:
    """What decides on which terms a case is read: its reading task and its site."""
    return assessment.case.reading_task_id, assessment.case.site_id


def _counts(code: str, probability: float, said: ImageResult, terms: FindingTerms) -> bool:
    """Whether a finding is over its operating point: the catalogue's, or else the model's own."""
    return code in said.supported if terms.mark is None else probability >= terms.mark


def return_expired_leases() -> int:
    """End the attempts of workers that went silent; says how many there were."""
    if not expired_count():
        return 0
    with transaction():
        expired = leases.expired(Assessment)
        allowed_at = cache(allowances)
        for assessment in expired:
            allowed = allowed_at(*_place(assessment))
            _end_attempt(assessment, leases.went_silent(assessment), allowed)
    return len(expired)


def retry(*, actor: User, assessment: Assessment) -> None:
    """Give an assessment that failed its attempts anew.

    Raises:
        Conflict: it has not failed, or another one has taken its place.
    """
    with transaction():
        db.session.refresh(assessment, with_for_update=True)
        if assessment.state is not State.FAILED or assessment.superseded_at is not None:
            raise Conflict("not_failed")
        leases.back_to_the_queue(assessment)
        if assessment.purpose is Purpose.SHADOW:
            assessment.priority_rank = SHADOW_RANK
        db.session.flush()
        ring_after_commit()
        audit.record(
            actor=actor,
            action="assessment.retried",
            subject=assessment,
            case_id=assessment.case_id,
        )


def _new_assessment(
    case: Case,
    version: ModelVersion,
    purpose: Purpose,
    fed: dict[str, Any],
    input_sha256: str,
) -> Assessment:
    return Assessment(
        case=case,
        model_version=version,
        purpose=purpose,
        metadata_fed=fed,
        input_sha256=input_sha256,
        state=State.SCHEDULED,
        scheduled_at=now(),
        attempt_count=0,
        images=[
            AssessedImage(image=image, position=image.position, image_sha256=image.sha256)
            for image in case.images
        ],
    )


def _held(claims: Sequence[Claim]) -> dict[int, Assessment]:
    """The claimed rows, locked, whose leases are still these claims'; by their numbers."""
    tokens = {claim.assessment_id: claim.lease_token for claim in claims}
    rows = db.session.scalars(
        select(Assessment)
        .where(Assessment.id.in_(tokens), in_state(State.IN_PROGRESS))
        .order_by(Assessment.id)
        .options(
            selectinload(Assessment.images),
            selectinload(Assessment.case),
            selectinload(Assessment.model_version),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.id: row for row in rows if row.lease_token == tokens[row.id]}


def _end_attempt(
    assessment: Assessment, attempt: FailedAttempt, allowed: Mapping[Priority, dt.timedelta]
) -> None:
    if not leases.end_attempt(assessment, attempt):
        if attempt.failure is Failure.WORKER_LOST:
            ring_after_commit()
        return
    _set_urgency(assessment, {*_so_far(assessment), WITHOUT_ANSWER}, allowed)
    db.session.flush()
    audit.record(
        actor=None,
        action=f"{_word(assessment)}.failed",
        subject=assessment,
        case_id=assessment.case_id,
        failure=attempt.failure,
        attempt=assessment.attempt_count,
    )


def _so_far(assessment: Assessment) -> set[Priority]:
    """What a case has been found to be until now; nothing for what is read unseen."""
    return set() if assessment.purpose is Purpose.SHADOW else {assessment.priority}


def _unseen(reading: Assessment, version: ModelVersion) -> Assessment:
    return Assessment(
        case_id=reading.case_id,
        model_version=version,
        purpose=Purpose.SHADOW,
        metadata_fed=reading.metadata_fed,
        input_sha256=reading.input_sha256,
        state=State.SCHEDULED,
        scheduled_at=now(),
        attempt_count=0,
        priority_rank=SHADOW_RANK,
        due_at=reading.due_at,
        images=[
            AssessedImage(
                image_id=image.image_id, position=image.position, image_sha256=image.image_sha256
            )
            for image in reading.images
        ],
    )


def _set_urgency(
    assessment: Assessment,
    priorities: Collection[Priority],
    allowed: Mapping[Priority, dt.timedelta],
) -> None:
    """The highest of the priorities that a case has for one reason or another, and the shortest
    time that they allow."""
    assessment.priority_rank = max(priority.rank for priority in priorities)
    assessment.raised_by_id = None
    shortest = min(allowed[priority] for priority in priorities)
    assessment.due_at = assessment.case.submitted_at + shortest


def hasten(*, case: Case) -> None:
    """Have the current assessment of a case that the caller holds wait no longer than the priority
    that is asked for today allows. It never moves down by this."""
    current = hold_current(case=case)
    if current is None:
        return
    allowed = allowances(case.reading_task_id, case.site_id)[case.priority]
    current.priority_rank = max(current.priority_rank, case.priority.rank)
    current.due_at = min(current.due_at, case.submitted_at + allowed)


def _supersede(assessment: Assessment) -> None:
    assessment.superseded_at = now()
    if assessment.state.is_open:
        assessment.state = State.CANCELLED
        leases.let_go(assessment)
    db.session.flush()


def _most_urgent(limit: int, bundle_sha256s: Collection[str]) -> Sequence[Row[int, int, int]]:
    """Up to `limit` waiting rows of the highest rank that has any free, locked, oldest first."""
    versions = db.session.scalars(
        select(ModelVersion.id).where(ModelVersion.bundle_sha256.in_(bundle_sha256s))
    ).all()
    waits = is_due() & Assessment.model_version_id.in_(versions)
    image_count = (
        select(func.count(AssessedImage.id))
        .where(AssessedImage.assessment_id == Assessment.id)
        .scalar_subquery()
    )
    highest = select(func.max(Assessment.priority_rank)).where(waits)
    rank = db.session.scalar(highest)
    while rank is not None:
        waiting = db.session.execute(
            select(Assessment.id, Assessment.attempt_count, image_count.label("image_count"))
            .where(waits, Assessment.priority_rank == rank)
            .order_by(Assessment.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        if waiting:
            return waiting
        rank = db.session.scalar(highest.where(Assessment.priority_rank < rank))
    return []


def _claims(token: str, ids: Sequence[int]) -> list[Claim]:
    rows = db.session.execute(
        select(
            Assessment.id,
            Assessment.attempt_count,
            Assessment.metadata_fed,
            ModelVersion.bundle_sha256,
        )
        .join(ModelVersion, Assessment.model_version_id == ModelVersion.id)
        .where(Assessment.id.in_(ids))
        .order_by(Assessment.id)
    ).all()
    images: dict[int, list[str]] = {row.id: [] for row in rows}
    for assessment_id, image_sha256 in db.session.execute(
        select(AssessedImage.assessment_id, AssessedImage.image_sha256)
        .where(AssessedImage.assessment_id.in_(ids))
        .order_by(AssessedImage.position)
    ):
        images[assessment_id].append(image_sha256)
    return [
        Claim(
            assessment_id=row.id,
            lease_token=token,
            attempt=row.attempt_count,
            bundle_sha256=row.bundle_sha256,
            image_sha256s=tuple(images[row.id]),
            metadata=row.metadata_fed["raw"],
        )
        for row in rows
    ]
