"""What DICOM files tell of a case, put together, in the words of a case."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from webapp.cases.models import Laterality, Sex
from webapp.cases.queries import normal_identifier
from webapp.dicom import DicomFacts
from webapp.errors import Conflict

Value = TypeVar("Value")

_BODY_SITES = {
    "arm": "upper extremity",
    "calf": "lower extremity",
    "elbow": "upper extremity",
    "finger": "acral",
    "forearm": "upper extremity",
    "genitalia": "genital",
    "knee": "lower extremity",
    "leg": "lower extremity",
    "lower leg": "lower extremity",
    "lower limb": "lower extremity",
    "palm": "acral",
    "sole": "acral",
    "thigh": "lower extremity",
    "toe": "acral",
    "upper arm": "upper extremity",
    "upper limb": "upper extremity",
}
"""What DICOM calls a part of the body, where reading tasks call it otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What files say; None of what they do not say, or contradict each other in."""

    identifier: str | None = None
    birth_year: int | None = None
    sex: Sex | None = None
    age_at_acquisition_years: int | None = None
    laterality: Laterality | None = None
    body_site: str | None = None


def told_by(files: Iterable[DicomFacts | None], *, body_sites: Collection[str] = ()) -> Told:
    """What the DICOM files among these tell; a body site where it is one of those asked for.

    Raises:
        Conflict: `several_patients`: they name different ones.
    """
    facts = [one for one in files if one is not None]
    identifiers = {normal_identifier(one.identifier) for one in facts} - {""}
    births = {one.birth_year for one in facts} - {None}
    sexes = {one.sex for one in facts} - {None}
    if len(identifiers) > 1 or len(births) > 1 or len(sexes) > 1:
        raise Conflict("several_patients")
    sex = _only(sexes)
    side = _only(one.side for one in facts)
    site = _only(_body_site(one.body_part) for one in facts)
    return Told(
        identifier=_only(identifiers),
        birth_year=_only(births),
        sex=Sex(sex) if sex else None,
        age_at_acquisition_years=_only(one.age_years for one in facts),
        laterality=Laterality(side) if side else None,
        body_site=site if site in body_sites else None,
    )


def _body_site(body_part: str) -> str:
    name = body_part.lower().removeprefix("skin of ")
    return _BODY_SITES.get(name, name)


def _only(values: Iterable[Value]) -> Value | None:
    different = set(values)
    return different.pop() if len(different) == 1 else None
