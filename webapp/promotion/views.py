"""Pages on which models are compared, promoted, taken back, and watched unseen. They show no
patient: cases are numbers there."""

import datetime as dt

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import audit, storage
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import get_reading_task, reading_tasks
from webapp.db import now
from webapp.errors import Conflict, NotFound
from webapp.permissions import Permission, poll, require, signed_in_user
from webapp.promotion import queries, services, wording
from webapp.promotion.forms import FirstForm, MomentForm, PlanForm, RequestForm, UnseenForm
from webapp.promotion.models import ChangePlan, Comparison, Decision
from webapp.promotion.plans import expected_half_width, subjects_needed
from webapp.registry.models import ModelVersion
from webapp.registry.queries import get_version, ledger, versions_of
from webapp.rendering import fragment

blueprint = Blueprint("promotion", __name__)
for words in (wording.check_label, wording.check_value, wording.refused, wording.signed_points):
    blueprint.add_app_template_filter(words)


@blueprint.get("/changes")
@require(Permission.MONITOR)
def standings() -> ResponseReturnValue:
    """Every reading task: what serves it, what might, and what waits for a decision."""
    standings = [queries.standing(task) for task in reading_tasks()]
    return render_template("promotion/standings.html", standings=standings)


@blueprint.get("/changes/<int:reading_task_id>")
@require(Permission.MONITOR)
def standing(reading_task_id: int) -> ResponseReturnValue:
    """One reading task: its versions, what may be done with each, and its ledger."""
    return _standing_page(get_reading_task(reading_task_id))


@blueprint.post("/changes/<int:reading_task_id>/rollback")
@require(Permission.MONITOR)
def roll_back(reading_task_id: int) -> ResponseReturnValue:
    """Have the version serve again that served before."""
    task = get_reading_task(reading_task_id)
    shown_id = request.form.get("shown", 0, type=int)
    try:
        line = services.roll_back(actor=signed_in_user(), reading_task=task, shown_id=shown_id)
    except Conflict as conflict:
        flash(wording.refusal(conflict), "danger")
        return _standing_page(task), conflict.status
    said = _("Version %(version)s serves again.", version=line.model_version.version)
    flash(said, "good")
    return _to(task)


@blueprint.get("/changes/<int:reading_task_id>/plan")
@require(Permission.MONITOR)
def plan(reading_task_id: int) -> ResponseReturnValue:
    """What a candidate has to show, its versions, and the form to change it."""
    task = get_reading_task(reading_task_id)
    return _plan_page(task, PlanForm(queries.plan_in_force(task.id)))


@blueprint.post("/changes/<int:reading_task_id>/plan")
@require(Permission.MANAGE_MODELS)
def change_plan(reading_task_id: int) -> ResponseReturnValue:
    """Make a new version of the plan, or show the form again with what stands against it."""
    task = get_reading_task(reading_task_id)
    form = PlanForm(queries.plan_in_force(task.id))
    if not form.validate():
        return _plan_page(task, form), 422
    try:
        latest = services.change_plan(
            actor=signed_in_user(),
            reading_task=task,
            plan=form.plan(),
            reason=form.reason.data,
            shown=form.shown_version(),
        )
    except Conflict as conflict:
        form.explain(conflict)
        return _plan_page(task, form), conflict.status
    if latest is None:
        flash(_("Nothing was changed: it is so already."))
    else:
        flash(_("Saved. It holds for every comparison that is asked for from now on."), "good")
    return redirect(url_for("promotion.plan", reading_task_id=task.id), 303)


@blueprint.post("/models/<int:model_id>/comparisons")
@require(Permission.MANAGE_MODELS)
def request_comparison(model_id: int) -> ResponseReturnValue:
    """Have a version compared with the one that serves."""
    candidate = get_version(model_id)
    try:
        comparison = services.request_comparison(actor=signed_in_user(), candidate=candidate)
    except Conflict as conflict:
        flash(wording.refusal(conflict), "danger")
        return _standing_page(candidate.reading_task), conflict.status
    return redirect(url_for("promotion.comparison", comparison_id=comparison.id), 303)


@blueprint.get("/comparisons/<int:comparison_id>")
@require(Permission.MONITOR)
def comparison(comparison_id: int) -> ResponseReturnValue:
    """A comparison: where it stands, or its figures and what the plan makes of them."""
    return _comparison_page(queries.get_comparison(comparison_id), RequestForm())


