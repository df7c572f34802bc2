"""Signing decisions on cases. A form that is refused has a page of its own; a case's page is of
`triage`."""

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from webapp import audit
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.cases.queries import get_case
from webapp.errors import Conflict, Invalid
from webapp.permissions import Permission, require
from webapp.reviews import queries, services
from webapp.reviews.forms import AssignmentForm, BasisForm, DecisionForm, VoidForm

blueprint = Blueprint("reviews", __name__)


@blueprint.post("/cases/<int:case_id>/reviews")
@require(Permission.REVIEW_CASES)
def sign(case_id: int) -> ResponseReturnValue:
    """Sign a decision, or amend a signed one."""
    case = get_case(actor=_actor(), case_id=case_id)
    form = DecisionForm(case, queries.basis(case))
    if not form.validate():
        return _page(case, form, "decision", 422)
    try:
        review = services.sign(
            actor=_actor(),
            case=case,
            verdict=form.verdict(),
            shown=form.shown.data,
            form_token=form.form_token.data,
        )
    except Invalid as error:
        form.refuse(error)
        return _page(case, form, "decision", error.status)
    except Conflict as conflict:
        form = DecisionForm(case, queries.basis(case))
        form.validate()
        form.explain(conflict)
        return _page(case, form, "decision", conflict.status)
    flash(_("Signed: %(decision)s.", decision=review.in_words), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.post("/cases/<int:case_id>/void")
@require(Permission.REVIEW_CASES)
def void(case_id: int) -> ResponseReturnValue:
    """Mark a case that nobody has signed as one that should not be there."""
    case = get_case(actor=_actor(), case_id=case_id)
    form = VoidForm(queries.basis(case))
    if not form.validate():
        return _page(case, form, "void", 422)
    try:
        services.void(
            actor=_actor(),
            case=case,
            reason=form.reason.data,
            shown=form.shown.data,
            form_token=form.form_token.data,
        )
    except Invalid as error:
        form.refuse(error)
        return _page(case, form, "void", error.status)
    except Conflict as conflict:
        form = VoidForm(queries.basis(case))
        form.explain(conflict)
        return _page(case, form, "void", conflict.status)
    flash(_("The case is void. It is kept, and marked as such."), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.post("/cases/<int:case_id>/assignment")
@require(Permission.REVIEW_CASES)
def assign(case_id: int) -> ResponseReturnValue:
    """Take a case, hand it over, or release it."""
    case = get_case(actor=_actor(), case_id=case_id)
    form = AssignmentForm(case, queries.colleagues(case))
    to = form.chosen()
    try:
        services.assign(actor=_actor(), case=case, to=to, shown_id=form.shown.data)
    except Conflict:
        flash(_("Someone has taken or released this case meanwhile. Look at it again."), "warning")
    else:
        if to is None:
            flash(_("The case is released: it is everybody's again."), "good")
        else:
            flash(_("The case is now with %(name)s.", name=to.full_name), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


def _actor() -> User:
    return current_user._get_current_object()


def _page(case: Case, form: BasisForm, kind: str, status: int) -> ResponseReturnValue:
    """A form that was refused, with what is on record beside it."""
    audit.record_look(actor=_actor(), action="case.opened", subject=case)
    page = render_template(
        "reviews/refused.html", case=case, form=form, kind=kind, reviews=queries.reviews(case)
    )
    return page, status
