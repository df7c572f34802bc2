"""Sending a case to be read, and read again, correcting a patient or a case, moving a case to
another patient, and keeping filters of the worklist."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError

from webapp import audit, storage
from webapp.accounts.models import Site, User
from webapp.assessments import services as assessments
from webapp.assessments.models import Assessment, Purpose
from webapp.assessments.queries import current_assessment
from webapp.cases import services as cases
from webapp.cases.models import (
    Case,
    CaseMove,
    CaseParticulars,
    Image,
    Laterality,
    Particulars,
    Patient,
    Sex,
)
from webapp.cases.queries import images_filed_elsewhere, normal_identifier, region_key
from webapp.cases.services import NewImage, plain_text
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.imaging import CleanImage
from webapp.permissions import Permission
from webapp.registry.queries import champion
from webapp.reviews.models import Decision, Review
from webapp.reviews.queries import latest_reviews, may_see_answer
from webapp.reviews.services import sign_again
from webapp.triage import queries
from webapp.triage.models import SavedFilter

log = logging.getLogger(__name__)

MAX_SAVED_FILTERS = 20
PUT_ATTEMPTS = 3
"""So often pictures are stored that are removed, in that very moment, with somebody who is erased
and has the same ones."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One image as it came in, checked and cleaned."""

    cleaned: CleanImage
    file_name: str

    def shows(self, filed: Image) -> bool:
        """Whether it is a picture on file: the same bytes, or the same name in DICOM."""
        return (
            filed.original_sha256 == self.cleaned.original_sha256
            or filed.sha256 == self.cleaned.sha256
            or (filed.sop_instance_uid or "") == self.cleaned.sop_instance_uid
        )


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
    laterality: Laterality = Laterality.UNKNOWN
    is_demonstration: bool = False
    region: str = ""
    """The label of the patient's lesion or eye that the images show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """The patient that a case is to be moved to."""

    identifier: str
    registers: bool
    """Nobody is on record by this identifier, and the actor knows."""
    reason: str
    confirm_duplicates: bool
    """The actor knows that images of the case are filed for somebody else again as well."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a case was filed when a page was made."""

    patient_id: int
    version: int
    """Of the signed decision; 0 where there was none."""


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
            `other_modality`: DICOM `files` show something else than the reading task reads, which
            is what comes from the modalities that are `expected`;
            `no_model`: no model serves the reading task.
        Invalid: a value that cannot be kept.
        storage.Away: the images cannot be stored now.
    """
    case = _sent_before(actor, submission)
    if case is not None:
        return case
    _check_modalities(submission)
    if not submission.confirm_duplicates:
        _check_filed_elsewhere(actor, submission)
    try:
        return _store_and_submit(actor, submission)
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
    kept as they were, and so is what was on record: a signed decision and its report go on showing
    what they were signed with, until an amendment is signed with what is on record then.

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
        rereading = _read_anew(Case.patient_id == patient.id)
        _record_change(actor, patient, changed)
    return rereading


def move_case(
    *, actor: User, case: Case, destination: Destination, shown: Shown
) -> tuple[Rereading, Review | None]:
    """File a case for another patient of its site, and have it read anew where that changes what
    its model is fed. What is signed stays as it was signed, and an amendment tells of the move.

    Raises:
        NotFound: the case is not at a site of the actor.
        Conflict: `filed_elsewhere`: `images` of it are filed for somebody else as well, and that is
            not confirmed; `void`: the case should not be there; `decided`: the decision on it is
            another one, `review`, than was shown; and as `cases.services.move_case`.
        Invalid: as there.
    """
    if not destination.confirm_duplicates:
        _check_filed_again(actor, case, destination.identifier)
    with transaction():
        move = cases.move_case(
            actor=actor,
            case=case,
            identifier=destination.identifier,
            registers=destination.registers,
            reason=destination.reason,
            shown_patient_id=shown.patient_id,
        )
        assessments.hold_current(case=case)
        signed = latest_reviews([case.id]).get(case.id)
        _check_decision(signed, shown.version)
        rereading = _read_anew(Case.id == case.id)
        if signed is not None:
            signed = sign_again(actor=actor, case=case, reason=_moved_in_words(move))
        audit.record(
            actor=actor,
            action="case.moved",
            subject=case,
            from_patient_id=move.from_patient_id,
            patient_id=move.to_patient_id,
        )
    return rereading, signed


def correct_case(
    *,
    actor: User,
    case: Case,
    corrected: CaseParticulars,
    reason: str,
    shown: str,
    shown_version: int,
) -> tuple[Rereading, Review | None]:
    """Change what is said of a case, and have it read anew where that changes what its model is
    fed. Answers given before are kept, and so is what was said. What is signed stays as it was
    signed, and an amendment tells of the correction.

    Raises:
        NotFound: the case is not at a site of the actor.
        Conflict: `void`: the case should not be there; `decided`: the decision on it is another
            one, `review`, than the `shown_version`; and as `cases.services.correct_case`.
        Invalid: as there.
    """
    with transaction():
        changed = cases.correct_case(
            actor=actor, case=case, shown=shown, corrected=corrected, reason=reason
        )
        assessments.hold_current(case=case)
        signed = latest_reviews([case.id]).get(case.id)
        _check_decision(signed, shown_version)
        if not changed:
            return Rereading(), None
        rereading = _read_anew(Case.id == case.id)
        if "priority" in changed:
            assessments.hasten(case=case)
        if signed is not None:
            signed = sign_again(actor=actor, case=case, reason=plain_text(reason))
        audit.record(actor=actor, action="case.corrected", subject=case, changed=changed)
    return rereading, signed


def retry(*, actor: User, case: Case) -> Assessment:
    """Have a case whose reading failed read again.

    Raises:
        Conflict: `not_failed`; `impression_first`: the site asks for the actor's own impression
            before they are told.
        NotFound: nothing was ever read of it.
    """
    _require_impression(actor, case)
    assessment = current_assessment(case)
    if assessment is None:
        raise NotFound("assessment", case_id=case.id)
    assessments.retry(actor=actor, assessment=assessment)
    return assessment


def read_again(*, actor: User, case: Case) -> Assessment:
    """Have a case read by the model that serves today. The answer that it has is kept.

    What is signed stays as it was signed, with the answer that it was signed on, and the case does
    not wait again: whoever asked looks at the newer answer, and amends the decision if it has to
    be another one.

    Raises:
        NotFound: the case is not at a site of the actor, or the actor may send no cases.
        Conflict: `impression_first`: the site asks for the actor's own impression before;
            `void`: the case should not be there; `still_read`: its reading has not ended;
            `same_model`: it was read by the model that serves; `no_model`: none serves.
    """
    if not actor.can(Permission.SUBMIT_CASES) or case.site_id not in actor.site_ids:
        raise NotFound("case", case_id=case.id)
    _require_impression(actor, case)
    with transaction():
        current = assessments.hold_current(case=case)
        review = latest_reviews([case.id]).get(case.id)
        if review is not None and review.decision is Decision.VOID:
            raise Conflict("void")
        if current is not None and current.state.is_open:
            raise Conflict("still_read")
        if current is not None and current.model_version == champion(case.reading_task_id):
            raise Conflict("same_model")
        assessment = assessments.schedule(case=case)
        audit.record(
            actor=actor,
            action="case.read_again",
            subject=case,
            assessment_id=assessment.id,
            version=assessment.model_version.version,
        )
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


def _require_impression(actor: User, case: Case) -> None:
    if case.id not in may_see_answer(actor=actor, case_ids=[case.id]):
        raise Conflict("impression_first")


def _store_and_submit(actor: User, submission: Submission) -> Case:
    for _ in range(PUT_ATTEMPTS - 1):
        with suppress(storage.Gone):  # with somebody who was erased in this moment
            return _submit_stored(actor, submission)
    return _submit_stored(actor, submission)


def _submit_stored(actor: User, submission: Submission) -> Case:
    """As `_submit_once`; of what is refused no picture stays in the store."""
    images = _stored(submission)
    try:
        return _submit_once(actor, submission, images)
    except Exception:
        blobs = {sha256 for image in images for sha256 in (image.sha256, image.thumbnail_sha256)}
        try:
            storage.remove_unnamed(blobs)
        except OSError:
            log.warning("pictures that were not filed are still in the store", exc_info=True)
        raise


def _stored(submission: Submission) -> tuple[NewImage, ...]:
    return tuple(
        cases.store_image(cleaned=upload.cleaned, original_file_name=upload.file_name)
        for upload in submission.uploads
    )


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
            actor=actor, patient=patient, birth_year=submission.birth_year, sex=submission.sex
        )
        if filled_in:
            _read_anew(Case.patient_id == patient.id)
        region = cases.find_or_create_region(
            patient=patient, reading_task=reading_task, label=submission.region
        )
        case = cases.create_case(
            actor=actor,
            patient=patient,
            reading_task=reading_task,
            priority=submission.priority,
            age_at_acquisition_years=submission.age_at_acquisition_years,
            body_site=submission.body_site,
            laterality=submission.laterality,
            note=submission.note,
            form_token=submission.form_token,
            images=images,
            is_demonstration=submission.is_demonstration,
            region=region,
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
            region_id=region.id if region else None,
        )
        return case


def _read_anew(which: ColumnElement[bool]) -> Rereading:
    """Have cases of a held patient read anew that were read with other values, where those made a
    difference.

    Cases and their readings are held first, in the order in which deciding on one holds them: no
    signature, and no worker that ends a reading, must come in between.
    """
    db.session.execute(select(Case.id).where(which).order_by(Case.id).with_for_update())
    current = db.session.scalars(
        select(Assessment)
        .join(Assessment.case)
        .where(
            which,
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
        assessment for assessment in differing if assessment.model_version.facts.uses_metadata
    ]
    for assessment in affected:
        assessments.schedule(case=assessment.case)
    return Rereading(len(affected), len(differing) - len(affected))


def _record_change(actor: User, patient: Patient, changed: Sequence[str]) -> None:
    """Which particulars changed, and not to what: who may read the record may see no patient."""
    audit.record(actor=actor, action="patient.corrected", subject=patient, changed=changed)


def of_other_modality(*, uploads: Iterable[Upload], reading_task: ReadingTask) -> list[Upload]:
    """Those that show something else than the reading task reads. A file that does not say is taken
    for what its sender takes it for, as a PNG is."""
    expected = reading_task.dicom_modalities
    return [
        upload
        for upload in uploads
        if expected
        and upload.cleaned.dicom
        and upload.cleaned.dicom.modality not in ("", *expected)
    ]


def _check_modalities(submission: Submission) -> None:
    reading_task = db.session.get(ReadingTask, submission.reading_task_id)
    if reading_task is None:
        return  # said where the case is filed
    files = of_other_modality(uploads=submission.uploads, reading_task=reading_task)
    if files:
        raise Conflict("other_modality", files=files, expected=reading_task.dicom_modalities)


def _check_filed_elsewhere(actor: User, submission: Submission) -> None:
    images = images_filed_elsewhere(
        actor=actor,
        original_sha256s=[upload.cleaned.original_sha256 for upload in submission.uploads],
        stored_sha256s=[upload.cleaned.sha256 for upload in submission.uploads],
        sop_instance_uids=[
            uid for upload in submission.uploads if (uid := upload.cleaned.sop_instance_uid)
        ],
        site_id=submission.site_id,
        identifier=submission.identifier,
    )
    if images:
        raise Conflict("filed_elsewhere", images=images)


def _check_filed_again(actor: User, case: Case, identifier: str) -> None:
    """As `_check_filed_elsewhere`, for a case whose own images are filed already."""
    images = images_filed_elsewhere(
        actor=actor,
        original_sha256s=[image.original_sha256 for image in case.images],
        stored_sha256s=[image.sha256 for image in case.images],
        sop_instance_uids=[uid for image in case.images if (uid := image.sop_instance_uid)],
        site_id=case.site_id,
        identifier=identifier,
    )
    others = [image for image in images if image.case_id != case.id]
    if others:
        raise Conflict("filed_elsewhere", images=others)


def _check_decision(signed: Review | None, shown_version: int) -> None:
    if signed is not None and signed.decision is Decision.VOID:
        raise Conflict("void")
    if (signed.version if signed else 0) != shown_version:
        raise Conflict("decided", review=signed)


def _moved_in_words(move: CaseMove) -> str:
    """What an amendment says of a move, in no language but the actor's."""
    patients = f"{move.from_patient.identifier} \N{RIGHTWARDS ARROW} {move.to_patient.identifier}"
    return f"{patients}: {move.reason}"


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
        and case.laterality is submission.laterality
        and {image.region.key if image.region else "" for image in case.images}
        == {region_key(submission.region)}
        and case.note == plain_text(submission.note)
        and [image.sha256 for image in case.images]
        == [upload.cleaned.sha256 for upload in submission.uploads]
    )
