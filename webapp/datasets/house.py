"""The house's own patients in trainings: which of them are test for ever, and their other names.

All of it follows from a patient's row number and a key, so it never changes and is kept nowhere.
"""

import hashlib
import hmac

from flask import current_app

from webapp.cases.models import Patient
from webapp.datasets.models import Side

TEST_SHARE = 0.2
TUNE_SHARE = 0.1
"""Of the patients who are not test."""


def is_test_patient(patient: Patient) -> bool:
    """Whether models never learn from this patient's cases: they are reserved, so that models can
    be measured on them. Comparisons read the published locked test alone."""
    return side_of(patient.id) is Side.TEST


def side_of(patient_id: int) -> Side:
    """What a training does with the cases of a patient."""
    if _draw("test", patient_id) < TEST_SHARE:
        return Side.TEST
    return Side.TUNE if _draw("tune", patient_id) < TUNE_SHARE else Side.TRAIN


def pseudonym(patient_id: int) -> str:
    """What a manifest calls a patient: always the same, and of no use without the key."""
    return f"house-{_digest('name', patient_id)[:16]}"


def _draw(purpose: str, patient_id: int) -> float:
    """A number from 0 to below 1 that is a patient's for ever."""
    return int(_digest(purpose, patient_id)[:13], 16) / 16**13


def _digest(purpose: str, patient_id: int) -> str:
    """By the key of the record, which an installation keeps for ever, alike on every machine; the
    text before the number makes it another key than the record's own."""
    key: bytes = current_app.extensions["audit_key"]
    text = f"patients in trainings: {purpose} {patient_id}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
