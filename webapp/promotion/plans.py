"""A change plan: what may change about the model of a reading task, what a candidate has to show
first, and who lets it serve then. It is a small document, decided on before there is a candidate,
and kept in versions.

The idea is the predetermined change control plan of the FDA's guidance for AI-enabled device
software (December 2024), made executable.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from flask_babel import lazy_gettext as _l

METRICS = {
    "balanced_accuracy": _l("Balanced accuracy"),
    "accuracy": _l("Accuracy"),
    "macro_f1": _l("F1, mean of the findings"),
    "macro_auc": _l("Area under the ROC curve, mean of the findings"),
}
"""Of 0 to 1, higher is better."""

PARTS = {
    "network": _l("Kind of network"),
    "preprocess": _l("How images are prepared"),
    "metadata": _l("What it uses of the patient's particulars"),
    "decision": _l("Calibration, and how the answer is chosen"),
    "operating_points": _l("Operating points"),
    "abstention": _l("When it gives no answer"),
    "intended_use": _l("Intended use, and what it is not for"),
    "licence": _l("Licence"),
}
"""What of a model may differ, beside its weights. Its findings never may."""

SUBGROUPS = {
    "age": _l("Age"),
    "sex": _l("Sex"),
    "body site": _l("Body site"),
    "source": _l("Source of the images"),
}

LISTS = ("may_change", "subgroups", "approvers")
"""Parts of a plan that hold several values."""

DISCORDANT_SHARE = 0.1
"""Of the subjects on whom two models of a kind disagree, where nothing is known yet: the champion
and a retrained one differ on fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a candidate has to show. Shares are of 0 to 1."""

    may_change: tuple[str, ...] = tuple(
        part for part in PARTS if part not in ("intended_use", "licence")
    )
    metric: str = "balanced_accuracy"
    margin: float = 0.03
    """The lower 95 % limit of the difference from the champion has to be above minus this."""
    subgroups: tuple[str, ...] = tuple(SUBGROUPS)
    """By what groups are made whose sensitivity counts."""
    subgroup_margin: float = 0.05
    subgroup_subjects_min: int = 100
    subgroup_finding_min: int = 30
    """Subjects that show the finding. A group with fewer is shown, and does not count."""
    calibration_margin: float = 0.03
    """The upper 95 % limit of how much the calibration error grows."""
    abstention_margin: float = 0.05
    """The upper 95 % limit of how much the share of images without an answer grows."""
    latency_ratio_max: float = 2.0
    """Of the median times that an image takes, on the same machine in turns."""
    size_mb_max: float = 500.0
    """Of the bundle, in millions of bytes."""
    approvals_needed: int = 1
    """How many people have to approve, 1 or 2; who asked is never one of them."""
    approvers: tuple[str, ...] = ()
    """Who may, by their user names, as long as their role lets them; empty: anybody whose role
    does."""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """What `document` wrote; what it does not name yet is as it was before it could be."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in document.items() if name in known}
        lists = {name: tuple(values[name]) for name in LISTS if name in values}
        return cls(**values | lists)

    @property
    def document(self) -> dict[str, Any]:
        """The plan as JSON keeps it."""
        plain = asdict(self)
        return plain | {name: list(plain[name]) for name in LISTS}

    def lets_approve(self, username: str) -> bool:
        """Whether somebody whose role lets them approve models may do so by this plan."""
        return not self.approvers or username in self.approvers


def expected_half_width(subject_count: int, discordant_share: float = DISCORDANT_SHARE) -> float:
    """Half the 95 % interval of a paired difference of two shares of so many subjects, as far as it
    can be told before a comparison: 1.96 times the standard error of the difference if the models
    disagree on this share, as often one way as the other (McNemar 1947). NaN without subjects."""
    return 1.96 * math.sqrt(discordant_share / subject_count) if subject_count else math.nan


def subjects_needed(margin: float, discordant_share: float = DISCORDANT_SHARE) -> int:
    """How many subjects the same formula asks for, so that the half-width is below a margin."""
    return math.floor(discordant_share * (1.96 / margin) ** 2) + 1
