"""Patients, cases and images, as far as the one who asks may see them."""

import datetime as dt
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import contains_eager, joinedload, selectinload

from webapp.accounts.models import User
from webapp.cases.models import (
    Case,
    CaseMove,
    CaseParticulars,
    ConsentChange,
    FormerCase,
    FormerParticulars,
    Image,
    Particulars,
    Patient,
    Region,
)
from webapp.db import db
from webapp.errors import NotFound
from webapp.permissions import Permission


def visible_site_ids(actor: User) -> frozenset[int]:
    """The sites whose patients the actor may see: their own, and only with a role that sees any."""
    return actor.site_ids if actor.can(Permission.VIEW_CASES) else frozenset()


def normal_identifier(identifier: str) -> str:
    """A patient identifier as it is kept, so that one that was typed otherwise is the same."""
    words = unicodedata.normalize("NFKC", identifier).split()
    return "".join(character for character in " ".join(words) if character.isprintable())


def region_key(label: str) -> str:
    """What is alike in all ways to write the label of a lesion or an eye."""
    return normal_identifier(label).casefold()


def find_patient(*, site_id: int, identifier: str) -> Patient | None:
    """The patient whom a site knows by this identifier, whoever asks."""
    return db.session.scalars(
        select(Patient).where(
            Patient.site_id == site_id, Patient.identifier == normal_identifier(identifier)
        )
    ).one_or_none()


def get_case(*, actor: User, case_id: int) -> Case:
    """A case with its patient, reading task and images.

    Raises:
        NotFound: there is none, or it is not at a site of the actor.
    """
    case = db.session.scalars(
        select(Case)
        .where(Case.id == case_id, Case.site_id.in_(visible_site_ids(actor)))
        .options(
            joinedload(Case.patient),
            joinedload(Case.reading_task),
            joinedload(Case.submitted_by),
            selectinload(Case.images).joinedload(Image.region),
        )
    ).one_or_none()
    if case is None:
        raise NotFound("case", case_id=case_id)
    return case


def get_patient(*, actor: User, patient_id: int) -> Patient:
    """A patient with all their cases, the latest first.

    Raises:
        NotFound: there is none, or they are not at a site of the actor.
    """
    patient = db.session.scalars(
        select(Patient)
        .where(Patient.id == patient_id, Patient.site_id.in_(visible_site_ids(actor)))
        .options(joinedload(Patient.site), selectinload(Patient.cases))
    ).one_or_none()
    if patient is None:
        raise NotFound("patient", patient_id=patient_id)
    return patient


def consent_changes(patient: Patient) -> Sequence[ConsentChange]:
    """What a patient said of training on their images, the latest first."""
    return db.session.scalars(
        select(ConsentChange)
        .where(ConsentChange.patient_id == patient.id)
        .order_by(ConsentChange.id.desc())
        .options(joinedload(ConsentChange.changed_by))
    ).all()


def get_region(*, actor: User, region_id: int) -> Region:
    """A lesion or an eye, with its patient.

    Raises:
        NotFound: there is none, or its patient is not at a site of the actor.
    """
    region = db.session.scalars(
        select(Region)
        .join(Region.patient)
        .where(Region.id == region_id, Patient.site_id.in_(visible_site_ids(actor)))
        .options(
            contains_eager(Region.patient).joinedload(Patient.site),
            joinedload(Region.reading_task),
        )
    ).one_or_none()
    if region is None:
        raise NotFound("region", region_id=region_id)
    return region


def find_region(*, patient: Patient, reading_task_id: int, label: str) -> Region | None:
    """The lesion or eye of a patient that has this label at a reading task."""
    return db.session.scalars(
        select(Region).where(
            Region.patient_id == patient.id,
            Region.reading_task_id == reading_task_id,
            Region.key == region_key(label),
        )
    ).one_or_none()


def regions_of(patient: Patient) -> Sequence[Region]:
    """A patient's lesions and eyes that an image shows, by label."""
    return db.session.scalars(
        select(Region)
        .where(Region.patient_id == patient.id, exists().where(Image.region_id == Region.id))
        .order_by(Region.key, Region.id)
        .options(joinedload(Region.reading_task))
    ).all()


def region_labels(*, patient: Patient, reading_task_id: int) -> list[str]:
    """What a patient's lesions or eyes are called that images of a reading task show."""
    known = regions_of(patient)
    return [region.label for region in known if region.reading_task_id == reading_task_id]


