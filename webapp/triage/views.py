"""The pages of clinicians: worklist, new case, case, images, patient."""

import base64
from collections.abc import Iterator
from dataclasses import asdict

from flask import (
    Blueprint,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext
from flask_login import current_user
from werkzeug.datastructures import MultiDict

from webapp import audit, imaging
from webapp.assessments.models import Assessment
from webapp.cases.models import Case, Consent, Particulars, Patient, Region
from webapp.cases.queries import (
    case_corrections,
    consent_changes,
    corrections,
    get_case,
    get_image,
    get_patient,
    get_region,
    images_filed_elsewhere,
    moves,
    particulars_at,
    region_labels,
)
from webapp.cases.services import record_consent
from webapp.config import current_settings
from webapp.datasets.queries import snapshots_of_patient
from webapp.db import MAX_ID
from webapp.errors import Conflict, ImageRejected, Invalid, NotFound
from webapp.explanations.queries import of_assessment as explanations_of
from webapp.history.forms import RegionForm
from webapp.permissions import Permission, poll, require, signed_in, signed_in_user, takes_images
from webapp.promotion.queries import count_read_otherwise
from webapp.registry.queries import champion
from webapp.rendering import fragment, stored_picture
from webapp.reproductions.queries import of_assessments as reproductions_of
from webapp.reviews.forms import panels
from webapp.reviews.models import Review
from webapp.reviews.queries import latest_reviews, reviewers
from webapp.security import sent_json
from webapp.training.queries import models_of_patient
from webapp.triage import demonstration, queries, services
from webapp.triage.case_form import CaseCorrectionForm
from webapp.triage.forms import (
    ConsentForm,
    CorrectionForm,
    MoveForm,
    filed_elsewhere,
    not_read_again,
)
from webapp.triage.new_case_forms import ImageCheck, NewCaseForm
from webapp.triage.told import told_by
from webapp.triage.worklist_forms import SaveFilterForm, WorklistForm

blueprint = Blueprint("triage", __name__)

ERASED_PICTURE = "img/erased.svg"
"""Shown where a picture of an erased patient was."""

_DEMONSTRATION_REFUSALS = {
    "demonstration_there": _l("There are demonstration cases already."),
    "no_samples": _l("No model that serves has brought sample pictures along."),
}

LIMITS = {"image_count": imaging.MAX_IMAGES, "image_mb": imaging.MAX_BYTES // 1_000_000}


@blueprint.get("/")
@signed_in
def home() -> ResponseReturnValue:
    """The page where a user's work begins."""
    if current_user.can(Permission.VIEW_CASES):
        return redirect(url_for("triage.worklist"))
    manages_users = current_user.can(Permission.MANAGE_USERS)
    return redirect(url_for("accounts.users" if manages_users else "promotion.standings"))


@blueprint.get("/cases")
@require(Permission.VIEW_CASES)
def worklist() -> ResponseReturnValue:
    """One page of the worklist. A search is on record: what it went by, never what for."""
    form = _worklist_form(request.args)
    number = request.args.get("page", 1, type=int)
    behind_id = _row_number(request.args.get("behind", ""))
    return _worklist_page(form, SaveFilterForm(), number, behind_id)


@blueprint.post("/cases/filters")
@require(Permission.VIEW_CASES)
def save_filter() -> ResponseReturnValue:
    """Keep the filters of the worklist under a name."""
    filters, form = _worklist_form(request.form), SaveFilterForm()
    if form.validate():
        try:
            saved = services.save_filter(
                actor=signed_in_user(), name=form.name.data, arguments=filters.lasting_arguments()
            )
        except Conflict as conflict:
            form.explain(conflict)
        else:
            flash(_("Saved as “%(name)s”.", name=saved.name), "good")
            return redirect(url_for("triage.worklist", **saved.arguments), 303)
    return _worklist_page(filters, form), 422


@blueprint.post("/cases/filters/<int:filter_id>/remove")
@require(Permission.VIEW_CASES)
def remove_filter(filter_id: int) -> ResponseReturnValue:
    """Forget filters that were kept."""
    services.remove_filter(actor=signed_in_user(), filter_id=filter_id)
    flash(_("The saved filters are removed."), "good")
    return redirect(url_for("triage.worklist"), 303)


@blueprint.get("/cases/rows")
@require(Permission.VIEW_CASES)
@poll
def worklist_rows() -> ResponseReturnValue:
    """The rows of the worklist that a page still waits for, as they are now, and the counts above
    them."""
    numbers = map(_row_number, request.args.get("ids", "").split(","))
    case_ids = [number for number in numbers if number is not None]
    on_worklist = "of_patient" not in request.args
    is_grouped = request.args.get("by") == "region"
    rows = queries.rows(actor=signed_in_user(), case_ids=case_ids)
    return fragment(
        "triage/_rows.html",
        rows=rows,
        groups=queries.by_region(rows) if is_grouped else {None: rows},
        is_grouped=is_grouped,
        counts=queries.counts_by_priority(actor=signed_in_user()) if on_worklist else {},
        show_patient=on_worklist,
    )


@blueprint.get("/cases/new")
@require(Permission.SUBMIT_CASES)
def new_case() -> ResponseReturnValue:
    """An empty form, or one that is begun for a patient, or for a lesion or an eye of theirs."""
    patient_id = _row_number(request.args.get("patient_id", ""))
    region_id = _row_number(request.args.get("region_id", ""))
    patient = get_patient(actor=signed_in_user(), patient_id=patient_id) if patient_id else None
    region = get_region(actor=signed_in_user(), region_id=region_id) if region_id else None
    patient = region.patient if region else patient
    if patient is not None:
        audit.record_look(actor=signed_in_user(), action="patient.opened", subject=patient)
    return _new_case_page(_new_case_form(patient, region))


@blueprint.post("/cases/new")
@require(Permission.SUBMIT_CASES)
@takes_images
def submit_case() -> ResponseReturnValue:
    """File a case and go to its page, or show the form again with what stands against it."""
    form = _new_case_form()
    if form.validate():
        try:
            case = services.submit(actor=signed_in_user(), submission=form.submission())
        except Conflict as conflict:
            form.explain(conflict)
            _record_duplicates(len(conflict.facts.get("images", ())))
        else:
            page = url_for("triage.case", case_id=case.id)
            # A script that shows the progress cannot see a redirect, only where it ended.
            by_script = request.headers.get("X-Requested-With") == "XMLHttpRequest"
            return ({"location": page}, 201) if by_script else redirect(page, 303)
    return _new_case_page(form), 422


@blueprint.post("/cases/demonstration")
@require(Permission.SUBMIT_CASES)
def add_demonstration() -> ResponseReturnValue:
    """Add cases that show how Firstlook works; never where it is used in earnest."""
    if current_settings().production:
        raise NotFound("demonstration")
    site = min(signed_in_user().sites, key=lambda site: site.name, default=None)
    if site is None:
        raise NotFound("site")
    try:
        added = demonstration.add(actor=signed_in_user(), site=site)
    except Conflict as conflict:
        flash(_DEMONSTRATION_REFUSALS[conflict.reason])
    else:
        flash(
            ngettext(
                "%(num)s demonstration case is added.",
                "%(num)s demonstration cases are added.",
                len(added),
            ),
            "good",
        )
    return redirect(url_for("triage.worklist"), 303)


@blueprint.post("/cases/demonstration/remove")
@require(Permission.REVIEW_CASES)
def remove_demonstration() -> ResponseReturnValue:
    """Void the demonstration cases of one's sites."""
    actor = signed_in_user()
    removed = sum(demonstration.remove(actor=actor, site=site) for site in actor.sites)
    flash(
        ngettext(
            "%(num)s demonstration case is removed. Its record is kept, and marked as void.",
            "%(num)s demonstration cases are removed. Their record is kept, and marked as void.",
            removed,
        ),
        "good",
    )
    return redirect(url_for("triage.worklist"), 303)


@blueprint.post("/cases/check-images")
@require(Permission.SUBMIT_CASES)
def check_images() -> ResponseReturnValue:
    """Before anything is sent: which files, by SHA-256, are filed for another patient already."""
    actor = signed_in_user()
    asked = ImageCheck.parse(sent_json(), actor=actor)
    images = images_filed_elsewhere(
        actor=actor,
        original_sha256s=asked.sha256s,
        site_id=asked.site_id,
        identifier=asked.identifier,
    )
    _record_duplicates(len(images))
    return {
        "warnings": [
            {"sha256": image.original_sha256, "sentence": filed_elsewhere(image)}
            for image in images
        ]
    }


@blueprint.post("/cases/look-into-dicom")
@require(Permission.SUBMIT_CASES)
@takes_images
def look_into_dicom() -> ResponseReturnValue:
    """Before anything is sent: how a DICOM file looks, which browsers cannot show, and what it
    tells of the case, by the names of the form's fields. Nothing is kept."""
    file = request.files.get("image")
    if file is None:
        raise Invalid("image")
    try:
        cleaned = imaging.clean(file.read(imaging.MAX_BYTES + 1))
    except ImageRejected as refusal:
        return {"refusal": imaging.explain(refusal.reason, refusal.facts)}
    asked_for = {site for sites in queries.body_sites().values() for site in sites}
    told = asdict(told_by([cleaned.dicom], body_sites=asked_for))
    told["eye"] = told["laterality"]
    return {
        "thumbnail": base64.b64encode(cleaned.thumbnail).decode(),
        "fields": {name: str(value) for name, value in told.items() if value is not None},
    }


@blueprint.get("/cases/<int:case_id>")
@require(Permission.VIEW_CASES)
def case(case_id: int) -> ResponseReturnValue:
    """A case with its answer, its images, and what was answered earlier."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    readings = queries.readings(case)
    assessment, *history = readings
    decisions = panels(actor=signed_in_user(), case=case)
    audit.record_look(actor=signed_in_user(), action="case.opened", subject=case)
    if case.patient.erased_at is not None:
        return render_template(
            "triage/erased.html", case=case, assessment=assessment, panels=decisions
        )
    return render_template(
        "triage/case.html",
        case=case,
        assessment=assessment,
        row=_row(assessment),
        explanations=explanations_of(assessment),
        reproductions=reproductions_of(readings),
        history=history,
        moves=moves(case),
        case_corrections=case_corrections(case),
        todays_model=champion(case.reading_task_id),
        panels=decisions,
        particulars=_particulars(case, decisions.basis.review),
        corrections=[one for one in corrections(case.patient) if one.at > case.submitted_at],
        asks_body_site=case.reading_task_id in queries.body_sites(),
        region_form=RegionForm.of(case) if case.reading_task.region_kind else None,
        known_regions=region_labels(patient=case.patient, reading_task_id=case.reading_task_id),
    )


@blueprint.get("/cases/<int:case_id>/status")
@require(Permission.VIEW_CASES)
@poll
def case_status(case_id: int) -> ResponseReturnValue:
    """The part of a case's page that says where its assessment stands."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    decisions = panels(actor=signed_in_user(), case=case)
    assessment = queries.readings(case)[0]
    return fragment(
        "triage/_status.html" if decisions.shows_answer else "reviews/_veiled.html",
        case=case,
        assessment=assessment,
        row=_row(assessment),
        explanations=explanations_of(assessment),
        reproductions=reproductions_of([assessment]),
        panels=decisions,
    )


@blueprint.post("/cases/<int:case_id>/retry")
@require(Permission.SUBMIT_CASES)
def retry_assessment(case_id: int) -> ResponseReturnValue:
    """Have a case whose reading failed read again."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    try:
        services.retry(actor=signed_in_user(), case=case)
    except Conflict as conflict:
        flash(not_read_again(conflict))
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.post("/cases/<int:case_id>/readings")
@require(Permission.SUBMIT_CASES)
def read_again(case_id: int) -> ResponseReturnValue:
    """Have a case read by the model that serves today, beside the answer that it has."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    try:
        services.read_again(actor=signed_in_user(), case=case)
    except Conflict as conflict:
        flash(not_read_again(conflict), "warning")
    else:
        flash(_("The case is read by today's model. The earlier answer is kept."), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.get("/cases/<int:case_id>/patient")
@require(Permission.SUBMIT_CASES)
def other_patient(case_id: int) -> ResponseReturnValue:
    """An empty form to file a case for another patient."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    review = latest_reviews([case.id]).get(case.id)
    return _move_page(case, MoveForm(case, review))


@blueprint.post("/cases/<int:case_id>/patient")
@require(Permission.SUBMIT_CASES)
def move_case(case_id: int) -> ResponseReturnValue:
    """File a case for another patient of its site."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    form = MoveForm(case, None)
    if not form.validate():
        return _move_page(case, form), 422
    try:
        rereading, amendment = services.move_case(
            actor=signed_in_user(),
            case=case,
            destination=form.destination(),
            shown=form.was_shown(),
        )
    except Conflict as conflict:
        form.explain(conflict, case)
        _record_duplicates(len(conflict.facts.get("images", ())))
        return _move_page(case, form), conflict.status
    sentences = [_("The case is now filed for %(identifier)s.", identifier=case.patient.identifier)]
    if amendment is not None:
        sentences.append(
            _("Version %(version)s of the decision says so.", version=amendment.version)
        )
    flash(" ".join([*sentences, *_consequences(rereading)]), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.get("/cases/<int:case_id>/particulars")
@require(Permission.SUBMIT_CASES)
def case_particulars(case_id: int) -> ResponseReturnValue:
    """The form for what is said of a case."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    return _particulars_page(case, _particulars_form(case))


@blueprint.post("/cases/<int:case_id>/particulars")
@require(Permission.SUBMIT_CASES)
def correct_case(case_id: int) -> ResponseReturnValue:
    """Change what is said of a case."""
    case = get_case(actor=signed_in_user(), case_id=case_id)
    form = _particulars_form(case)
    if not form.validate():
        return _particulars_page(case, form), 422
    try:
        rereading, amendment = services.correct_case(
            actor=signed_in_user(),
            case=case,
            corrected=form.corrected(),
            reason=form.reason.data,
            shown=form.shown_mark,
            shown_version=form.shown_version,
        )
    except Conflict as conflict:
        form.explain(conflict)
        return _particulars_page(case, form), conflict.status
    sentences = [_("What is said of the case is on record.")]
    if amendment is not None:
        sentences.append(
            _("Version %(version)s of the decision says so.", version=amendment.version)
        )
    flash(" ".join([*sentences, *_consequences(rereading)]), "good")
    return redirect(url_for("triage.case", case_id=case.id), 303)


@blueprint.get("/images/<int:image_id>")
@require(Permission.VIEW_CASES)
def image(image_id: int) -> ResponseReturnValue:
    """An image in full, as it is stored."""
    image = get_image(actor=signed_in_user(), image_id=image_id)
    audit.record_look(
        actor=signed_in_user(), action="image.opened", subject=image, case_id=image.case_id
    )
    if image.case.patient.erased_at is not None:
        return current_app.send_static_file(ERASED_PICTURE)
    return stored_picture(image.sha256, image.media_type, f"image-{image.id}")


@blueprint.get("/images/<int:image_id>/thumbnail")
@require(Permission.VIEW_CASES)
@poll
def thumbnail(image_id: int) -> ResponseReturnValue:
    """A small picture of an image, for lists; rows that refresh themselves ask for it as well."""
    image = get_image(actor=signed_in_user(), image_id=image_id)
    if image.case.patient.erased_at is not None:
        return current_app.send_static_file(ERASED_PICTURE)
    return stored_picture(image.thumbnail_sha256, "image/jpeg", f"thumbnail-{image.id}")


@blueprint.get("/patients/<int:patient_id>")
@require(Permission.VIEW_CASES)
def patient(patient_id: int) -> ResponseReturnValue:
    """A patient with all their cases."""
    patient = get_patient(actor=signed_in_user(), patient_id=patient_id)
    return _patient_page(patient, CorrectionForm(patient))


@blueprint.post("/patients/<int:patient_id>")
@require(Permission.SUBMIT_CASES)
def correct_patient(patient_id: int) -> ResponseReturnValue:
    """Change what is on record of a patient."""
    patient = get_patient(actor=signed_in_user(), patient_id=patient_id)
    form = CorrectionForm(patient)
    if not form.validate():
        return _patient_page(patient, form), 422
    try:
        rereading = services.correct_patient(
            actor=signed_in_user(),
            patient=patient,
            shown=form.shown_particulars(),
            corrected=form.corrected(),
        )
    except Conflict as conflict:
        form.explain(conflict)
        return _patient_page(patient, form), conflict.status
    sentences = [_("The patient's particulars are on record."), *_consequences(rereading)]
    flash(" ".join(sentences), "good")
    return redirect(url_for("triage.patient", patient_id=patient.id), 303)


@blueprint.post("/patients/<int:patient_id>/consent")
@require(Permission.SUBMIT_CASES)
def submit_consent(patient_id: int) -> ResponseReturnValue:
    """Record whether a patient consents to models being trained on their images."""
    patient = get_patient(actor=signed_in_user(), patient_id=patient_id)
    form = ConsentForm()
    if not form.validate():
        for sentence in (*form.consent.errors, *form.shown.errors):
            flash(sentence, "danger")
        return _patient_page(patient, CorrectionForm(patient, is_sent=False)), 422
    try:
        record_consent(
            actor=signed_in_user(),
            patient=patient,
            consent=Consent(form.consent.data),
            shown=Consent(form.shown.data),
        )
    except Conflict as conflict:
        flash(form.explain(conflict), "warning")
        return _patient_page(patient, CorrectionForm(patient, is_sent=False)), conflict.status
    flash(_("What the patient said is on record."), "good")
    return redirect(url_for("triage.patient", patient_id=patient.id), 303)


def _particulars(case: Case, review: Review | None) -> Particulars:
    """What the page of a case says of its patient: what the decision that counts was signed with,
    whatever was corrected since."""
    if review is None:
        return Particulars.of(case.patient)
    return particulars_at(case.patient, review.signed_at)


def _row(assessment: Assessment) -> queries.Row:
    """How a case with this reading stands in the worklist."""
    return queries.as_rows(actor=signed_in_user(), readings=[assessment])[0]


def _consequences(rereading: services.Rereading) -> Iterator[str]:
    """What a correction means for the patient's cases, in words; nothing where it touches none."""
    if rereading.again_count:
        yield ngettext(
            "%(num)s case is read again.", "%(num)s cases are read again.", rereading.again_count
        )
    elif rereading.unaffected_count:
        yield _("The answers stand: the model reads the image only.")


def _record_duplicates(count: int) -> None:
    """A warning names other patients: that they were shown is on record."""
    if count:
        audit.record_look(actor=signed_in_user(), action="duplicates.shown", count=count)


def _row_number(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else MAX_ID + 1
    return number if number <= MAX_ID else None


def _worklist_form(arguments: MultiDict[str, str]) -> WorklistForm:
    return WorklistForm(
        arguments,
        reading_tasks=queries.offered_reading_tasks(),
        reviewers=reviewers(actor=signed_in_user()),
    )


def _worklist_page(
    form: WorklistForm,
    save_form: SaveFilterForm,
    number: int = 1,
    behind_id: int | None = None,
) -> str:
    filters = form.filters()
    page = queries.worklist(
        actor=signed_in_user(), filters=filters, number=number, behind_id=behind_id
    )
    if filters.names:
        audit.record_look(
            actor=signed_in_user(),
            action="case.searched",
            filters=filters.names,
            length=len(filters.identifier),
            count=page.total.number,
            count_is_capped=page.total.is_capped,
        )
    return render_template(
        "triage/worklist.html",
        page=page,
        counts=queries.counts_by_priority(actor=signed_in_user()),
        filters=form,
        filter_arguments=form.arguments(),
        is_filtered=bool(request.query_string) or request.method == "POST",
        saved_filters=queries.saved_filters(signed_in_user()),
        save_form=save_form,
        is_first_use=not page.items and not queries.has_cases(actor=signed_in_user()),
        may_demonstrate=not current_settings().production,
        read_otherwise_count=count_read_otherwise(signed_in_user()),
    )


def _new_case_form(patient: Patient | None = None, region: Region | None = None) -> NewCaseForm:
    return NewCaseForm(
        actor=signed_in_user(),
        reading_tasks=queries.offered_reading_tasks(),
        body_sites=queries.body_sites(),
        patient=patient,
        region=region,
    )


def _new_case_page(form: NewCaseForm) -> str:
    return render_template("triage/new_case.html", form=form, limits=LIMITS)


def _move_page(case: Case, form: MoveForm) -> str:
    audit.record_look(actor=signed_in_user(), action="case.opened", subject=case)
    return render_template(
        "triage/move.html", case=case, form=form, review=latest_reviews([case.id]).get(case.id)
    )


def _particulars_form(case: Case) -> CaseCorrectionForm:
    return CaseCorrectionForm(
        case,
        latest_reviews([case.id]).get(case.id),
        queries.body_sites().get(case.reading_task_id, ()),
    )


def _particulars_page(case: Case, form: CaseCorrectionForm) -> str:
    audit.record_look(actor=signed_in_user(), action="case.opened", subject=case)
    review = latest_reviews([case.id]).get(case.id)
    return render_template("triage/particulars.html", case=case, form=form, review=review)


def _patient_page(patient: Patient, form: CorrectionForm) -> str:
    audit.record_look(actor=signed_in_user(), action="patient.opened", subject=patient)
    cases = queries.rows_of_patient(actor=signed_in_user(), patient=patient)
    is_grouped = request.args.get("by") == "region"
    by_region = queries.by_region(cases)
    return render_template(
        "triage/patient.html",
        patient=patient,
        cases=cases,
        consent_changes=consent_changes(patient),
        corrections=corrections(patient),
        snapshots=snapshots_of_patient(patient),
        models=models_of_patient(patient),
        groups=by_region if is_grouped else {None: cases},
        shows_regions=any(by_region),
        is_grouped=is_grouped,
        form=form,
    )
