"""The course of a lesion or an eye, and saying which one an image shows."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import audit
from webapp.cases.models import Case
from webapp.cases.queries import find_patient, get_case, get_region, region_labels
from webapp.cases.services import name_regions
from webapp.errors import Conflict, Invalid
from webapp.history import queries
from webapp.history.chart import draw
from webapp.history.forms import CourseForm, KnownRegions, RegionForm
from webapp.permissions import Permission, require, signed_in_user
from webapp.security import sent_json

blueprint = Blueprint("history", __name__)


@blueprint.get("/regions/<int:region_id>")
@require(Permission.VIEW_CASES)
def region(region_id: int) -> ResponseReturnValue:
    """Two pictures of a lesion or an eye side by side, and how a probability moved."""
    region = get_region(actor=signed_in_user(), region_id=region_id)
    looks = queries.looks(actor=signed_in_user(), region=region)
    form = CourseForm(request.args, looks, region.reading_task.findings)
    trend = queries.trend(looks, form.chosen_finding())
    audit.record_look(
        actor=signed_in_user(),
        action="region.opened",
        subject=region,
        patient_id=region.patient_id,
    )
    return render_template(
        "history/region.html",
        region=region,
        looks={look.case.id: look for look in looks},
        form=form,
        trend=trend,
        chart=draw(trend),
        probability=queries.probability,
    )


@blueprint.post("/cases/<int:case_id>/region")
@require(Permission.SUBMIT_CASES)
def assign_region(case_id: int) -> ResponseReturnValue:
    """Say which lesion or eye of the patient the images of a case show."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    if case.reading_task.region_kind is None:
        raise Invalid("region")
    form = RegionForm.of(case)
    if not form.validate():
        return _refused(case, form), 422
    try:
        named = name_regions(
            actor=signed_in_user(), case=case, labels=form.labels(), shown=form.shown.data or ""
        )
    except Conflict as conflict:
        form.explain(case)
        return _refused(case, form), conflict.status
    names = list(dict.fromkeys(region.name for region in named if region))
    if names:
        flash(_("This case shows: %(name)s.", name=", ".join(names)), "good")
    else:
        flash(_("Nothing is said any more of what this case shows."), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.post("/regions/known")
@require(Permission.SUBMIT_CASES)
def known_regions() -> ResponseReturnValue:
    """The labels of the lesions that a patient has at a reading task, while a form is filled in."""
    actor = signed_in_user()
    asked = KnownRegions.parse(sent_json(), actor=actor)
    patient = find_patient(site_id=asked.site_id, identifier=asked.identifier)
    task_id = asked.reading_task_id
    labels = region_labels(patient=patient, reading_task_id=task_id) if patient else []
    if labels:
        audit.record_look(
            actor=actor, action="region.suggested", subject=patient, count=len(labels)
        )
    return {"labels": labels}


def _refused(case: Case, form: RegionForm) -> str:
    """A form that was refused, on a page of its own: a case's page is of `triage`."""
    audit.record_look(actor=signed_in_user(), action="case.opened", subject=case)
    known = region_labels(patient=case.patient, reading_task_id=case.reading_task_id)
    return render_template("history/refused.html", case=case, form=form, known_regions=known)
