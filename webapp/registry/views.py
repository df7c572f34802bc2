"""The models that read cases: what they are for, how good they are, which of them serve."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webapp.permissions import Permission, require
from webapp.registry import queries
from webapp.registry.facts import share

blueprint = Blueprint("registry", __name__)
blueprint.add_app_template_filter(share)


@blueprint.get("/models")
@require(Permission.VIEW_MODELS)
def models() -> ResponseReturnValue:
    """Every reading task with the versions installed for it."""
    return render_template("registry/models.html", tasks=queries.installed_by_task())


@blueprint.get("/models/<int:model_id>")
@require(Permission.VIEW_MODELS)
def model(model_id: int) -> ResponseReturnValue:
    """One version: what it is for and not for, what it finds, and how well."""
    return render_template("registry/model.html", installed=queries.get_installed(model_id))
