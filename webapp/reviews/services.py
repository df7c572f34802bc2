"""Signing decisions on cases."""

import datetime as dt
import secrets
from dataclasses import dataclass, replace

from webapp import audit
from webapp.accounts.models import User
from webapp.assessments.services import hold_current, settle
from webapp.cases.models import Case
from webapp.cases.services import plain_text
from webapp.catalogue.models import Finding
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.permissions import Permission
from webapp.reviews import queries
from webapp.reviews.models import (
    Decision,
    Impression,
    Outcome,
    OutcomeSource,
    ReportStatus,
    Review,
    SecondRead,
)
from webapp.reviews.queries import Basis

TEXT_LENGTH_MAX = 4000

_ACTIONS = {ReportStatus.AMENDED: "review.amended", ReportStatus.CANCELLED: "case.voided"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a filled form says of a case."""

    decision: Decision
    finding_id: int | None = None
    """Of an own finding; the model's needs no naming."""
    comment: str = ""
    reason: str = ""
    """Why a signed decision is amended, or the case is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a filled form says that a case turned out to be."""

    finding_id: int | None
    """None where it is no finding of the reading task."""
    source: OutcomeSource
    found_on: dt.date
    note: str


def sign(*, actor: User, case: Case, verdict: Verdict, shown: str, form_token: str) -> Review:
    """Sign a decision on a case: the first version, or an amendment of the latest. The same form
    again is the same review.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor may not decide.
        Conflict: `form_used`: the form was sent before, with other content;
            `impression_first`: the site asks for the actor's own impression before;
            `changed`: the answer or the latest version is not what was `shown`, the mark of a
            `Basis`.
        Invalid: `no_answer`: there is no finding of the model's to agree with;
            `finding_needed`: an own finding is one of the reading task, and not the model's;
            `reason_needed`: an amendment or a voiding without one; `too_long`: a text.
    """
    _require(actor, case, Permission.REVIEW_CASES)
    verdict = _cleaned(verdict)
    with transaction():
        hold_current(case=case)
        same = queries.review_of_form(case, form_token)
        if same is not None:
            _check_is_of(same, actor, verdict)
            return same
        basis = queries.basis(case)
        if case.id not in queries.may_see_answer(actor=actor, case_ids=[case.id]):
            raise Conflict("impression_first")
        if basis.mark != shown:
            raise Conflict("changed", basis=basis)
        return _sign(actor, case, verdict, basis, form_token)


def sign_again(*, actor: User, case: Case, reason: str) -> Review:
    """Amend the decision that counts by the same decision, since something else about the case has
    changed; what it was signed on stays. For a case that the caller holds.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor may not decide on cases.
        Conflict: `not_signed`: there is no decision, or the case is void.
        Invalid: `too_long`: the reason.
    """
    _require(actor, case, Permission.REVIEW_CASES)
    if len(reason) > TEXT_LENGTH_MAX:
        raise Invalid("too_long", limit=TEXT_LENGTH_MAX)
    with transaction():
        signed = queries.latest_reviews([case.id]).get(case.id)
        if signed is None or signed.decision is Decision.VOID:
            raise Conflict("not_signed")
        review = Review(
            case=case,
            version=signed.version + 1,
            assessment_id=signed.assessment_id,
            decision=signed.decision,
            finding=signed.finding,
            comment=signed.comment,
            reason=reason,
            form_token=secrets.token_hex(16),
            reviewer=actor,
            signed_at=now(),
        )
        db.session.add(review)
        _record_signed(actor, review)
    return review


def void(*, actor: User, case: Case, reason: str, shown: str, form_token: str) -> Review:
    """Mark a case that nobody has signed as one that should not be there; it is kept.

    Raises:
        Conflict: `signed`: what is signed is voided by an amendment.
        NotFound, Conflict, Invalid: as `sign`.
    """
    with transaction():
        hold_current(case=case)
        signed = queries.latest_reviews([case.id]).get(case.id)
        if signed is not None and signed.form_token != form_token:
            raise Conflict("signed")
        verdict = Verdict(decision=Decision.VOID, reason=reason)
        return sign(actor=actor, case=case, verdict=verdict, shown=shown, form_token=form_token)


def void_demonstration(*, actor: User, case: Case, reason: str) -> Review | None:
    """Void a case that only demonstrates, signed or not, also for who has not saved an impression
    of it: that says nothing of what was found. None where it is void already.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor may not decide.
        Invalid: `not_a_demonstration`.
    """
    _require(actor, case, Permission.REVIEW_CASES)
    if not case.is_demonstration:
        raise Invalid("not_a_demonstration", case_id=case.id)
    with transaction():
        hold_current(case=case)
        basis = queries.basis(case)
        if basis.review is not None and basis.review.decision is Decision.VOID:
            return None
        verdict = Verdict(decision=Decision.VOID, reason=reason)
        return _sign(actor, case, verdict, basis, secrets.token_hex(16))


def save_impression(*, actor: User, case: Case, finding_id: int | None) -> Impression:
    """Keep what a clinician sees in a case, before they are shown what others say: once, and as it
    is. None is for uncertain.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor may not decide on cases.
        Conflict: `impression_saved`: the actor has saved another one before.
        Invalid: `finding_needed`: it is no finding of the reading task.
    """
    _require(actor, case, Permission.REVIEW_CASES)
    findings = {finding.id: finding for finding in case.reading_task.findings}
    if finding_id is not None and finding_id not in findings:
        raise Invalid("finding_needed")
    with transaction():
        hold_current(case=case)
        saved = next((i for i in queries.impressions(case) if i.reader_id == actor.id), None)
        if saved is not None:
            if saved.finding_id != finding_id:
                raise Conflict("impression_saved")
            return saved
        impression = Impression(
            case=case,
            reader=actor,
            finding=findings[finding_id] if finding_id is not None else None,
            saved_at=now(),
        )
        db.session.add(impression)
        audit.record(
            actor=actor,
            action="impression.saved",
            subject=impression,
            case_id=case.id,
            finding_id=finding_id,
        )
    return impression


def record_outcome(
    *, actor: User, case: Case, found: Found, shown: str, form_token: str
) -> Outcome:
    """Record what a case turned out to be, as its reference label: the first version, or a
    correction of the latest. The same form again is the same outcome.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor may not decide on cases.
        Conflict: `form_used`: the form was sent before, with other content;
            `impression_first`: the site asks for the actor's own impression before;
            `changed`: the number of versions is not what was `shown`.
        Invalid: `finding_needed`: it is no finding of the reading task; `too_long`: the note;
            `note_needed`: no finding, or another source, without a note; `future`: the day.
    """
    _require(actor, case, Permission.REVIEW_CASES)
    if len(found.note) > TEXT_LENGTH_MAX:
        raise Invalid("too_long", limit=TEXT_LENGTH_MAX)
    found = replace(found, note=plain_text(found.note))
    with transaction():
        hold_current(case=case)
        outcomes = queries.outcomes(case)
        same = next((outcome for outcome in outcomes if outcome.form_token == form_token), None)
        if same is not None:
            if same.recorded_by_id != actor.id or _found(same) != found:
                raise Conflict("form_used")
            return same
        if case.id not in queries.may_see_answer(actor=actor, case_ids=[case.id]):
            raise Conflict("impression_first")
        if shown != str(len(outcomes)):
            raise Conflict("changed")
        _check_found(case, found)
        outcome = Outcome(
            case=case,
            version=len(outcomes) + 1,
            finding_id=found.finding_id,
            source=found.source,
            found_on=found.found_on,
            note=found.note,
            form_token=form_token,
            recorded_by=actor,
            recorded_at=now(),
        )
        db.session.add(outcome)
        audit.record(
            actor=actor,
            action="outcome.recorded",
            subject=outcome,
            case_id=case.id,
            version=outcome.version,
            finding_id=found.finding_id,
        )
    return outcome


def second_read(
    *, actor: User, case: Case, finding_id: int | None, comment: str, shown: str
) -> SecondRead:
    """Keep what a second reader says of the decision on a case. None is for uncertain.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor is no second reader.
        Conflict: `not_signed`: there is no decision, or the case is void;
            `changed`: its latest version is not the one `shown`;
            `own_review`: the actor signed it; `read_before`: and said something else.
        Invalid: `reading_needed`: it is no finding of the reading task; `too_long`: the comment.
    """
    _require(actor, case, Permission.SECOND_READ)
    if len(comment) > TEXT_LENGTH_MAX:
        raise Invalid("too_long", limit=TEXT_LENGTH_MAX)
    if finding_id not in [None, *(finding.id for finding in case.reading_task.findings)]:
        raise Invalid("reading_needed")
    comment = plain_text(comment)
    with transaction():
        hold_current(case=case)
        review = queries.latest_reviews([case.id]).get(case.id)
        if review is None or review.decision is Decision.VOID:
            raise Conflict("not_signed")
        if shown != str(review.version):
            raise Conflict("changed")
        if review.reviewer_id == actor.id:
            raise Conflict("own_review")
        own = (s for s in queries.second_reads(case) if s.reader_id == actor.id)
        same = next((second for second in own if second.review_id == review.id), None)
        if same is not None:
            if (same.finding_id, same.comment) != (finding_id, comment):
                raise Conflict("read_before")
            return same
        second = SecondRead(
            review=review, reader=actor, finding_id=finding_id, comment=comment, read_at=now()
        )
        db.session.add(second)
        audit.record(
            actor=actor,
            action="review.second_read",
            subject=second,
            site_id=case.site_id,
            case_id=case.id,
            version=review.version,
            finding_id=finding_id,
        )
    return second


def assign(*, actor: User, case: Case, to: User | None, shown_id: int | None) -> None:
    """Take a case, hand it over to a colleague, or release it; nothing if it stands so already.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor may not decide on cases.
        Conflict: `taken`: it is in other hands than those `shown_id` says.
        Invalid: `colleague`: nobody who may decide on it.
    """
    _require(actor, case, Permission.REVIEW_CASES)
    if to is not None and to not in queries.colleagues(case):
        raise Invalid("colleague")
    with transaction():
        db.session.refresh(case, ["assigned_to_id"], with_for_update={"of": Case})
        to_id = to.id if to else None
        if case.assigned_to_id == to_id:
            return
        if case.assigned_to_id != shown_id:
            raise Conflict("taken", case_id=case.id)
        case.assigned_to = to
        action = "case.released" if to is None else "case.handed_over"
        audit.record(
            actor=actor,
            action="case.taken" if to is not None and to.id == actor.id else action,
            subject=case,
            to_user_id=to_id,
        )


def _record_signed(actor: User, review: Review) -> None:
    db.session.flush()
    audit.record(
        actor=actor,
        action=_ACTIONS.get(review.status, "review.signed"),
        subject=review,
        case_id=review.case_id,
        version=review.version,
        decision=review.decision,
        finding_id=review.finding_id,
    )


def _found(outcome: Outcome) -> Found:
    return Found(
        finding_id=outcome.finding_id,
        source=outcome.source,
        found_on=outcome.found_on,
        note=outcome.note,
    )


def _check_found(case: Case, found: Found) -> None:
    known = [None, *(finding.id for finding in case.reading_task.findings)]
    if found.finding_id not in known:
        raise Invalid("finding_needed")
    if not found.note and (found.finding_id is None or found.source is OutcomeSource.OTHER):
        raise Invalid("note_needed")
    if found.found_on > now().date() + dt.timedelta(days=1):  # it is tomorrow somewhere
        raise Invalid("future")


def _require(actor: User, case: Case, permission: Permission) -> None:
    if not actor.can(permission) or case.site_id not in actor.site_ids:
        raise NotFound("case", case_id=case.id)


def _cleaned(verdict: Verdict) -> Verdict:
    for text in (verdict.comment, verdict.reason):
        if len(text) > TEXT_LENGTH_MAX:
            raise Invalid("too_long", limit=TEXT_LENGTH_MAX)
    return Verdict(
        decision=verdict.decision,
        finding_id=verdict.finding_id if verdict.decision is Decision.OVERRIDE else None,
        comment=plain_text(verdict.comment),
        reason=plain_text(verdict.reason),
    )


def _check_is_of(review: Review, actor: User, verdict: Verdict) -> None:
    """Content that is another one must not vanish in what was signed before."""
    is_own_finding = review.decision is Decision.OVERRIDE
    signed = Verdict(
        decision=review.decision,
        finding_id=review.finding_id if is_own_finding else None,
        comment=review.comment,
        reason=verdict.reason if review.reason is None else review.reason,
    )
    if review.reviewer_id != actor.id or signed != verdict:
        raise Conflict("form_used")


def _sign(actor: User, case: Case, verdict: Verdict, basis: Basis, form_token: str) -> Review:
    review = _signed(actor, case, verdict, basis, form_token)
    db.session.add(review)
    settle(case=case)
    _record_signed(actor, review)
    return review


def _signed(actor: User, case: Case, verdict: Verdict, basis: Basis, form_token: str) -> Review:
    needs_reason = basis.next_version > 1 or verdict.decision is Decision.VOID
    if needs_reason and not verdict.reason:
        raise Invalid("reason_needed")
    finding = _finding(case, verdict, basis)
    return Review(
        case=case,
        version=basis.next_version,
        assessment=basis.assessment,
        decision=verdict.decision,
        finding=finding,
        comment=verdict.comment,
        reason=verdict.reason if needs_reason else None,
        form_token=form_token,
        reviewer=actor,
        signed_at=now(),
    )


def _finding(case: Case, verdict: Verdict, basis: Basis) -> Finding | None:
    named = basis.assessment.finding if basis.assessment and basis.has_answer else None
    if verdict.decision is Decision.AGREE:
        if named is None:
            raise Invalid("no_answer")
        return named
    if verdict.decision is not Decision.OVERRIDE:
        return None
    finding = next((f for f in case.reading_task.findings if f.id == verdict.finding_id), None)
    if finding is None or finding is named:
        raise Invalid("finding_needed")
    return finding
