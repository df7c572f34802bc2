"""What DICOM files tell of a case, put together."""

from dataclasses import replace

import pytest

from webapp.cases.models import Laterality, Sex
from webapp.dicom import DicomFacts
from webapp.errors import Conflict
from webapp.triage.told import Told, told_by

FACTS = DicomFacts(
    sop_instance_uid=None,
    study_instance_uid=None,
    modality="XC",
    identifier=" A  1",
    birth_year=1961,
    age_years=50,
    sex="other",
    side="left",
    body_part="Skin of thigh",
)


def test_it_is_in_the_words_of_a_case() -> None:
    assert told_by([FACTS, None], body_sites=["lower extremity"]) == Told(
        identifier="A 1",
        birth_year=1961,
        sex=Sex.OTHER,
        age_at_acquisition_years=50,
        laterality=Laterality.LEFT,
        body_site="lower extremity",
    )
    assert told_by([FACTS], body_sites=["hand"]).body_site is None
    assert told_by([None]) == Told()


def test_what_files_contradict_each_other_in_is_left_open() -> None:
    other = replace(FACTS, age_years=51, side="right", body_part="HAND")
    both = told_by([FACTS, other], body_sites=["hand", "lower extremity"])
    assert (both.age_at_acquisition_years, both.laterality, both.body_site) == (None, None, None)
    assert (both.identifier, both.birth_year) == ("A 1", 1961)


@pytest.mark.parametrize("change", [{"identifier": "A 2"}, {"birth_year": 1}, {"sex": "male"}])
def test_different_patients_are_a_conflict(change: dict) -> None:
    assert told_by([FACTS, replace(FACTS, identifier="", birth_year=None, sex=None)]).birth_year
    with pytest.raises(Conflict, match="several_patients"):
        told_by([FACTS, replace(FACTS, **change)])
