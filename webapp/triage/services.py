"""Sending a case to be read, correcting a patient, and keeping filters of the worklist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from webapp import audit
from webapp.accounts.models import Site, User
from webapp.assessments import services as assessments
from webapp.assessments.models import Assessment, Purpose
from webapp.assessments.queries import current_assessment
from webapp.cases import services as cases
from webapp.cases.models import Case, Patient, Sex
from webapp.cases.queries import images_filed_elsewhere, normal_identifier
from webapp.cases.services import NewImage, Particulars, plain_text
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.imaging import CleanImage
from webapp.triage import queries
from webapp.triage.models import SavedFilter

MAX_SAVED_FILTERS = 20


@dataclass(frozen=True, slots=True)
class Upload:
    """One image as it came in, checked and cleaned."""

    cleaned: CleanImage
    file_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a filled form asks for."""

    form_token: str
    site_id: int
    identifier: str
    birth_year: int | None
    sex: Sex
    reading_task_id: int
    priority: Priority
    age_at_acquisition_years: int | None
    body_site: str | None
    note: str
    uploads: tuple[Upload, ...]
    confirm_duplicates: bool
    """The sender knows that images are filed for another patient as well."""
    is_demonstration: bool = False


@dataclass(frozen=True, slots=True)
class Rereading:
    """What other particulars of a patient mean for the cases that were read with the older ones."""

    again_count: int = 0
    """Cases that are read again."""
    unaffected_count: int = 0
    """Cases whose readings stand, since their models read images only."""


def submit(*, actor: User, submission: Submission) -> Case:
    """File a case and have it read: all of it, or nothing. The same form again is the same case.

    Raises:
        NotFound: the site is not one of the actor's.
        Conflict: `patient_differs`: the patient on record has another birth year or sex;
            `filed_elsewhere`: `images` are filed for another patient, and that is not confirmed;
            `form_used`: the form was sent before, with other content, as `case_id`;
            `no_model`: no model serves the reading task.
        Invalid: a value that cannot be kept.
    """
    case = _sent_before(actor, submission)
    if case is not None:
        return case
    if not submission.confirm_duplicates:
        _check_filed_elsewhere(actor, submission)
    images = tuple(
        cases.store_image(cleaned=upload.cleaned, original_file_name=upload.file_name)
        for upload in submission.uploads
    )
    try:
        return _submit_once(actor, submission, images)
    except IntegrityError:
        # Sent twice at the same time: the other one was faster.
        case = _sent_before(actor, submission)
        if case is None:
            raise
        return case


def correct_patient(
    *, actor: User, patient: Patient, shown: Particulars, corrected: Particulars
) -> Rereading:
    """Change what is on record of a patient, and have read anew what was read with other values,
    unless by a model that uses none: its answer would be the same.

    An age that was worked out from the birth year is worked out again. Answers given before are
    kept as they were.

    Raises:
        NotFound: the patient is not at a site of the actor.
        Conflict: `patient_changed`: what is `on_record` is not what the actor was `shown`.
    """
    with transaction():
        changed = cases.correct_patient(
            actor=actor, patient=patient, shown=shown, corrected=corrected
        )
        if not changed:
            return Rereading()
        rereading = _read_anew(patient)
        _record_change(actor, patient, changed)
    return rereading


def retry(*, actor: User, case: Case) -> Assessment:
    """Have a case whose reading failed read again.

    Raises:
        Conflict: it has not failed.
        NotFound: nothing was ever read of it.
    """
    assessment = current_assessment(case)
    if assessment is None:
        raise NotFound("assessment", case_id=case.id)
    assessments.retry(actor=actor, assessment=assessment)
    return assessment


def save_filter(*, actor: User, name: str, arguments: Mapping[str, str]) -> SavedFilter:
    """Keep filters of the worklist under a name; those that had the name are replaced.

    Raises:
        Conflict: `too_many_filters`: the actor has `limit` of them.
    """
    with transaction():
        db.session.execute(select(User.id).where(User.id == actor.id).with_for_update())
        kept = queries.saved_filters(actor)
        saved = next((one for one in kept if one.name == name), None)
        if saved is None:
            if len(kept) >= MAX_SAVED_FILTERS:
                raise Conflict("too_many_filters", limit=MAX_SAVED_FILTERS)
            saved = SavedFilter(user_id=actor.id, name=name, created_at=now())
            db.session.add(saved)
        saved.arguments = dict(arguments)
        audit.record(actor=actor, action="filter.saved", subject=saved)
        return saved


