"""Asking where a model looked, and seeing it."""

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue

from webapp import audit
from webapp.errors import NotFound
from webapp.explanations import queries, services
from webapp.permissions import Permission, poll, require, signed_in_user
from webapp.rendering import fragment, stored_picture

blueprint = Blueprint("explanations", __name__)


@blueprint.post("/assessed-images/<int:assessed_image_id>/explanations")
@require(Permission.VIEW_CASES)
def request_explanation(assessed_image_id: int) -> ResponseReturnValue:
    """Have a probability of one image explained, and go back to the case."""
    read = queries.get_assessed_image(actor=signed_in_user(), assessed_image_id=assessed_image_id)
    explanation = services.request(actor=signed_in_user(), read=read, finding_id=_finding_id())
    page = url_for(
        "triage.case", case_id=read.assessment.case_id, _anchor=f"explanation-{explanation.id}"
    )
    return redirect(page, 303)


@blueprint.get("/explanations/<int:explanation_id>/status")
@require(Permission.VIEW_CASES)
@poll
def explanation_status(explanation_id: int) -> ResponseReturnValue:
    """The part of a case's page that says where an explanation stands."""
    explanation = queries.get_explanation(actor=signed_in_user(), explanation_id=explanation_id)
    return fragment("explanations/_explanation.html", explanation=explanation)


@blueprint.get("/explanations/<int:explanation_id>/heat-map")
@require(Permission.VIEW_CASES)
def heat_map(explanation_id: int) -> ResponseReturnValue:
    """The map alone, to be laid over the whole image."""
    explanation = queries.get_explanation(actor=signed_in_user(), explanation_id=explanation_id)
    if explanation.heat_map_sha256 is None:
        raise NotFound("heat_map", explanation_id=explanation_id)
    audit.record_look(
        actor=signed_in_user(),
        action="explanation.opened",
        subject=explanation,
        case_id=explanation.assessed_image.assessment.case_id,
    )
    return stored_picture(explanation.heat_map_sha256, "image/png", f"heat-map-{explanation.id}")


def _finding_id() -> int | None:
    """The finding that is asked about; None is the one that the model names, 0 none that is."""
    text = request.form.get("finding", "")
    if not text:
        return None
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else 0
