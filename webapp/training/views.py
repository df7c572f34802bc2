"""Asking for trainings, and seeing them happen."""

from itertools import groupby

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.catalogue.queries import reading_task_by_code
from webapp.datasets.queries import coverage_of, get_snapshot
from webapp.errors import Conflict, Invalid
from webapp.permissions import Permission, poll, require, signed_in_user
from webapp.rendering import fragment
from webapp.training import chart, queries, services
from webapp.training.forms import RunForm, run_form
from webapp.training.models import Stage, TrainingRun

blueprint = Blueprint("training", __name__)
blueprint.add_app_template_global(queries.run_of, "training_of")

EPOCHS_SHOWN = 20


@blueprint.get("/training")
@require(Permission.MANAGE_MODELS)
def runs() -> ResponseReturnValue:
    """The runs of late."""
    return render_template("training/runs.html", runs=queries.latest_runs())


@blueprint.get("/training/new")
@require(Permission.MANAGE_MODELS)
def new_run() -> ResponseReturnValue:
    """The form for the recipe that is asked for, or all recipes to choose from."""
    name = request.args.get("recipe", "")
    if not name:
        groups = groupby(queries.recipes(), key=lambda recipe: recipe.reading_task)
        by_task = [
            (reading_task_by_code(code), code, list(recipes), len(queries.snapshots_of(code)))
            for code, recipes in groups
        ]
        return render_template("training/recipes.html", groups=by_task)
    return _form_page(_form(name))


@blueprint.post("/training/new")
@require(Permission.MANAGE_MODELS)
def submit_run() -> ResponseReturnValue:
    """Have it trained, or say what stands against it."""
    name = request.args.get("recipe", "")
    if not name:
        return redirect(url_for("training.new_run"), 303)
    form = _form(name)
    if not form.validate():
        return _form_page(form), 422
    try:
        run = services.request_run(
            actor=signed_in_user(),
            snapshot=get_snapshot(form.snapshot_id.data),
            recipe=form.recipe,
            init=form.init.data,
            overrides=form.overrides,
            device=form.device.data,
        )
    except Invalid as error:
        form.refuse(error)
        return _form_page(form), 422
    return redirect(url_for("training.run", run_id=run.id), 303)


@blueprint.get("/training/<int:run_id>")
@require(Permission.MANAGE_MODELS)
def run(run_id: int) -> ResponseReturnValue:
    """One run: how far it is, its curves, its log."""
    return render_template("training/run.html", **_status(queries.get_run(run_id)))


@blueprint.get("/training/<int:run_id>/status")
@require(Permission.MANAGE_MODELS)
@poll
def run_status(run_id: int) -> ResponseReturnValue:
    """The part of that page that changes by itself."""
    return fragment("training/_status.html", **_status(queries.get_run(run_id)))


@blueprint.post("/training/<int:run_id>/cancel")
@require(Permission.MANAGE_MODELS)
def void_run(run_id: int) -> ResponseReturnValue:
    """End a run; nothing of it is kept."""
    try:
        services.cancel(actor=signed_in_user(), run=queries.get_run(run_id))
    except Conflict:
        flash(_("This training is over already."))
    return redirect(url_for("training.run", run_id=run_id), 303)


@blueprint.post("/training/<int:run_id>/retry")
@require(Permission.MANAGE_MODELS)
def retry_run(run_id: int) -> ResponseReturnValue:
    """Have a failed run taken up again."""
    try:
        services.retry(actor=signed_in_user(), run=queries.get_run(run_id))
    except Conflict:
        flash(_("This training has not failed, or was started again already."))
    return redirect(url_for("training.run", run_id=run_id), 303)


def _form(recipe_name: str) -> RunForm:
    recipe = queries.get_recipe(recipe_name)
    task = reading_task_by_code(recipe.reading_task)
    return run_form(
        recipe,
        queries.snapshots_of(recipe.reading_task),
        queries.starts(recipe, task.id) if task else [],
    )


def _form_page(form: RunForm) -> str:
    task = reading_task_by_code(form.recipe.reading_task)
    return render_template(
        "training/new_run.html",
        form=form,
        recipe=form.recipe,
        task=task,
        coverage=coverage_of(task) if task else None,
    )


def _status(subject: TrainingRun) -> dict[str, object]:
    epochs = int(subject.recipe["training"]["epochs"])
    return {
        "subject": subject,
        "is_training": subject.stage is Stage.TRAINING,
        "charts": [
            (_("Loss"), chart.losses(subject.curves, epochs)),
            (_("On the tuning pictures"), chart.figures(subject.curves, epochs)),
        ]
        if subject.curves
        else [],
        "monitor": subject.recipe["training"]["monitor"],
        "epochs": list(reversed(subject.curves))[:EPOCHS_SHOWN],
    }
