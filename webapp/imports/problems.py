"""What can stand against a row of a table, and what should be known of it, in words."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from flask_babel import lazy_gettext as _l

from webapp import imaging


class Trouble(enum.StrEnum):
    """What it is about; a warning keeps no row from being filed."""

    NO_FILE = "no_file"
    FILE_MISSING = "file_missing"
    FILE_AMBIGUOUS = "file_ambiguous"
    TOO_MANY_FILES = "too_many_files"
    ARCHIVE_DAMAGED = "archive_damaged"
    IMAGE = "image"
    IDENTIFIER = "identifier"
    BIRTH_YEAR = "birth_year"
    SEX = "sex"
    READING_TASK = "reading_task"
    PRIORITY = "priority"
    AGE = "age"
    BODY_SITE = "body_site"
    SIDE = "side"
    NOTE = "note"
    SEVERAL_PATIENTS = "several_patients"
    OTHER_MODALITY = "other_modality"
    PATIENT_DIFFERS = "patient_differs"
    ALREADY_FILED = "already_filed"
    SAME_AS_ROW = "same_as_row"
    DIFFERS_FROM_ROW = "differs_from_row"
    GAVE_UP = "gave_up"
    NOT_FILED = "not_filed"
    DIFFERS_FROM_DICOM = "differs_from_dicom"
    FILED_ELSEWHERE = "filed_elsewhere"
    IN_OTHER_ROW = "in_other_row"

    @property
    def is_warning(self) -> bool:
        return self in _WARNINGS


_WARNINGS = (Trouble.DIFFERS_FROM_DICOM, Trouble.FILED_ELSEWHERE, Trouble.IN_OTHER_ROW)
_SENTENCES = {
    Trouble.NO_FILE: _l("The row names no file."),
    Trouble.FILE_MISSING: _l("The archive has no file %(file)s."),
    Trouble.FILE_AMBIGUOUS: _l("The archive has several files %(file)s: name its folder as well."),
    Trouble.TOO_MANY_FILES: _l("At most %(limit)s images make a case."),
    Trouble.ARCHIVE_DAMAGED: _l("%(file)s cannot be taken out of the archive."),
    Trouble.IDENTIFIER: _l(
        "The patient identifier is missing or longer than %(limit)s characters."
    ),
    Trouble.BIRTH_YEAR: _l("The birth year must be from %(first)s to %(last)s."),
    Trouble.SEX: _l("The sex must be female, male, other or unknown."),
    Trouble.READING_TASK: _l("The reading task must be one of: %(known)s."),
    Trouble.PRIORITY: _l("The priority must be one of: %(known)s."),
    Trouble.AGE: _l("The age must be from 0 to %(limit)s years, and fit the birth year."),
    Trouble.BODY_SITE: _l("The body site must be one of: %(known)s."),
    Trouble.SIDE: _l("The side must be left, right or unknown."),
    Trouble.NOTE: _l("The note is longer than %(limit)s characters."),
    Trouble.SEVERAL_PATIENTS: _l("The DICOM files of this row are of different patients."),
    Trouble.OTHER_MODALITY: _l(
        "%(file)s is of the DICOM modality %(modality)s, which this reading task does not read."
    ),
    Trouble.PATIENT_DIFFERS: _l(
        "On record, this patient has another birth year or sex. Correct one of them first."
    ),
    Trouble.ALREADY_FILED: _l("The image is already filed for this patient, as case %(case_id)s."),
    Trouble.SAME_AS_ROW: _l("Row %(row)s has the same image for the same patient."),
    Trouble.DIFFERS_FROM_ROW: _l("Row %(row)s gives this patient another birth year or sex."),
    Trouble.GAVE_UP: _l("This row ended in an error several times and was given up."),
    Trouble.NOT_FILED: _l("Something changed after the check, so the row was not filed."),
    Trouble.DIFFERS_FROM_DICOM: _l(
        "The DICOM file says %(told)s for %(column)s; the table is followed."
    ),
    Trouble.FILED_ELSEWHERE: _l(
        "The image is already filed for another patient: %(identifier)s, case %(case_id)s."
    ),
    Trouble.IN_OTHER_ROW: _l("Row %(row)s has the same image for another patient."),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that stands against a row, or that should be known of it."""

    trouble: Trouble
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, trouble: Trouble, **facts: Any) -> Self:
        return cls(trouble, facts)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        return cls(Trouble(plain["trouble"]), plain["facts"])

    def plain(self) -> dict[str, Any]:
        """As it is kept in a row."""
        return {"trouble": self.trouble.value, "facts": dict(self.facts)}

    @property
    def is_warning(self) -> bool:
        return self.trouble.is_warning

    @property
    def sentence(self) -> str:
        """What a reader is told."""
        if self.trouble is Trouble.IMAGE:
            refusal = imaging.explain(self.facts["reason"], self.facts["facts"])
            return f"{self.facts['file']}: {refusal}"
        return str(_SENTENCES[self.trouble] % self.facts)
