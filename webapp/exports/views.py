"""Taking a report or a list out of Firstlook. Each time is on record."""

from typing import Any

from flask import Blueprint, Response, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import audit
from webapp.cases.queries import get_case
from webapp.db import now
from webapp.exports.report import report
from webapp.exports.table import as_csv
from webapp.permissions import Permission, require, signed_in_user
from webapp.reviews.queries import latest_reviews, may_see_answer, reviewers
from webapp.triage import queries
from webapp.triage.worklist_forms import WorklistForm

blueprint = Blueprint("exports", __name__)

MAX_CASES = 5000
"""In one table."""


@blueprint.get("/cases/<int:case_id>/report.pdf")
@require(Permission.VIEW_CASES)
def case_report(case_id: int) -> ResponseReturnValue:
    """A case's report as it stands, for printing or filing elsewhere."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    if case.id not in may_see_answer(actor=signed_in_user(), case_ids=[case.id]):
        flash(_("Save your own impression first: the report tells what the model found."))
        return redirect(url_for("triage.case", case_id=case.id), 303)
    review = latest_reviews([case.id]).get(case.id)
    current, *earlier = queries.readings(case)
    # What is signed is signed on one answer, whatever a newer model says.
    signed_on = (reading for reading in earlier if review and reading.id == review.assessment_id)
    assessment = next(signed_on, current)
    page = report(case, assessment, review, made_by=signed_in_user())
    audit.record_look(
        actor=signed_in_user(),
        action="report.exported",
        subject=case,
        patient_id=case.patient_id,
        version=review.version if review else 0,
    )
    return _download(page, "application/pdf", f"case-{case.id}.pdf")


@blueprint.get("/cases.csv")
@require(Permission.VIEW_CASES)
def case_table() -> ResponseReturnValue:
    """The cases of a worklist, filtered and ordered as it is; all of them, or none."""
    form = WorklistForm(
        request.args,
        reading_tasks=queries.offered_reading_tasks(),
        reviewers=reviewers(actor=signed_in_user()),
    )
    rows = queries.rows_of(actor=signed_in_user(), filters=form.filters(), limit=MAX_CASES + 1)
    if len(rows) > MAX_CASES:
        flash(_("These are more than %(max)s cases: take fewer at once.", max=MAX_CASES))
        arguments: dict[str, Any] = {**form.arguments()}
        return redirect(url_for("triage.worklist", **arguments), 303)
    audit.record_look(actor=signed_in_user(), action="case.exported", count=len(rows))
    name = f"cases-{now():%Y-%m-%d-%H%M}.csv"
    return _download(as_csv(rows).encode("utf-8-sig"), "text/csv", name)


def _download(content: bytes, media_type: str, name: str) -> Response:
    response = Response(content, mimetype=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
