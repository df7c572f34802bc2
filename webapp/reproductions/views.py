"""Asking whether an answer can be had again, and seeing how it compares."""

from flask import Blueprint, redirect, url_for
from flask.typing import ResponseReturnValue

from webapp.permissions import Permission, poll, require, signed_in_user
from webapp.rendering import fragment
from webapp.reproductions import queries, services

blueprint = Blueprint("reproductions", __name__)


@blueprint.post("/assessments/<int:assessment_id>/reproductions")
@require(Permission.VIEW_CASES)
def request_reproduction(assessment_id: int) -> ResponseReturnValue:
    """Have the same input read once more by the same model, and go back to the case."""
    assessment = queries.get_assessment(actor=signed_in_user(), assessment_id=assessment_id)
    reproduction = services.request(actor=signed_in_user(), assessment=assessment)
    page = url_for(
        "triage.case", case_id=assessment.case_id, _anchor=f"reproduction-{reproduction.id}"
    )
    return redirect(page, 303)


@blueprint.get("/reproductions/<int:reproduction_id>/status")
@require(Permission.VIEW_CASES)
@poll
def reproduction_status(reproduction_id: int) -> ResponseReturnValue:
    """The part of a case's page that says where a reproduction stands."""
    reproduction = queries.get_reproduction(actor=signed_in_user(), reproduction_id=reproduction_id)
    return fragment("reproductions/_reproduction.html", reproduction=reproduction)
