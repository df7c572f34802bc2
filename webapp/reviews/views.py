"""Signing decisions on cases. A form that is refused has a page of its own; a case's page is of
`triage`."""

from collections.abc import Callable
from typing import TypeVar

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_wtf import FlaskForm

from webapp import audit
from webapp.cases.models import Case
from webapp.cases.queries import get_case
from webapp.errors import Conflict, Invalid
from webapp.permissions import Permission, require, signed_in_user
from webapp.reviews import queries, services
from webapp.reviews.forms import (
    AssignmentForm,
    DecisionForm,
    ImpressionForm,
    OnceForm,
    OutcomeForm,
    SecondReadForm,
    VoidForm,
)

blueprint = Blueprint("reviews", __name__)

F = TypeVar("F", bound=OnceForm)


@blueprint.post("/cases/<int:case_id>/reviews")
@require(Permission.REVIEW_CASES)
def sign(case_id: int) -> ResponseReturnValue:
    """Sign a decision, or amend a signed one."""
    case = get_case(actor=signed_in_user(), case_id=case_id)

    def act(form: DecisionForm) -> str:
        review = services.sign(
            actor=signed_in_user(),
            case=case,
            verdict=form.verdict(),
            shown=form.shown.data,
            form_token=form.form_token.data,
        )
        return _("Signed: %(decision)s.", decision=review.in_words)

    return _answer(case, "decision", lambda: DecisionForm(case, queries.basis(case)), act)


@blueprint.post("/cases/<int:case_id>/void")
@require(Permission.REVIEW_CASES)
def void(case_id: int) -> ResponseReturnValue:
    """Mark a case that nobody has signed as one that should not be there."""
    case = get_case(actor=signed_in_user(), case_id=case_id)

    def act(form: VoidForm) -> str:
        services.void(
            actor=signed_in_user(),
            case=case,
            reason=form.reason.data,
            shown=form.shown.data,
            form_token=form.form_token.data,
        )
        return _("The case is void. It is kept, and marked as such.")

    return _answer(case, "void", lambda: VoidForm(queries.basis(case)), act)


@blueprint.post("/cases/<int:case_id>/outcomes")
@require(Permission.REVIEW_CASES)
def record_outcome(case_id: int) -> ResponseReturnValue:
    """Record what a case turned out to be, or correct it."""
    case = get_case(actor=signed_in_user(), case_id=case_id)

    def act(form: OutcomeForm) -> str:
        services.record_outcome(
            actor=signed_in_user(),
            case=case,
            found=form.found(),
            shown=form.shown.data,
            form_token=form.form_token.data,
        )
        return _("The outcome is on record.")

    return _answer(case, "outcome", lambda: OutcomeForm(case, queries.outcomes(case)), act)


@blueprint.post("/cases/<int:case_id>/impression")
@require(Permission.REVIEW_CASES)
def save_impression(case_id: int) -> ResponseReturnValue:
    """Keep what the clinician sees; from then on they are shown what others say."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    form = ImpressionForm(case)
    if not form.validate():
        return _page(case, form, "impression", 422)
    try:
        services.save_impression(actor=signed_in_user(), case=case, finding_id=form.finding_id())
    except Conflict:
        flash(_("You saved another impression of this case before. It is kept as it was."))
    else:
        flash(_("Your impression is kept."), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.get("/second-reads")
@require(Permission.VIEW_CASES)
def queue() -> ResponseReturnValue:
    """Where the second reader and the first disagree, and what waits for a second reader."""
    actor = signed_in_user()
    length = queries.QUEUE_LENGTH
    disagreements = queries.disagreements(actor=actor)
    waiting = queries.to_read_again(actor=actor) if actor.can(Permission.SECOND_READ) else None
    audit.record_look(
        actor=actor,
        action="second_reads.opened",
        count=len(disagreements[:length]) + len((waiting or ())[:length]),
    )
    return render_template(
        "reviews/queue.html", disagreements=disagreements, waiting=waiting, length=length
    )


@blueprint.post("/cases/<int:case_id>/second-reads")
@require(Permission.SECOND_READ)
def second_read(case_id: int) -> ResponseReturnValue:
    """Keep what a second reader says of the decision on a case."""
    case = get_case(actor=signed_in_user(), case_id=case_id)

    def act(form: SecondReadForm) -> str:
        second = services.second_read(
            actor=signed_in_user(),
            case=case,
            finding_id=form.finding_id(),
            comment=form.reading_comment.data,
            shown=form.shown.data,
        )
        if second.agrees:
            return _("Your reading is kept. It agrees with the decision.")
        return _("Your reading is kept. It differs from the decision: the case is in the queue.")

    return _answer(
        case, "second_read", lambda: SecondReadForm(case, queries.basis(case).review), act
    )


@blueprint.post("/cases/<int:case_id>/assignment")
@require(Permission.REVIEW_CASES)
def assign(case_id: int) -> ResponseReturnValue:
    """Take a case, hand it over, or release it."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    form = AssignmentForm(case, queries.colleagues(case), reader=signed_in_user())
    to = form.chosen()
    try:
        services.assign(actor=signed_in_user(), case=case, to=to, shown_id=form.shown.data)
    except Conflict:
        flash(_("Someone has taken or released this case meanwhile. Look at it again."), "warning")
    else:
        if to is None:
            flash(_("The case is released: it is everybody's again."), "good")
        else:
            flash(_("The case is now with %(name)s.", name=to.full_name), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


def _shows_answer(case: Case) -> bool:
    return case.id in queries.may_see_answer(actor=signed_in_user(), case_ids=[case.id])


def _answer(
    case: Case, kind: str, make: Callable[[], F], act: Callable[[F], str]
) -> ResponseReturnValue:
    """Do what a form asks and go back to the case, or show the form again with what stands against
    it. Most forms name what was found, and are for those who may see it."""
    page = redirect(url_for("triage.case", case_id=case.id), 303)
    if kind != "second_read" and not _shows_answer(case):
        flash(_("Save your own impression of this case first."), "warning")
        return page
    form = make()
    if not form.validate():
        return _page(case, form, kind, 422)
    try:
        flash(act(form), "good")
    except Invalid as error:
        form.refuse(error)
        return _page(case, form, kind, error.status)
    except Conflict as conflict:
        form = make()
        form.explain(conflict)
        return _page(case, form, kind, conflict.status)
    return page


def _page(case: Case, form: FlaskForm, kind: str, status: int) -> ResponseReturnValue:
    """A form that was refused, with the decisions on record beside it."""
    audit.record_look(actor=signed_in_user(), action="case.opened", subject=case)
    reviews = queries.reviews(case) if _shows_answer(case) else []
    page = render_template("reviews/refused.html", case=case, form=form, kind=kind, reviews=reviews)
    return page, status