@blueprint.get("/comparisons/<int:comparison_id>/status")
@require(Permission.MONITOR)
@poll
def comparison_status(comparison_id: int) -> ResponseReturnValue:
    """The part of its page that says where it stands, and then what came of it."""
    comparison = queries.get_comparison(comparison_id)
    return fragment("promotion/_comparison.html", **_shown(comparison, RequestForm(formdata=None)))


@blueprint.get("/comparisons/<int:comparison_id>/predictions.csv")
@require(Permission.MONITOR)
def predictions(comparison_id: int) -> ResponseReturnValue:
    """What both versions said of each picture of the locked test set."""
    comparison = queries.get_comparison(comparison_id)
    if comparison.predictions_sha256 is None:
        raise NotFound("predictions", comparison_id=comparison_id)
    content = storage.get(comparison.predictions_sha256)
    audit.record_look(actor=signed_in_user(), action="comparison.exported", subject=comparison)
    response = Response(content, mimetype="text/csv")
    name = f"comparison-{comparison.id}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.post("/comparisons/<int:comparison_id>/request")
@require(Permission.MANAGE_MODELS)
def request_promotion(comparison_id: int) -> ResponseReturnValue:
    """Ask that the candidate serve."""
    comparison, form = queries.get_comparison(comparison_id), RequestForm()
    if not form.validate():
        return _comparison_page(comparison, form), 422
    try:
        services.request_promotion(
            actor=signed_in_user(), comparison=comparison, reason=form.reason.data
        )
    except Conflict as conflict:
        flash(wording.refusal(conflict), "danger")
        return _comparison_page(comparison, form), conflict.status
    flash(_("Asked. Somebody else who may approve models decides on it."), "good")
    return _to(comparison.candidate.reading_task)


@blueprint.post("/changes/<int:reading_task_id>/first")
@require(Permission.MANAGE_MODELS)
def request_first(reading_task_id: int) -> ResponseReturnValue:
    """Ask that a version serve a reading task that none serves."""
    task = get_reading_task(reading_task_id)
    form = _first_form(task)
    if not form.validate():
        return _standing_page(task, form), 422
    try:
        services.request_first(
            actor=signed_in_user(),
            version=get_version(form.version.data),
            reason=form.reason.data,
        )
    except Conflict as conflict:
        flash(wording.refusal(conflict), "danger")
        return _standing_page(task, form), conflict.status
    flash(_("Asked. Somebody else who may approve models decides on it."), "good")
    return _to(task)


@blueprint.post("/promotion-requests/<int:request_id>/approve")
@require(Permission.APPROVE_MODELS)
def approve(request_id: int) -> ResponseReturnValue:
    """Let the candidate of a request serve, or be the first of two who do."""
    asked = queries.get_request(request_id)
    try:
        line = services.approve(actor=signed_in_user(), request=asked)
    except Conflict as conflict:
        flash(wording.refusal(conflict), "danger")
        return _standing_page(asked.reading_task), conflict.status
    if line is None:
        said = _("Approved. It serves once one more person has approved it.")
    else:
        said = _("Version %(version)s serves from now on.", version=line.model_version.version)
    flash(said, "good")
    return _to(asked.reading_task)


@blueprint.post("/promotion-requests/<int:request_id>/decline")
@require(Permission.MONITOR)
def decline(request_id: int) -> ResponseReturnValue:
    """Decline a request, or withdraw one's own."""
    asked = queries.get_request(request_id)
    try:
        decision = services.decline(actor=signed_in_user(), request=asked)
    except Conflict as conflict:
        flash(wording.refusal(conflict), "danger")
        return _standing_page(asked.reading_task), conflict.status
    is_own = decision is Decision.WITHDRAWN
    flash(_("The request is withdrawn.") if is_own else _("The request is declined."), "good")
    return _to(asked.reading_task)


@blueprint.get("/models/<int:model_id>/unseen")
@require(Permission.MONITOR)
def unseen(model_id: int) -> ResponseReturnValue:
    """Where a version reads cases otherwise than the readings that count."""
    return _unseen_page(get_version(model_id), UnseenForm())


