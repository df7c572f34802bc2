"""Patients, cases, images, and what was on record before: of a patient, of a case, and of whom it
was."""

import datetime as dt
import enum
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass
from typing import Self

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    or_,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp import storage
from webapp.accounts.models import Site, User
from webapp.catalogue.models import Priority, ReadingTask, RegionKind
from webapp.catalogue.wording import translated
from webapp.db import Base, db, value_enum

OLDEST_YEARS = 130


class Sex(enum.StrEnum):
    """Administrative sex, as FHIR's AdministrativeGender has it."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"
    UNKNOWN = "unknown"

    @property
    def label(self) -> str:
        return _SEX_LABELS[self]


_SEX_LABELS = {
    Sex.FEMALE: _l("Female"),
    Sex.MALE: _l("Male"),
    Sex.OTHER: _l("Other"),
    Sex.UNKNOWN: _l("Unknown"),
}


class Laterality(enum.StrEnum):
    """Of which side of the body images are, where a reading task asks for it."""

    LEFT = "left"
    RIGHT = "right"
    UNKNOWN = "unknown"

    @property
    def label(self) -> str:
        return _LATERALITY_LABELS[self]


_LATERALITY_LABELS = {
    Laterality.LEFT: _l("Left"),
    Laterality.RIGHT: _l("Right"),
    Laterality.UNKNOWN: _l("Unknown"),
}


class Consent(enum.StrEnum):
    """Whether models may be trained on a patient's images."""

    NOT_ASKED = "not_asked"
    GIVEN = "given"
    WITHDRAWN = "withdrawn"
    """Or never given: refused."""

    @property
    def label(self) -> str:
        return _CONSENT_LABELS[self]

    @property
    def tone(self) -> str:
        return _CONSENT_TONES[self]


_CONSENT_LABELS = {
    Consent.NOT_ASKED: _l("Not asked"),
    Consent.GIVEN: _l("Given"),
    Consent.WITHDRAWN: _l("Refused or withdrawn"),
}
_CONSENT_TONES = {
    Consent.NOT_ASKED: "neutral",
    Consent.GIVEN: "good",
    Consent.WITHDRAWN: "warning",
}


