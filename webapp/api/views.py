"""The API: what programs with an access token may do in its user's name.

The first lines of the views are their words in the document.
"""

from typing import Any

from flask import Blueprint, current_app
from werkzeug.datastructures import MultiDict

from webapp import audit
from webapp.api.document import document
from webapp.api.forms import CaseForm, request_token
from webapp.api.operations import operation
from webapp.api.problems import refused
from webapp.api.schemas import (
    CasePage,
    CaseQuery,
    NewCase,
    NewReview,
    Once,
    Result,
    Review,
    Status,
)
from webapp.cases.models import Case
from webapp.cases.queries import get_case
from webapp.errors import Conflict, DomainError, Invalid, NotFound
from webapp.permissions import Scope, signed_in_user, takes_images
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis, may_see_answer, reviewers
from webapp.reviews.services import Verdict
from webapp.triage import queries, services
from webapp.triage.forms import filed_elsewhere
from webapp.triage.worklist_forms import WorklistForm

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
blueprint.register_error_handler(DomainError, refused)


@blueprint.get("/openapi.json")
@operation(scope=None, answer=None)
def openapi() -> dict[str, Any]:
    """This document."""
    return document(current_app)


@blueprint.get("/cases")
@operation(scope=Scope.CASES_READ, query=CaseQuery, answer=CasePage)
def cases(query: CaseQuery) -> CasePage:
    """A page of the worklist."""
    form = WorklistForm(
        MultiDict(query.model_dump(mode="json", exclude_none=True)),
        reading_tasks=queries.offered_reading_tasks(),
        reviewers=reviewers(actor=signed_in_user()),
    )
    filters = form.filters()
    page = queries.worklist(actor=signed_in_user(), filters=filters, number=query.page)
    audit.record_look(
        actor=signed_in_user(),
        action="case.exported",
        count=len(page.items),
        by_identifier=bool(filters.identifier),
    )
    return CasePage.of(page)


@blueprint.post("/cases")
@takes_images
@operation(scope=Scope.CASES_WRITE, headers=Once, form=NewCase, answer=Status, status=201)
def submit_case(headers: Once, form: NewCase) -> Status:
    """Send a case to be read.

    It is answered at once; the reading takes a moment. Ask for its status until it is completed,
    abstained or failed.
    """
    actor = signed_in_user()
    filled = CaseForm(form, actor=actor, form_token=request_token(actor, headers.idempotency_key))
    filled.check()
    try:
        case = services.submit(actor=actor, submission=filled.submission())
    except Conflict as conflict:
        raise _told(conflict) from conflict
    return _status(case.id)


@blueprint.get("/cases/<int:case_id>")
@operation(scope=Scope.CASES_READ, answer=Status)
def case_status(case_id: int) -> Status:
    """Where a case stands."""
    return _status(case_id)


@blueprint.get("/cases/<int:case_id>/result")
@operation(scope=Scope.CASES_READ, answer=Result)
def case_result(case_id: int) -> Result:
    """What was found in a case, and what was decided.

    Where the site asks for an own impression first, it is refused until that is saved, on the
    case's page. Every time that it is told is on the record.
    """
    case = get_case(actor=signed_in_user(), case_id=case_id)
    if case.id not in may_see_answer(actor=signed_in_user(), case_ids=[case.id]):
        raise Conflict("impression_first")
    told = Result.of(case, queries.readings(case)[0], basis(case))
    audit.record_look(
        actor=signed_in_user(),
        action="result.exported",
        subject=case,
        patient_id=case.patient_id,
        version=told.review.version if told.review else 0,
    )
    return told


@blueprint.post("/cases/<int:case_id>/reviews")
@operation(scope=Scope.REVIEWS_WRITE, headers=Once, body=NewReview, answer=Review, status=201)
def sign_review(case_id: int, headers: Once, body: NewReview) -> Review:
    """Sign a decision on a case, or amend a signed one.

    It is signed in the name of the access token's user, and is never changed.
    """
    actor = signed_in_user()
    case = get_case(actor=actor, case_id=case_id)
    review = reviews.sign(
        actor=actor,
        case=case,
        verdict=_verdict(case, body),
        shown=body.basis,
        form_token=request_token(actor, headers.idempotency_key),
    )
    return Review.of(review)


def _status(case_id: int) -> Status:
    rows = queries.rows(actor=signed_in_user(), case_ids=[case_id])
    if not rows:
        raise NotFound("case", case_id=case_id)
    return Status.of(rows[0])


def _told(conflict: Conflict) -> Conflict:
    """The same, with a sentence on each image that is filed for someone else. It names another
    patient: that it was shown is on record."""
    images = conflict.facts.get("images", ())
    if images:
        audit.record_look(actor=signed_in_user(), action="duplicates.shown", count=len(images))
    errors = [{"field": "images", "detail": filed_elsewhere(image)} for image in images]
    return Conflict(conflict.reason, errors=errors)


def _verdict(case: Case, body: NewReview) -> Verdict:
    if body.finding and body.decision is not Decision.OVERRIDE:
        raise Invalid("finding_not_needed")
    named = (finding.id for finding in case.reading_task.findings if finding.code == body.finding)
    return Verdict(
        decision=body.decision,
        finding_id=next(named, None),
        comment=body.comment,
        reason=body.reason,
    )
