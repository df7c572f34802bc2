"""What today's model reads otherwise, at the sites of whoever looks, and having it read again."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import ngettext

from webapp import audit
from webapp.permissions import Permission, require, signed_in_user
from webapp.promotion import queries
from webapp.rereadings.services import read_all_again

blueprint = Blueprint("rereadings", __name__)


@blueprint.get("/cases/read-otherwise")
@require(Permission.VIEW_CASES)
def read_otherwise() -> ResponseReturnValue:
    """Recent cases of which today's model says something else than was answered."""
    differences = queries.cases_read_otherwise(signed_in_user())
    audit.record_look(
        actor=signed_in_user(), action="read_otherwise.opened", count=len(differences)
    )
    return render_template(
        "rereadings/read_otherwise.html",
        differences=differences,
        limit=queries.DIFFERING_MAX,
    )


@blueprint.post("/cases/read-otherwise")
@require(Permission.SUBMIT_CASES)
def read_again() -> ResponseReturnValue:
    """Have those read again that were chosen; their answers are kept."""
    case_ids = set(request.form.getlist("case", type=int))
    count = read_all_again(actor=signed_in_user(), case_ids=case_ids)
    said = ngettext(
        "%(num)s case is read by today's model. The earlier answer is kept.",
        "%(num)s cases are read by today's model. The earlier answers are kept.",
        count,
    )
    flash(said, "good" if count else "notice")
    return redirect(url_for("rereadings.read_otherwise"), 303)
