"""What is known of a patient, as numbers a network reads: one encoding for training and serving.

An encoding is known by its name, which a bundle states; a changed encoding gets another name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

UNKNOWN = "unknown"

BODY_SITES = (
    "abdomen",
    "acral",
    "back",
    "chest",
    "ear",
    "face",
    "foot",
    "genital",
    "hand",
    "lower extremity",
    "neck",
    "scalp",
    "trunk",
    UNKNOWN,
    "upper extremity",
)
"""Of HAM10000, in alphabetical order."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Field:
    """One particular: a number, standardised, or one of several categories, one-hot."""

    name: str
    categories: tuple[str, ...] = ()
    """One of them is ``unknown``; none for a number."""
    mean: float = 0.0
    std: float = 1.0
    unit: str = ""
    flags_missing: bool = False
    """A number's second entry says whether it is missing; without it, missing is the mean."""

    @property
    def units(self) -> tuple[str, ...]:
        """What each entry of the vector means."""
        if self.categories:
            return tuple(f"{self.name} is {category}" for category in self.categories)
        standardised = f"({self.name} in {self.unit} - {self.mean:g}) / {self.std:g}"
        return (standardised, f"{self.name} is missing") if self.flags_missing else (standardised,)

    def encode(self, value: Any) -> tuple[list[float], bool]:
        """The entries of one value, and whether it was missing or not understood."""
        if self.categories:
            known = str(value or UNKNOWN).strip().lower()
            known = known if known in self.categories else UNKNOWN
            return [float(known == category) for category in self.categories], known == UNKNOWN
        number = _number(value)
        if number is None:
            return ([0.0, 1.0] if self.flags_missing else [0.0]), True
        standardised = (number - self.mean) / self.std
        return ([standardised, 0.0] if self.flags_missing else [standardised]), False


@dataclass(frozen=True)
class Encoded:
    """One patient's particulars as fed: ``vector`` (m,), and the names that were missing."""

    vector: Vectors
    missing: tuple[str, ...]


@dataclass(frozen=True)
class MetadataSpec:
    """An encoding: its fields in the order of the vector."""

    name: str
    layout: tuple[Field, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the particulars that are used."""
        return tuple(field.name for field in self.layout)

    @property
    def units(self) -> tuple[str, ...]:
        """What each entry of the vector means (m,)."""
        return tuple(unit for field in self.layout for unit in field.units)

    @property
    def count(self) -> int:
        """Entries of the vector, m; 0 when nothing is used."""
        return len(self.units)

    def encode(self, raw: Mapping[str, Any]) -> Encoded:
        """The vector of ``raw`` values by field; what is blank or not understood is unknown."""
        entries: list[float] = []
        missing: list[str] = []
        for field in self.layout:
            values, unknown = field.encode(raw.get(field.name))
            entries += values
            missing += [field.name] if unknown else []
        return Encoded(np.array(entries, np.float32), tuple(missing))

    def blank(self, vectors: Vectors, name: str) -> Vectors:
        """A copy of ``vectors`` (n, m) in which the field ``name`` is unknown.

        Raises KeyError for a field that the encoding does not use.
        """
        start = 0
        for field in self.layout:
            width = len(field.units)
            if field.name == name:
                blanked = vectors.copy()
                blanked[:, start : start + width] = field.encode(None)[0]
                return blanked
            start += width
        raise KeyError(name)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


_AGE = Field("age", mean=51.9, std=17.0, unit="years")
"""Mean and deviation over HAM10000, rounded: a scale, not a finding."""
_SEX = Field("sex", categories=("female", "male", UNKNOWN))
_SITE = Field("localization", categories=BODY_SITES)

ENCODINGS = {
    spec.name: spec
    for spec in (
        MetadataSpec("none"),
        MetadataSpec("ham-19", (_AGE, _SEX, _SITE)),
        MetadataSpec(
            "age-sex-site-20",
            (Field("age", mean=51.9, std=17.0, unit="years", flags_missing=True), _SEX, _SITE),
        ),
    )
}


def encoding(name: str) -> MetadataSpec:
    """The encoding of that name. Raises ValueError naming those that are known."""
    if name not in ENCODINGS:
        raise ValueError(f"unknown encoding {name}; known are {', '.join(ENCODINGS)}")
    return ENCODINGS[name]
