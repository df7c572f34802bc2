"""Sending a bundle to be installed, and following what becomes of it."""

from flask import Blueprint, Response, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import imaging
from webapp.bundles import queries, services
from webapp.bundles.forms import BundleForm
from webapp.bundles.refusals import sentence
from webapp.bundles.report import content_of, report_of
from webapp.permissions import Permission, poll, require, signed_in_user, takes_archive
from webapp.registry.queries import get_version
from webapp.rendering import fragment

blueprint = Blueprint("bundles", __name__)
blueprint.add_app_template_filter(sentence, "refusal")


@blueprint.get("/bundles")
@require(Permission.MANAGE_MODELS)
def bundles() -> ResponseReturnValue:
    """A form to send a bundle, and what became of those that were sent lately."""
    return _page(BundleForm())


@blueprint.post("/bundles")
@require(Permission.MANAGE_MODELS)
@takes_archive
def submit_bundle() -> ResponseReturnValue:
    """Take a bundle to be installed by a worker, or say what stands against it."""
    form = BundleForm()
    if not form.validate():
        return _page(form), 422
    services.request(
        actor=signed_in_user(),
        archive=form.archive_bytes,
        file_name=form.archive.data.filename or "",
        expected_sha256=form.expected_sha256.data or None,
    )
    flash(_("The bundle was sent. What becomes of it is told below."), "good")
    return redirect(url_for("bundles.bundles"), 303)


@blueprint.get("/bundles/<int:installation_id>/status")
@require(Permission.MANAGE_MODELS)
@poll
def installation_status(installation_id: int) -> ResponseReturnValue:
    """The part of that page that changes by itself."""
    return fragment(
        "bundles/_installation.html", installation=queries.get_installation(installation_id)
    )


@blueprint.get("/models/<int:model_id>/report")
@require(Permission.VIEW_MODELS)
def report(model_id: int) -> ResponseReturnValue:
    """How a version did on the locked test set, when it was made."""
    version = get_version(model_id)
    return render_template(
        "bundles/report.html",
        version=version,
        report=report_of(version),
        names={finding.code: finding.name for finding in version.reading_task.findings},
    )


@blueprint.get("/models/<int:model_id>/report.json")
@require(Permission.VIEW_MODELS)
def report_content(model_id: int) -> ResponseReturnValue:
    """The same, as it came with the bundle."""
    response = Response(content_of(get_version(model_id)), mimetype="application/json")
    name = f"report-{model_id}.json"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _page(form: BundleForm) -> str:
    return render_template(
        "bundles/bundles.html",
        form=form,
        latest=queries.latest(),
        limit_mb=imaging.MAX_ARCHIVE_BYTES // 1_000_000,
    )
