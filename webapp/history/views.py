"""The course of a lesion or an eye, and saying which one a case shows."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import audit
from webapp.cases.queries import find_patient, get_case, get_region, regions_of
from webapp.cases.services import name_region
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
    """Say which lesion or eye of the patient a case shows."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    if case.reading_task.region_kind is None:
        raise Invalid("region")
    form = RegionForm(case)
    if not form.validate():
        raise Invalid("region")
    try:
        named = name_region(
            actor=signed_in_user(), case=case, label=form.label(), shown_id=form.shown_id()
        )
    except Conflict:
        flash(_("Someone has said otherwise meanwhile. Look at it again."), "warning")
    else:
        if named is None:
            flash(_("Nothing is said any more of what this case shows."), "good")
        else:
            flash(_("This case shows: %(name)s.", name=named.name), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.post("/regions/known")
@require(Permission.SUBMIT_CASES)
def known_regions() -> ResponseReturnValue:
    """The labels of the lesions that a patient has at a reading task, while a form is filled in."""
    actor = signed_in_user()
    asked = KnownRegions.parse(sent_json(), actor=actor)
    patient = find_patient(site_id=asked.site_id, identifier=asked.identifier)
    known = regions_of(patient) if patient else []
    labels = [one.label for one in known if one.reading_task_id == asked.reading_task_id]
    if labels:
        audit.record_look(
            actor=actor, action="region.suggested", subject=patient, count=len(labels)
        )
    return {"labels": labels}
