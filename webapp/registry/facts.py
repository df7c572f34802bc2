"""What a bundle's manifest says of its model, read so that a part it lacks is only not shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import format_decimal
from flask_babel import lazy_gettext as _l

NO_BREAK = "\N{NO-BREAK SPACE}"

FIGURES = {
    "accuracy": _l("Accuracy"),
    "balanced_accuracy": _l("Balanced accuracy"),
    "macro_f1": _l("F1, mean of the findings"),
    "macro_auc": _l("Area under the ROC curve, mean of the findings"),
}
_PARTS = {
    "train": _l("Learnt from"),
    "tune": _l("Tuned on: early stopping, calibration, limits"),
    "test": _l("Tested on, once"),
    "dropped": _l("Left out"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of merit, of 0 to 1, on pictures that the model had never met."""

    code: str
    label: str
    value: float
    interval: tuple[float, float] | None
    """The 95 % interval."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """Figures that say more of a model's worth than its locked test, and how they were measured."""

    name: str
    description: str
    image_count: int
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """From which probability on a finding counts as present, and what follows from it."""

    finding: str
    threshold: float
    sensitivity: float | None
    specificity: float | None


class Facts:
    """The parts of a manifest that pages show."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._manifest = manifest

    @property
    def modality(self) -> str:
        """What kind of image it reads."""
        return _text(_within(self._manifest, "reading_task").get("modality"))

    @property
    def multi_label(self) -> bool:
        """Whether one image may show several findings."""
        return bool(_within(self._manifest, "reading_task").get("multi_label"))

    @property
    def not_for(self) -> list[str]:
        """The uses that it must not be put to."""
        return [text for text in map(_text, _items(self._manifest.get("not_for"))) if text]

    @property
    def body_sites(self) -> list[str]:
        """The places on the body that it tells apart; none where it does not ask."""
        known = _items(_within(self._manifest, "metadata", "choices").get("localization"))
        return [site for site in map(_text, known) if site not in ("", "unknown")]

    @property
    def uses_metadata(self) -> bool:
        """Whether what is known of a patient can make a difference to its answer."""
        return _within(self._manifest, "metadata").get("encoding_version") != "none"

    @property
    def network(self) -> str:
        return _text(_within(self._manifest, "network").get("name"))

    @property
    def code_revision(self) -> str:
        """Of the code that trained it."""
        return _text(_within(self._manifest, "training").get("code_revision"))

    @property
    def split_sha256(self) -> str:
        """Names which picture was learnt from, tuned on and tested on."""
        return _text(_within(self._manifest, "training").get("split_sha256"))

    @property
    def input_size_px(self) -> float | None:
        """The side of the square that the network sees."""
        return number(_within(self._manifest, "preprocess").get("size_px"))

    @property
    def figures(self) -> list[Figure]:
        """The figures on the locked test set."""
        return _figures(_within(self._manifest, "training", "figures"))

    @property
    def quoted_first(self) -> Quoted | None:
        """The figures to go by before those, where it has any."""
        said = _within(self._manifest, "training", "quoted_first")
        figures = _figures(_within(said, "figures"))
        name, description = _text(said.get("name")), _text(said.get("description"))
        count = int(number(said.get("image_count")) or 0)
        return Quoted(name, description, count, figures) if name and figures else None

    @property
    def missing_test_count(self) -> int:
        """Pictures of the locked test that were not there when it was measured."""
        return int(
            number(_within(self._manifest, "training", "data", "locked_test").get("missing_count"))
            or 0
        )

    @property
    def accuracy(self) -> Figure | None:
        return next((figure for figure in self.figures if figure.code == "accuracy"), None)

    @property
    def image_counts(self) -> list[tuple[str, int]]:
        """How many pictures each part of the split has."""
        counts = _within(self._manifest, "training", "images").items()
        return [
            (str(_PARTS.get(part, part.replace("_", " "))), count)
            for part, count in counts
            if isinstance(count, int)
        ]

    @property
    def operating_points(self) -> list[OperatingPoint]:
        """In the order of the findings, by their names."""
        points = _within(self._manifest, "operating_points")
        found = []
        for finding in _items(self._manifest.get("findings")):
            finding = _within(finding)
            point = _within(points, _text(finding.get("code")))
            threshold = number(point.get("threshold"))
            if threshold is not None:
                found.append(
                    OperatingPoint(
                        _text(finding.get("name")),
                        threshold,
                        number(point.get("tune_sensitivity")),
                        number(point.get("tune_specificity")),
                    )
                )
        return found

    @property
    def coverage(self) -> float | None:
        """How often a finding that is there is among those that stay possible, where the model was
        tuned; None where it states no such set."""
        return number(self._manifest.get("conformal_coverage"))

    @property
    def possible_from(self) -> dict[str, float]:
        """From which probability on a finding stays possible, by its code."""
        points = _within(self._manifest, "conformal")
        found = {code: number(_within(points, code).get("threshold")) for code in points}
        return {code: threshold for code, threshold in found.items() if threshold is not None}

    @property
    def thresholds(self) -> dict[str, float]:
        """From which probability on a finding counts as present, by its code."""
        points = _within(self._manifest, "operating_points")
        found = {code: number(_within(points, code).get("threshold")) for code in points}
        return {code: threshold for code, threshold in found.items() if threshold is not None}

    @property
    def abstention_limits(self) -> list[str]:
        """When it gives no answer, a sentence each."""
        sentences = []
        for limit, said in _within(self._manifest, "abstention").items():
            value = number(said)
            if value is not None and (limit, value) not in _NEVER_EXCEEDED:
                sentences.append(_limit(limit, value))
        return sentences


def _figures(stated: Mapping[str, Any]) -> list[Figure]:
    figures = []
    for code, said in stated.items():
        said = said if isinstance(said, Mapping) else {"value": said}
        value = number(said.get("value"))
        if value is not None:
            label = str(FIGURES.get(code, code.replace("_", " ")))
            figures.append(Figure(code, label, value, interval(said.get("interval"))))
    return figures


def share(value: float) -> str:
    """A share in per cent with one decimal; never rounded to certainty in either direction."""
    if 0.9995 <= value < 1:
        return f"> {format_decimal(99.9)}{NO_BREAK}%"
    if 0 < value < 0.0005:
        return f"< {format_decimal(0.1)}{NO_BREAK}%"
    return f"{format_decimal(value * 100, '0.0')}{NO_BREAK}%"


def _plain(value: float) -> str:
    return format_decimal(value)


def _rough(value: float) -> str:
    return format_decimal(value, "@##")


def _of_log_odds(value: float) -> str:
    return share((1 + math.tanh(value / 2)) / 2)


_LIMITS = {
    "confidence_below": (_l("No finding reaches a probability of %(value)s."), share),
    "set_size_above": (_l("More than %(value)s findings remain possible."), _plain),
    "short_side_below_px": (_l("The image's short side is under %(value)s pixels."), _plain),
    "contrast_below": (
        _l("The image is all but one colour: its contrast is under %(value)s of 255."),
        _plain,
    ),
    "brightness_below": (_l("The image is darker than %(value)s of 255."), _rough),
    "brightness_above": (_l("The image is brighter than %(value)s of 255."), _rough),
    "sharpness_below": (_l("The image is blurred: its sharpness is under %(value)s."), _rough),
    "novelty_above": (
        _l("The image is unlike those that the model learnt from: its distance is over %(value)s."),
        _rough,
    ),
    "strangeness_above": (
        _l(
            "The image's looks are unlike what the model learnt from:"
            " their distance is over %(value)s."
        ),
        _rough,
    ),
    "otherness_above": (
        _l(
            "By its looks, the image is of another kind than those that the model is for, with a"
            " probability over %(value)s."
        ),
        _of_log_odds,
    ),
}


_NEVER_EXCEEDED = {("brightness_above", 255.0)} | {
    (limit, 0.0) for limit in _LIMITS if "_below" in limit
}


def _limit(limit: str, value: float) -> str:
    if limit not in _LIMITS:
        return f"{limit.replace('_', ' ')}: {_plain(value)}"
    sentence, written = _LIMITS[limit]
    return str(sentence) % {"value": written(value)}


def _within(facts: Any, *path: str) -> Mapping[str, Any]:
    for name in path:
        facts = facts.get(name) if isinstance(facts, Mapping) else None
    return facts if isinstance(facts, Mapping) else {}


def _items(facts: Any) -> Sequence[Any]:
    return facts if isinstance(facts, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """What is said, if it is a number and a finite one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def interval(said: Any) -> tuple[float, float] | None:
    """The two ends of what is said, if it is an interval."""
    if isinstance(said, list) and len(said) == 2:
        low, high = map(number, said)
        if low is not None and high is not None:
            return low, high
    return None