def remove_filter(*, actor: User, filter_id: int) -> None:
    """
    Raises:
        NotFound: the actor has no such filter.
    """
    with transaction():
        saved = db.session.get(SavedFilter, filter_id)
        if saved is None or saved.user_id != actor.id:
            raise NotFound("filter", filter_id=filter_id)
        db.session.delete(saved)
        audit.record(actor=actor, action="filter.removed", subject=saved)


def _submit_once(actor: User, submission: Submission, images: tuple[NewImage, ...]) -> Case:
    with transaction():
        case = _sent_before(actor, submission)
        if case is not None:
            return case
        site = db.session.get(Site, submission.site_id)
        reading_task = db.session.get(ReadingTask, submission.reading_task_id)
        if site is None or site.id not in actor.site_ids:
            raise NotFound("site", site_id=submission.site_id)
        if reading_task is None:
            raise Invalid("reading_task")
        patient = cases.find_or_create_patient(
            actor=actor,
            site=site,
            identifier=submission.identifier,
            birth_year=submission.birth_year,
            sex=submission.sex,
        )
        filled_in = cases.complete_patient(
            patient=patient, birth_year=submission.birth_year, sex=submission.sex
        )
        if filled_in:
            _read_anew(patient)
        case = cases.create_case(
            actor=actor,
            patient=patient,
            reading_task=reading_task,
            priority=submission.priority,
            age_at_acquisition_years=submission.age_at_acquisition_years,
            body_site=submission.body_site,
            note=submission.note,
            form_token=submission.form_token,
            images=images,
            is_demonstration=submission.is_demonstration,
        )
        assessments.schedule(case=case)
        if filled_in:
            _record_change(actor, patient, filled_in)
        audit.record(
            actor=actor,
            action="case.submitted",
            subject=case,
            patient_id=patient.id,
            reading_task=reading_task.code,
            image_count=len(images),
        )
        return case


def _read_anew(patient: Patient) -> Rereading:
    """Have the cases of a held patient read anew that were read with other values, where those
    made a difference.

    Their readings are held first: a worker that ends one must not come in between.
    """
    current = db.session.scalars(
        select(Assessment)
        .join(Assessment.case)
        .where(
            Case.patient_id == patient.id,
            Assessment.purpose == Purpose.TRIAGE,
            Assessment.superseded_at.is_(None),
        )
        .order_by(Assessment.id)
        .with_for_update(of=Assessment)
        .execution_options(populate_existing=True)
    ).all()
    differing = [
        assessment
        for assessment in current
        if assessment.metadata_fed != assessments.metadata_fed(assessment.case)
    ]
    affected = [
        assessment for assessment in differing if queries.uses_metadata(assessment.model_version)
    ]
    for assessment in affected:
        assessments.schedule(case=assessment.case)
    return Rereading(len(affected), len(differing) - len(affected))


def _record_change(actor: User, patient: Patient, changed: Sequence[str]) -> None:
    """Which particulars changed, and not to what: who may read the record may see no patient."""
    audit.record(actor=actor, action="patient.corrected", subject=patient, changed=changed)


def _check_filed_elsewhere(actor: User, submission: Submission) -> None:
    images = images_filed_elsewhere(
        actor=actor,
        original_sha256s=[upload.cleaned.original_sha256 for upload in submission.uploads],
        stored_sha256s=[upload.cleaned.sha256 for upload in submission.uploads],
        site_id=submission.site_id,
        identifier=submission.identifier,
    )
    if images:
        raise Conflict("filed_elsewhere", images=images)


def _sent_before(actor: User, submission: Submission) -> Case | None:
    """The case that this form was made into; content that is another one must not vanish in it."""
    case = queries.case_of_form(actor=actor, form_token=submission.form_token)
    if case is None:
        return None
    if not _is_of(case, submission):
        raise Conflict("form_used", case_id=case.id)
    return case


def _is_of(case: Case, submission: Submission) -> bool:
    """Whether a case says all that a form does. Birth year and sex left blank say nothing."""
    patient, age = case.patient, submission.age_at_acquisition_years
    return (
        (patient.site_id, patient.identifier)
        == (submission.site_id, normal_identifier(submission.identifier))
        and submission.birth_year in (None, patient.birth_year)
        and submission.sex in (Sex.UNKNOWN, patient.sex)
        and case.reading_task_id == submission.reading_task_id
        and case.priority is submission.priority
        and age == (None if case.age_is_derived else case.age_at_acquisition_years)
        and (case.body_site or "") == plain_text(submission.body_site or "")
        and case.note == plain_text(submission.note)
        and [image.sha256 for image in case.images]
        == [upload.cleaned.sha256 for upload in submission.uploads]
    )
