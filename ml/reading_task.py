"""A reading task: what kind of picture is read, and what can be found in it."""

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ml.recipe import typed_from_dict

TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Finding:
    """One class of a reading task. ``code`` is the label of the data set, letter for letter."""

    code: str
    name: str
    description: str
    malignancy: str
    """``none``, ``benign`` or ``malignant``."""
    severity: int
    """0 (expected in health) to 5 (life-threatening); the worklist sorts by it."""
    urgency: str
    """``routine``, ``urgent``, ``asap`` or ``stat``, as FHIR's request priority."""
    recommendation: str
    in_macro: bool = True
    """Whether it counts in the figures that average over findings; "other" does not."""


@dataclass(frozen=True)
class ReadingTask:
    """The clinical side of a bundle: its use, its limits, its findings."""

    code: str
    name: str
    modality: str
    description: str
    licence: str
    """SPDX identifier of the licence of the weights."""
    intended_use: str
    not_for: tuple[str, ...]
    data_source: str
    data_licence: str
    known_limits: tuple[str, ...]
    findings: tuple[Finding, ...]
    samples: str = "test"
    """Which pictures the bundle carries: ``test`` (of the data set, where its licence allows it),
    ``retina`` or ``phantom``."""
    multi_label: bool = False
    """Whether one picture may show several findings, each with a probability of its own."""
    region: str = ""
    """What of a patient a picture shows, where the same can be looked at again: ``lesion``,
    ``eye``, or nothing."""

    @classmethod
    def named(cls, code: str) -> Self:
        """The reading task of ``tasks/<code>.toml``. Raises FileNotFoundError, RecipeError."""
        table = tomllib.loads((TASKS / f"{code}.toml").read_text(encoding="utf-8"))
        findings = table.pop("findings")
        return typed_from_dict(
            cls,
            table
            | {"findings": [typed_from_dict(Finding, entry, "finding") for entry in findings]},
            f"reading task {code}",
        )

    @property
    def codes(self) -> tuple[str, ...]:
        """The findings' codes, in the order of the network's outputs."""
        return tuple(finding.code for finding in self.findings)

    def facts(self) -> dict[str, Any]:
        """The part of ``bundle.json`` that this task fills."""
        return {
            "reading_task": {
                "code": self.code,
                "name": self.name,
                "modality": self.modality,
                "description": self.description,
                "multi_label": self.multi_label,
                "region": self.region,
            },
            "findings": [asdict(finding) for finding in self.findings],
            "licence": self.licence,
            "intended_use": self.intended_use,
            "not_for": list(self.not_for),
        }