@blueprint.post("/models/<int:model_id>/unseen/start")
@require(Permission.MANAGE_MODELS)
def start_unseen(model_id: int) -> ResponseReturnValue:
    """Have a version read every new case unseen by clinicians."""
    version, form = get_version(model_id), UnseenForm()
    if not form.validate():
        return _unseen_page(version, form), 422
    try:
        services.start_shadow(actor=signed_in_user(), version=version, days=form.days.data)
    except Conflict as conflict:
        flash(wording.refusal(conflict), "danger")
        return _standing_page(version.reading_task), conflict.status
    flash(_("It reads every new case from now on. Clinicians do not see what it says."), "good")
    return redirect(url_for("promotion.unseen", model_id=version.id), 303)


@blueprint.post("/models/<int:model_id>/unseen/end")
@require(Permission.MANAGE_MODELS)
def end_unseen(model_id: int) -> ResponseReturnValue:
    """Have a version read no more cases unseen."""
    version = get_version(model_id)
    services.end_shadow(actor=signed_in_user(), version=version)
    flash(_("It reads no more cases. What it said of those that it has read is kept."), "good")
    return redirect(url_for("promotion.unseen", model_id=version.id), 303)


@blueprint.get("/ledger")
@require(Permission.MONITOR)
def whole_ledger() -> ResponseReturnValue:
    """Which version served which reading task when, and which one served a case at a moment."""
    form = MomentForm(request.args)
    is_asked = "case" in request.args
    found = None
    if is_asked and form.validate():
        moment = form.at.data.replace(tzinfo=dt.UTC) if form.at.data else now()
        try:
            line, reading = queries.serving_case(form.case.data, moment)
        except NotFound:
            form.case.errors = [_("There is no such case.")]
        else:
            found = {"case_id": form.case.data, "at": moment, "line": line, "reading": reading}
    page = render_template(
        "promotion/ledger.html", lines=ledger(), form=form, found=found, is_asked=is_asked
    )
    return page, 422 if is_asked and found is None else 200


def _to(task: ReadingTask) -> ResponseReturnValue:
    return redirect(url_for("promotion.standing", reading_task_id=task.id), 303)


def _standing_page(task: ReadingTask, form: FirstForm | None = None) -> str:
    return render_template(
        "promotion/standing.html",
        standing=queries.standing(task),
        lines=ledger(task.id),
        form=form or _first_form(task),
    )


def _first_form(task: ReadingTask) -> FirstForm:
    return FirstForm([version for version in versions_of(task.id) if version.may_serve])


def _unseen_page(version: ModelVersion, form: UnseenForm) -> str:
    return render_template(
        "promotion/unseen.html",
        version=version,
        standing=queries.standing(version.reading_task),
        agreement=queries.agreement(version),
        limit=queries.DIFFERING_MAX,
        form=form,
    )


def _plan_page(task: ReadingTask, form: PlanForm) -> str:
    in_force = queries.plan_in_force(task.id)
    return render_template(
        "promotion/plan.html",
        task=task,
        form=form,
        in_force=in_force,
        versions=queries.plans(task.id),
        no_longer=queries.no_longer_approvers(in_force.plan),
        resolution=_resolution(task, in_force),
    )


def _resolution(task: ReadingTask, in_force: ChangePlan) -> dict[str, float | int | bool]:
    """Whether the locked test set is large enough for the plan's margins."""
    plan, subject_count = in_force.plan, queries.test_subject_count(task)
    half_width = expected_half_width(subject_count)
    in_group = expected_half_width(plan.subgroup_finding_min)
    return {
        "subject_count": subject_count,
        "half_width": half_width,
        "resolves": half_width < plan.margin,
        "needed": subjects_needed(plan.margin),
        "in_group": in_group,
        "resolves_group": in_group < plan.subgroup_margin,
        "needed_in_group": subjects_needed(plan.subgroup_margin),
    }


def _comparison_page(comparison: Comparison, form: RequestForm) -> str:
    return render_template("promotion/comparison.html", **_shown(comparison, form))


def _shown(comparison: Comparison, form: RequestForm) -> dict[str, object]:
    task = comparison.candidate.reading_task
    return {
        "comparison": comparison,
        "form": form,
        "findings": {finding.code: finding.name for finding in task.findings},
        "figures": wording.FIGURES,
        "group_name": wording.group_name,
        "is_up_to_date": queries.is_up_to_date(comparison),
        "requests": queries.requests_of(comparison),
        "open_request": queries.open_request(task.id),
    }