def get_image(*, actor: User, image_id: int) -> Image:
    """An image with its case.

    Raises:
        NotFound: there is none, or its case is not at a site of the actor.
    """
    image = db.session.scalars(
        select(Image)
        .join(Image.case)
        .where(Image.id == image_id, Case.site_id.in_(visible_site_ids(actor)))
        .options(contains_eager(Image.case))
    ).one_or_none()
    if image is None:
        raise NotFound("image", image_id=image_id)
    return image


def moves(case: Case) -> Sequence[CaseMove]:
    """Which patients a case was filed for before, the latest first."""
    return db.session.scalars(
        select(CaseMove)
        .where(CaseMove.case_id == case.id)
        .order_by(CaseMove.id.desc())
        .options(
            joinedload(CaseMove.from_patient),
            joinedload(CaseMove.to_patient),
            joinedload(CaseMove.moved_by),
        )
    ).all()


@dataclass(frozen=True, slots=True)
class Correction:
    """One change of what is on record of a patient."""

    former: Particulars
    corrected: Particulars
    by: User
    at: dt.datetime


def corrections(patient: Patient) -> Sequence[Correction]:
    """How the particulars of a patient were corrected, the earliest first."""
    replaced = db.session.scalars(
        select(FormerParticulars)
        .where(FormerParticulars.patient_id == patient.id)
        .order_by(FormerParticulars.id)
        .options(joinedload(FormerParticulars.corrected_by))
    ).all()
    known = [*map(Particulars.of, replaced), Particulars.of(patient)]
    return [
        Correction(former, corrected, row.corrected_by, row.corrected_at)
        for row, former, corrected in zip(replaced, known, known[1:], strict=False)
    ]


def particulars_at(patient: Patient, moment: dt.datetime) -> Particulars:
    """What was on record of a patient at a moment."""
    later = (one.former for one in corrections(patient) if one.at >= moment)
    return next(later, Particulars.of(patient))


@dataclass(frozen=True, slots=True)
class CaseCorrection:
    """One change of what is said of a case."""

    former: CaseParticulars
    corrected: CaseParticulars
    reason: str
    by: User
    at: dt.datetime

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """What is called how, and what was and is said of it."""
        before, after = self.former.facts, self.corrected.facts
        return [(name, before[name], after[name]) for name in after if before[name] != after[name]]


def case_corrections(case: Case) -> Sequence[CaseCorrection]:
    """How what is said of a case was corrected, the earliest first."""
    replaced = db.session.scalars(
        select(FormerCase)
        .where(FormerCase.case_id == case.id)
        .order_by(FormerCase.id)
        .options(joinedload(FormerCase.corrected_by))
    ).all()
    said = [*map(CaseParticulars.of, replaced), CaseParticulars.of(case)]
    return [
        CaseCorrection(former, corrected, row.reason, row.corrected_by, row.corrected_at)
        for row, former, corrected in zip(replaced, said, said[1:], strict=False)
    ]


def images_filed_elsewhere(
    *,
    actor: User,
    original_sha256s: Collection[str],
    stored_sha256s: Collection[str] = (),
    sop_instance_uids: Collection[str] = (),
    site_id: int,
    identifier: str,
) -> Sequence[Image]:
    """Images with the same uploaded or stored bytes, or the same name in DICOM, that are filed for
    another patient, oldest first; some of them, where there are very many.

    Only at the actor's sites: a warning must not tell of patients whom the actor may not see. Nor
    of demonstration cases: they show no patient, and their pictures are there to be tried.
    """
    same_patient = (Patient.site_id == site_id) & (
        Patient.identifier == normal_identifier(identifier)
    )
    return db.session.scalars(
        select(Image)
        .join(Image.case)
        .join(Case.patient)
        .where(
            or_(
                Image.original_sha256.in_(original_sha256s),
                Image.sha256.in_(stored_sha256s),
                Image.sop_instance_uid.in_(sop_instance_uids),
            ),
            Case.site_id.in_(visible_site_ids(actor)),
            Case.is_demonstration.is_(False),
            Patient.erased_at.is_(None),
            ~same_patient,
        )
        .options(contains_eager(Image.case).contains_eager(Case.patient))
        .order_by(Image.id)
        .limit(50)
    ).all()
