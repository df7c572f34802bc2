"""Registering patients, filing cases, and correcting both."""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from webapp import audit, storage
from webapp.accounts.models import Site, User
from webapp.cases import queries
from webapp.cases.models import (
    Case,
    CaseMove,
    CaseParticulars,
    Consent,
    ConsentChange,
    FormerCase,
    FormerParticulars,
    Image,
    Laterality,
    Particulars,
    Patient,
    Region,
    Sex,
    Side,
)
from webapp.catalogue.models import Priority, ReadingTask, RegionKind
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.imaging import MAX_IMAGES, CleanImage
from webapp.permissions import Permission

FIRST_BIRTH_YEAR = 1850

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image whose bytes are in the store, ready to be filed."""

    sha256: str
    thumbnail_sha256: str
    media_type: str
    width_px: int
    height_px: int
    original_sha256: str
    original_file_name: str
    notices: tuple[str, ...]
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None


def store_image(*, cleaned: CleanImage, original_file_name: str) -> NewImage:
    """Put a cleaned upload and its thumbnail into the store.

    To be done before the transaction that files it: disks are slow, and a write lock is not to be
    held meanwhile. Bytes without a row are harmless; a row without bytes would not be, so whoever
    files it holds them.
    """
    return NewImage(
        sha256=storage.put(cleaned.data),
        thumbnail_sha256=storage.put(cleaned.thumbnail),
        media_type=cleaned.media_type,
        width_px=cleaned.width_px,
        height_px=cleaned.height_px,
        original_sha256=cleaned.original_sha256,
        original_file_name=_base_name(original_file_name),
        notices=tuple(notice.value for notice in cleaned.notices),
        sop_instance_uid=cleaned.sop_instance_uid,
        study_instance_uid=cleaned.dicom.study_instance_uid if cleaned.dicom else None,
    )


def find_or_create_patient(
    *, actor: User, site: Site, identifier: str, birth_year: int | None, sex: Sex
) -> Patient:
    """The patient whom the site knows by this identifier, registered if they are new, and held to
    the end of the transaction.

    Raises:
        NotFound: the site is not one of the actor's, or the patient was erased.
        Invalid: the identifier is empty or longer than the record allows, or the birth year
            cannot be one.
        Conflict: `patient_differs`: birth year or sex are others than those `on_record`.
    """
    _require_site(actor, site.id)
    identifier = _checked_identifier(identifier)
    _check_birth_year(birth_year)
    with transaction():
        patient = queries.find_patient(site_id=site.id, identifier=identifier)
        if patient is None:
            patient = _register(site, identifier, birth_year, sex)
        _hold(patient)
        _require_not_erased(patient)
        _check_agrees(patient, birth_year, sex)
    return patient


def complete_patient(
    *, actor: User, patient: Patient, birth_year: int | None, sex: Sex
) -> Sequence[str]:
    """Add to a held patient what was not on record yet; what was left blank says nothing.

    Returns, and leaves to its caller, what `correct_patient` does.
    """
    return _change(
        actor,
        patient,
        Particulars(
            birth_year=patient.birth_year if birth_year is None else birth_year,
            sex=patient.sex if sex is Sex.UNKNOWN else sex,
        ),
    )


def correct_patient(
    *, actor: User, patient: Patient, shown: Particulars, corrected: Particulars
) -> Sequence[str]:
    """Change what is on record of a patient, and the ages that follow from it; returns the names
    of the particulars that changed. What was on record before is kept.

    The caller has the cases read anew and then records the change, all in one transaction: whoever
    has begun to write the record must not wait for a row that a worker holds.

    Raises:
        NotFound: the patient is not at a site of the actor, or was erased.
        Invalid: the birth year cannot be one.
        Conflict: `patient_changed`: what is `on_record` is not what the actor was `shown`.
    """
    _require_site(actor, patient.site_id)
    _check_birth_year(corrected.birth_year)
    with transaction():
        _hold(patient)
        _require_not_erased(patient)
        on_record = Particulars.of(patient)
        if on_record != shown:
            raise Conflict("patient_changed", on_record=on_record)
        return _change(actor, patient, corrected)


def record_consent(*, actor: User, patient: Patient, consent: Consent, shown: Consent) -> bool:
    """Keep what a patient said of training on their images; False where it stands so already.

    Raises:
        NotFound: the patient is not at a site of the actor, or was erased.
        Invalid: `consent_needed`: it is not what somebody who was asked says.
        Conflict: `consent_changed`: what is on record is not what the actor was `shown`.
    """
    _require_site(actor, patient.site_id)
    if consent is Consent.NOT_ASKED:
        raise Invalid("consent_needed")
    with transaction():
        _hold(patient)
        _require_not_erased(patient)
        if patient.consent is consent:
            return False
        if patient.consent is not shown:
            raise Conflict("consent_changed", on_record=patient.consent)
        patient.consent = consent
        db.session.add(
            ConsentChange(patient=patient, consent=consent, changed_by=actor, changed_at=now())
        )
        audit.record(
            actor=actor, action="patient.consent_recorded", subject=patient, consent=consent
        )
    return True


def create_case(
    *,
    actor: User,
    patient: Patient,
    reading_task: ReadingTask,
    priority: Priority,
    age_at_acquisition_years: int | None,
    body_site: str | None,
    laterality: Laterality = Laterality.UNKNOWN,
    note: str,
    form_token: str,
    images: Sequence[NewImage],
    is_demonstration: bool = False,
    region: Region | None = None,
) -> Case:
    """File a case with its images, in the order given, all of the same `region`. An age that is not
    given follows from the birth year.

    Raises:
        NotFound: the patient is not at a site of the actor.
        Invalid: there are no images, or too many.
        storage.Gone: a picture has left the store with an erased patient since it was stored.
    """
    _require_site(actor, patient.site_id)
    if not 1 <= len(images) <= MAX_IMAGES:
        raise Invalid("image_count", count=len(images), limit=MAX_IMAGES)
    moment = now()
    with transaction():
        for image in images:
            storage.hold((image.sha256, image.thumbnail_sha256))
        case = Case(
            patient=patient,
            site_id=patient.site_id,
            reading_task=reading_task,
            priority=priority,
            age_at_acquisition_years=Particulars.of(patient).age_at(moment)
            if age_at_acquisition_years is None
            else age_at_acquisition_years,
            age_is_derived=age_at_acquisition_years is None,
            body_site=plain_text(body_site or "") or None,
            laterality=laterality,
            note=plain_text(note),
            form_token=form_token,
            submitted_by=actor,
            submitted_at=moment,
            is_demonstration=is_demonstration,
            images=[_filed(image, position, region) for position, image in enumerate(images)],
        )
        db.session.add(case)
        db.session.flush()
    return case


def move_case(
    *,
    actor: User,
    case: Case,
    identifier: str,
    registers: bool,
    reason: str,
    shown_patient_id: int,
) -> CaseMove:
    """File a case for another patient of its site. An age that followed from the birth year of the
    one follows from that of the other; the move is kept.

    The caller has the case read anew and then records the move, as with `correct_patient`.

    Raises:
        NotFound: the case is not at a site of the actor.
        Invalid: `identifier`, or `reason_needed`.
        Conflict: `unknown_patient`: the site knows nobody by this identifier, and the actor did not
            say that they are to be registered (`registers`); `case_moved`: the case is filed for
            another patient, who is `on_record`, than the actor was shown; `same_patient`.
    """
    _require_site(actor, case.site_id)
    identifier, reason = _checked_identifier(identifier), plain_text(reason)
    if not reason:
        raise Invalid("reason_needed")
    with transaction():
        patient = queries.find_patient(site_id=case.site_id, identifier=identifier)
        if patient is None and registers:
            patient = _register(case.site, identifier, None, Sex.UNKNOWN)
        if patient is None:
            raise Conflict("unknown_patient")
        # Both, in this order: whoever corrects one of them has to wait, and so does a move back.
        _hold_all({shown_patient_id, patient.id})
        db.session.refresh(case, with_for_update={"of": Case})
        if case.patient_id != shown_patient_id:
            raise Conflict("case_moved", on_record=case.patient)
        if patient.id == case.patient_id:
            raise Conflict("same_patient")
        move = CaseMove(
            case=case,
            from_patient=case.patient,
            to_patient=patient,
            reason=reason,
            moved_by=actor,
            moved_at=now(),
        )
        db.session.add(move)
        case.patient = patient
        for image in case.images:
            image.region = None  # it is the other one's; nobody has said which of this one's it is
        if case.age_is_derived:
            case.age_at_acquisition_years = Particulars.of(patient).age_at(case.submitted_at)
        db.session.flush()
    return move


def correct_case(
    *, actor: User, case: Case, shown: str, corrected: CaseParticulars, reason: str
) -> Sequence[str]:
    """Change what is said of a case; returns the names of what changed. What was said before is
    kept.

    The caller has the case read anew and then records the change, as with `correct_patient`.

    Raises:
        NotFound: the case is not at a site of the actor.
        Invalid: `reason_needed`; `priority`: it is lower than what was asked for.
        Conflict: `case_changed`: what is `on_record` is not what the actor was shown, of which
            `shown` is the mark.
    """
    _require_site(actor, case.site_id)
    reason = plain_text(reason)
    if not reason:
        raise Invalid("reason_needed")
    with transaction():
        _hold(case.patient)
        _require_not_erased(case.patient)
        db.session.refresh(case, with_for_update={"of": Case})
        on_record = CaseParticulars.of(case)
        if on_record.mark != shown:
            raise Conflict("case_changed", on_record=on_record)
        if corrected.priority.rank < on_record.priority.rank:
            raise Invalid("priority")
        corrected = replace(
            corrected,
            body_site=plain_text(corrected.body_site or "") or None,
            note=plain_text(corrected.note),
        )
        said = asdict(corrected)
        changed = [name for name, value in asdict(on_record).items() if said[name] != value]
        if changed:
            _correct(actor, case, corrected, reason)
    return changed


def find_or_create_region(
    *, patient: Patient, reading_task: ReadingTask, label: str
) -> Region | None:
    """The lesion or eye that a label names for a patient who is held, made if it is new. None
    without a label, and where images of the reading task are not followed by any.

    Raises:
        Invalid: `region`: the label is longer than the record allows, or names no eye.
    """
    label, kind = queries.normal_identifier(label), reading_task.region_kind
    if not label or kind is None:
        return None
    is_no_eye = kind is RegionKind.EYE and label not in list(Side)
    if is_no_eye or len(label) > Region.label.type.length:
        raise Invalid("region", limit=Region.label.type.length)
    region = queries.find_region(patient=patient, reading_task_id=reading_task.id, label=label)
    if region is None:
        region = Region(
            patient=patient,
            reading_task=reading_task,
            label=label,
            key=queries.region_key(label),
            created_at=now(),
        )
        db.session.add(region)
        db.session.flush()
    return region


def name_regions(
    *, actor: User, case: Case, labels: Sequence[str], shown: str
) -> Sequence[Region | None]:
    """Say of each image of a case, in their order, which lesion or eye of the patient it shows;
    without a label, that nobody knows.

    No model is told, and a decision does not rest on it: it can be said of signed cases as well.

    Raises:
        NotFound: the case is not at a site of the actor, or its patient was erased.
        Conflict: `regions_changed`: someone has said something else than was `shown`, of which that
            is the mark, or has moved the case to another patient.
        Invalid: `region`: a label cannot be one.
    """
    _require_site(actor, case.site_id)
    with transaction():
        patient = case.patient
        _hold(patient)
        _require_not_erased(patient)
        db.session.refresh(case, ["patient_id"], with_for_update={"of": Case})
        images = db.session.scalars(
            select(Image)
            .where(Image.case_id == case.id)
            .order_by(Image.position)
            .execution_options(populate_existing=True)
        ).all()
        regions = [
            find_or_create_region(patient=patient, reading_task=case.reading_task, label=label)
            for label in labels
        ]
        named = [
            (image, region)
            for image, region in zip(images, regions, strict=True)
            if image.region_id != (region.id if region else None)
        ]
        if named and (case.regions_mark != shown or case.patient_id != patient.id):
            raise Conflict("regions_changed")
        for image, region in named:
            _name_region(actor, image, region)
    return regions


def plain_text(text: str) -> str:
    """Text as it is kept: without control characters, some of which a database refuses, and
    without space around it. Lines stay."""
    return _CONTROL_CHARACTERS.sub("", text).strip()


def _require_not_erased(patient: Patient) -> None:
    if patient.erased_at is not None:
        raise NotFound("patient", patient_id=patient.id)


def _require_site(actor: User, site_id: int) -> None:
    if not actor.can(Permission.SUBMIT_CASES) or site_id not in actor.site_ids:
        raise NotFound("site", site_id=site_id)


def _checked_identifier(identifier: str) -> str:
    identifier = queries.normal_identifier(identifier)
    if not 1 <= len(identifier) <= Patient.identifier.type.length:
        raise Invalid("identifier", limit=Patient.identifier.type.length)
    return identifier


def _check_birth_year(birth_year: int | None) -> None:
    latest = now().year
    if birth_year is not None and not FIRST_BIRTH_YEAR <= birth_year <= latest:
        raise Invalid("birth_year", first=FIRST_BIRTH_YEAR, latest=latest)


def _register(site: Site, identifier: str, birth_year: int | None, sex: Sex) -> Patient:
    patient = Patient(
        site=site, identifier=identifier, birth_year=birth_year, sex=sex, created_at=now()
    )
    try:
        with db.session.begin_nested():
            db.session.add(patient)
    except IntegrityError:
        # Another request registered the same patient between the look and the insert.
        registered = queries.find_patient(site_id=site.id, identifier=identifier)
        if registered is None:
            raise
        return registered
    return patient


def _hold(patient: Patient) -> None:
    """Read the row as it is now, and keep others from changing it to the end of the transaction."""
    _hold_all({patient.id})


def _hold_all(patient_ids: Collection[int]) -> None:
    db.session.scalars(
        select(Patient)
        .where(Patient.id.in_(patient_ids))
        .order_by(Patient.id)
        .with_for_update(of=Patient)
        .execution_options(populate_existing=True)
    ).all()


def _check_agrees(patient: Patient, birth_year: int | None, sex: Sex) -> None:
    """What was left blank says nothing, and neither does what is not on record."""
    on_record = Particulars.of(patient)
    birth_year_differs = None not in (on_record.birth_year, birth_year) and (
        on_record.birth_year != birth_year
    )
    sex_differs = Sex.UNKNOWN not in (on_record.sex, sex) and on_record.sex is not sex
    if birth_year_differs or sex_differs:
        raise Conflict("patient_differs", on_record=on_record)


def _change(actor: User, patient: Patient, new: Particulars) -> Sequence[str]:
    changed = [
        name for name in ("birth_year", "sex") if getattr(patient, name) != getattr(new, name)
    ]
    if not changed:
        return changed
    former = FormerParticulars(
        patient_id=patient.id,
        birth_year=patient.birth_year,
        sex=patient.sex,
        corrected_by=actor,
        corrected_at=now(),
    )
    db.session.add(former)
    patient.birth_year, patient.sex = new.birth_year, new.sex
    if "birth_year" in changed:
        derived = select(Case).where(Case.patient_id == patient.id, Case.age_is_derived)
        for case in db.session.scalars(derived):
            case.age_at_acquisition_years = new.age_at(case.submitted_at)
    return changed


def _correct(actor: User, case: Case, corrected: CaseParticulars, reason: str) -> None:
    former = FormerCase(
        case_id=case.id,
        priority=case.priority,
        age_at_acquisition_years=case.age_at_acquisition_years,
        age_is_derived=case.age_is_derived,
        body_site=case.body_site,
        laterality=case.laterality,
        note=case.note,
        reason=reason,
        corrected_by=actor,
        corrected_at=now(),
    )
    db.session.add(former)
    age = corrected.age_at_acquisition_years
    case.age_is_derived = age is None
    case.age_at_acquisition_years = (
        Particulars.of(case.patient).age_at(case.submitted_at) if age is None else age
    )
    case.priority = corrected.priority
    case.body_site = corrected.body_site
    case.laterality = corrected.laterality
    case.note = corrected.note
    db.session.flush()


def _name_region(actor: User, image: Image, region: Region | None) -> None:
    former_id, image.region = image.region_id, region
    audit.record(
        actor=actor,
        action="case.region_named",
        subject=image.case,
        image_id=image.id,
        region_id=region.id if region else None,
        former_region_id=former_id,
    )


def _filed(image: NewImage, position: int, region: Region | None) -> Image:
    return Image(
        position=position,
        region=region,
        sha256=image.sha256,
        thumbnail_sha256=image.thumbnail_sha256,
        media_type=image.media_type,
        width_px=image.width_px,
        height_px=image.height_px,
        original_sha256=image.original_sha256,
        original_file_name=image.original_file_name,
        notices=list(image.notices),
        sop_instance_uid=image.sop_instance_uid,
        study_instance_uid=image.study_instance_uid,
    )


def _base_name(file_name: str) -> str:
    name = re.split(r"[/\\]", file_name)[-1]
    printable = "".join(character for character in name if character.isprintable())
    return printable.strip()[: Image.original_file_name.type.length]
