"""A reading task: what kind of picture is read, and what can be found in it."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from ml.recipe import AugmentationRecipe, typed_from_dict

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
class QuotedFirst:
    """Figures that say more of a model's worth than its locked test, and so stand before it."""

    name: str
    """How they were measured, in a few words."""
    description: str
    recipe: str
    """The file of ``recipes`` that they are of; a model that was fitted otherwise has others."""
    image_count: int
    figures: Mapping[str, Mapping[str, Any]]
    """``value`` and 95 % ``interval`` of each, by its name in a report."""


@dataclass(frozen=True)
class ReadingTask:
    """The clinical side of a bundle: its use, its limits, its findings."""

    code: str
    name: str
    modality: str
    description: str
    licence: str
    """SPDX identifier of the licence of the weights; or the terms of the data that they were fitted
    to, in words, where these are others."""
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
    unnatural: tuple[str, ...] = ()
    """Keys of a recipe's augmentation that would show what no patient has, such as a heart on the
    right."""
    quoted_first: QuotedFirst | None = None

    @classmethod
    def named(cls, code: str) -> Self:
        """The reading task of ``tasks/<code>.toml``. Raises FileNotFoundError, RecipeError."""
        table = tomllib.loads((TASKS / f"{code}.toml").read_text(encoding="utf-8"))
        parts: dict[str, Any] = {
            "findings": [typed_from_dict(Finding, entry, "finding") for entry in table["findings"]]
        }
        if quoted := table.get("quoted_first"):
            parts["quoted_first"] = typed_from_dict(QuotedFirst, quoted, "quoted_first")
        return typed_from_dict(cls, table | parts, f"reading task {code}")

    def taught_by(self, data: Mapping[str, Any], started: Mapping[str, Any] | None = None) -> Self:
        """The same, of a model that learnt from the data of which a ``dataset.json`` says ``data``,
        from the weights of the bundle whose facts are ``started``.

        The data and their terms stand in the place of those that the reading task's own models
        learnt from, the weights are under the terms of both data and start, and the own models'
        figures are not this one's. Where the file does not name them, or names these very data,
        all is as it is.
        """
        title, terms, url = (data.get(name) or "" for name in ("title", "licence", "url"))
        if not (title and terms) or (
            url and url in self.data_source and not data.get("own_pictures")
        ):
            return self
        known = (_plain(self.licence), _plain(self.data_licence))
        licence = self.licence if _plain(terms) in known else terms
        inherited = started["licence"] if started else licence
        if _plain(licence) in _plain(inherited, whole=True):
            licence = inherited
        else:
            licence = f"{licence}; and of the weights that it started from: {inherited}"
        said = (title, *(data.get(name) for name in ("publisher", "source", "url", "own_pictures")))
        return replace(
            self,
            licence=licence,
            data_source="; ".join(text for text in said if text),
            data_licence=terms,
            known_limits=(
                f"What follows was written of models that learnt from {self.data_source}. What "
                "holds of the data that this one learnt from nobody has written down.",
                *self.known_limits,
            ),
            quoted_first=None,
        )

    def require_natural(self, augmentation: AugmentationRecipe) -> None:
        """Raises ValueError where training pictures would be changed into unnatural ones."""
        wrong = [name for name in self.unnatural if getattr(augmentation, name)]
        if wrong:
            raise ValueError(f"augmentation of {self.code} may not use {', '.join(wrong)}")

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


def _plain(terms: str, *, whole: bool = False) -> str:
    """Terms to compare: without what is added in brackets or after a comma, and however their name
    is written."""
    name = terms if whole else re.split(r"[,;(]", terms)[0]
    return name.strip().casefold().replace("-", " ")
