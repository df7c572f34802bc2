"""Erasing a patient by an administrator, who sees none: by what the site says, and what remains."""

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp import audit
from webapp.accounts.models import Site
from webapp.accounts.queries import all_sites
from webapp.config import current_settings
from webapp.datasets.queries import snapshots_of_patient
from webapp.db import db
from webapp.erasures import queries, services
from webapp.erasures.forms import ErasureForm
from webapp.errors import Conflict, Invalid, NotFound
from webapp.permissions import Permission, require, signed_in_user
from webapp.training.queries import models_of_patient

blueprint = Blueprint("erasures", __name__)


@blueprint.get("/erasures")
@require(Permission.ERASE_PATIENTS)
def erasures() -> ResponseReturnValue:
    """A form to erase a patient, and who was erased lately."""
    return _page(ErasureForm(all_sites()))


@blueprint.post("/erasures")
@require(Permission.ERASE_PATIENTS)
def submit_erasure() -> ResponseReturnValue:
    """Erase a patient, or say what stands against it."""
    form = ErasureForm(all_sites())
    if not form.validate():
        return _page(form), 422
    try:
        erasure = services.erase_named(
            actor=signed_in_user(),
            site=db.session.get_one(Site, form.site_id.data),
            identifier=form.identifier.data,
            reason=form.reason.data,
        )
    except (Conflict, Invalid, NotFound) as refusal:
        form.explain(refusal.reason)
        return _page(form), 422
    return redirect(url_for("erasures.erasure", erasure_id=erasure.id), 303)


@blueprint.get("/erasures/<int:erasure_id>")
@require(Permission.ERASE_PATIENTS)
def erasure(erasure_id: int) -> ResponseReturnValue:
    """What went with a patient, and what remains."""
    erasure = queries.get_erasure(erasure_id)
    audit.record_look(actor=signed_in_user(), action="erasure.opened", subject=erasure.patient)
    return render_template(
        "erasures/erasure.html",
        erasure=erasure,
        snapshots=snapshots_of_patient(erasure.patient),
        models=models_of_patient(erasure.patient),
    )


def _page(form: ErasureForm) -> str:
    return render_template(
        "erasures/erasures.html",
        form=form,
        latest=queries.latest(),
        retention_days=current_settings().retention_days,
    )