class Patient(Base):
    """A person, known to one site by its own identifier."""

    __tablename__ = "patients"
    __table_args__ = (
        UniqueConstraint("site_id", "identifier"),
        UniqueConstraint("id", "site_id"),
        CheckConstraint("birth_year BETWEEN 1850 AND 2200", name="birth_year_plausible"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    identifier: Mapped[str] = mapped_column(
        String(64).with_variant(String(64, collation="C"), "postgresql")
    )
    """Ordered by code point, so that an index finds a prefix."""
    birth_year: Mapped[int | None]
    sex: Mapped[Sex] = mapped_column(value_enum(Sex))
    consent: Mapped[Consent] = mapped_column(
        value_enum(Consent), default=Consent.NOT_ASKED, server_default=Consent.NOT_ASKED.value
    )
    """To training, as the latest `ConsentChange` says."""
    created_at: Mapped[dt.datetime]
    erased_at: Mapped[dt.datetime | None]
    """Since when nothing tells who they were, and no picture of them is kept."""

    site: Mapped[Site] = relationship()
    cases: Mapped[list["Case"]] = relationship(
        back_populates="patient", order_by="Case.submitted_at.desc()", viewonly=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """What is on record of a patient, beside who they are."""

    birth_year: int | None
    sex: Sex

    @classmethod
    def of(cls, known: "Patient | FormerParticulars") -> Self:
        return cls(birth_year=known.birth_year, sex=known.sex)

    @property
    def in_words(self) -> str:
        return _(
            "born %(year)s, sex %(sex)s",
            year=self.birth_year or _("unknown"),
            sex=self.sex.label,
        )

    def age_at(self, moment: dt.datetime) -> int | None:
        """Years of age at a moment, as far as a birth year tells."""
        if self.birth_year is None or not 0 <= moment.year - self.birth_year <= OLDEST_YEARS:
            return None
        return moment.year - self.birth_year

    def age_in(self, case: "Case") -> int | None:
        """Years of age when the images of a case were taken, if these are its patient's."""
        if case.age_is_derived:
            return self.age_at(case.submitted_at)
        return case.age_at_acquisition_years


class FormerParticulars(Base):
    """What was on record of a patient until somebody corrected it; the database lets nobody change
    or remove it."""

    __tablename__ = "former_particulars"

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"), index=True)
    birth_year: Mapped[int | None]
    sex: Mapped[Sex] = mapped_column(value_enum(Sex))
    corrected_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    corrected_at: Mapped[dt.datetime]

    corrected_by: Mapped[User] = relationship()


class Side(enum.StrEnum):
    """Which of a patient's two eyes: what an eye is labelled with."""

    RIGHT = "right"
    LEFT = "left"

    @property
    def label(self) -> str:
        return _SIDE_LABELS[self]


_SIDE_LABELS = {Side.RIGHT: _l("Right eye"), Side.LEFT: _l("Left eye")}


class Region(Base):
    """A lesion or an eye of a patient, which several cases may show."""

    __tablename__ = "regions"
    __table_args__ = (UniqueConstraint("patient_id", "reading_task_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"))
    label: Mapped[str] = mapped_column(String(60))
    """As clinicians call it; of an eye its `Side`."""
    key: Mapped[str] = mapped_column(Text)
    """The label without regard to upper and lower case: the same key is the same region."""
    created_at: Mapped[dt.datetime]

    patient: Mapped[Patient] = relationship()
    reading_task: Mapped[ReadingTask] = relationship()

    @property
    def name(self) -> str:
        """What pages call it."""
        if self.reading_task.region_kind is RegionKind.EYE and self.label in list(Side):
            return str(Side(self.label).label)
        return self.label

    @property
    def site_id(self) -> int:
        return self.patient.site_id


class Case(Base):
    """One question about one patient: the item of the worklist."""

    __tablename__ = "cases"
    __table_args__ = (
        ForeignKeyConstraint(["patient_id", "site_id"], ["patients.id", "patients.site_id"]),
        CheckConstraint(
            "age_at_acquisition_years BETWEEN 0 AND 130", name="age_at_acquisition_plausible"
        ),
        Index("ix_cases_worklist", "site_id", "id", "reading_task_id"),
        Index(None, "patient_id", "submitted_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[int]
    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"))
    """The patient's site, repeated here so that a worklist reads one index."""
    reading_task_id: Mapped[int] = mapped_column(ForeignKey("reading_tasks.id"))
    priority: Mapped[Priority] = mapped_column(value_enum(Priority))
    age_at_acquisition_years: Mapped[int | None]
    age_is_derived: Mapped[bool]
    """It follows from the patient's birth year, and changes with it; unknown as long as that is."""
    body_site: Mapped[str | None] = mapped_column(String(60))
    laterality: Mapped[Laterality] = mapped_column(
        value_enum(Laterality), default=Laterality.UNKNOWN
    )
    note: Mapped[str] = mapped_column(Text)
    form_token: Mapped[str] = mapped_column(String(64), unique=True)
    """Names the form that was sent: the same one sent again is the same case."""
    submitted_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    submitted_at: Mapped[dt.datetime] = mapped_column(index=True)
    is_demonstration: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It shows how Firstlook works, with a published picture and no patient: never to be counted,
    and never to be learnt from."""
    assigned_to_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """Who has taken it; None while it is everybody's."""

    patient: Mapped[Patient] = relationship(
        back_populates="cases", foreign_keys="[Case.patient_id, Case.site_id]"
    )
    site: Mapped[Site] = relationship(foreign_keys=[site_id], viewonly=True)
    reading_task: Mapped[ReadingTask] = relationship()
    submitted_by: Mapped[User] = relationship(foreign_keys=[submitted_by_id])
    assigned_to: Mapped[User | None] = relationship(foreign_keys=[assigned_to_id])
    images: Mapped[list["Image"]] = relationship(
        back_populates="case", order_by="Image.position", cascade="all, delete-orphan"
    )

    @property
    def images_by_region(self) -> "dict[Region | None, list[Image]]":
        """Its images by the lesion or eye that they show; by None those of which nobody has
        said."""
        groups: dict[Region | None, list[Image]] = {}
        for image in self.images:
            groups.setdefault(image.region, []).append(image)
        return groups

    @property
    def regions_mark(self) -> str:
        """Differs where anything that is said of its images does, or whose they are."""
        numbers = (self.patient_id, *(image.region_id or 0 for image in self.images))
        return " ".join(map(str, numbers))


class Image(Base):
    """One picture of a case, as it was cleaned and stored."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("case_id", "position"),
        CheckConstraint("length(sha256) = 64", name="sha256_length"),
        CheckConstraint("length(original_sha256) = 64", name="original_sha256_length"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    position: Mapped[int]
    """0 for the first."""
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Of the stored bytes, which is also the name of the blob."""
    thumbnail_sha256: Mapped[str] = mapped_column(String(64))
    media_type: Mapped[str] = mapped_column(String(40))
    width_px: Mapped[int]
    height_px: Mapped[int]
    original_sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Of the bytes that were uploaded."""
    original_file_name: Mapped[str] = mapped_column(String(255))
    """Private: may name the patient; shown to those who see the case, never used as a path."""
    notices: Mapped[list[str]] = mapped_column(JSON)
    """What was changed on the way in: `imaging.Notice` values."""
    sop_instance_uid: Mapped[str | None] = mapped_column(String(64), index=True)
    """What DICOM names the picture by, if it came as such a file."""
    study_instance_uid: Mapped[str | None] = mapped_column(String(64))
    region_id: Mapped[int | None] = mapped_column(ForeignKey("regions.id"), index=True)
    """The patient's lesion or eye that it shows; None while nobody has said."""

    region: Mapped[Region | None] = relationship()
    case: Mapped[Case] = relationship(back_populates="images")


@storage.names_pictures
def _on_file(sha256s: Collection[str]) -> Iterable[str]:
    """Pictures and thumbnails of patients, but for those who are erased."""
    found = db.session.execute(
        select(Image.sha256, Image.thumbnail_sha256)
        .join(Image.case)
        .join(Case.patient)
        .where(
            or_(Image.sha256.in_(sha256s), Image.thumbnail_sha256.in_(sha256s)),
            Patient.erased_at.is_(None),
        )
    )
    return (sha256 for row in found for sha256 in row)


class CaseMove(Base):
    """A case was filed for one patient and is filed for another one since; the database lets
    nobody change or remove it."""

    __tablename__ = "case_moves"
    __table_args__ = (
        CheckConstraint("from_patient_id <> to_patient_id", name="moved"),
        CheckConstraint("reason <> ''", name="reason_given"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), index=True)
    from_patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    to_patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    reason: Mapped[str] = mapped_column(Text)
    moved_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    moved_at: Mapped[dt.datetime]

    case: Mapped[Case] = relationship()
    from_patient: Mapped[Patient] = relationship(foreign_keys=[from_patient_id])
    to_patient: Mapped[Patient] = relationship(foreign_keys=[to_patient_id])
    moved_by: Mapped[User] = relationship()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseParticulars:
    """What is said of a case, beside whose it is and what it shows."""

    priority: Priority
    age_at_acquisition_years: int | None
    """As somebody said; None where it follows from the patient's birth year."""
    body_site: str | None
    laterality: Laterality
    note: str

    @classmethod
    def of(cls, known: "Case | FormerCase") -> Self:
        return cls(
            priority=known.priority,
            age_at_acquisition_years=None
            if known.age_is_derived
            else known.age_at_acquisition_years,
            body_site=known.body_site,
            laterality=known.laterality,
            note=known.note,
        )

    @property
    def facts(self) -> dict[str, str]:
        """What is said, by what it is called, in words."""
        age = self.age_at_acquisition_years
        return {
            _("Priority"): self.priority.label,
            _("Age at acquisition"): _("from the birth year") if age is None else str(age),
            _("Body site"): translated(self.body_site) or _("unknown"),
            _("Side"): self.laterality.label,
            _("Note"): self.note or _("none"),
        }

    @property
    def in_words(self) -> str:
        return "; ".join(f"{name}: {value}" for name, value in self.facts.items())

    @property
    def mark(self) -> str:
        """Differs where anything does, and tells nothing."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:16]


class FormerCase(Base):
    """What was said of a case until somebody corrected it; the database lets nobody change or
    remove it."""

    __tablename__ = "former_cases"
    __table_args__ = (CheckConstraint("reason <> ''", name="reason_given"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), index=True)
    priority: Mapped[Priority] = mapped_column(value_enum(Priority))
    age_at_acquisition_years: Mapped[int | None]
    age_is_derived: Mapped[bool]
    body_site: Mapped[str | None] = mapped_column(String(60))
    laterality: Mapped[Laterality] = mapped_column(value_enum(Laterality))
    note: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    corrected_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    corrected_at: Mapped[dt.datetime]

    corrected_by: Mapped[User] = relationship()


class ConsentChange(Base):
    """What a patient said of training on their images; the database lets nobody change or remove
    it."""

    __tablename__ = "consent_changes"
    __table_args__ = (CheckConstraint("consent <> 'not_asked'", name="was_asked"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"), index=True)
    consent: Mapped[Consent] = mapped_column(value_enum(Consent))
    changed_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    changed_at: Mapped[dt.datetime]

    patient: Mapped[Patient] = relationship()
    changed_by: Mapped[User] = relationship()
