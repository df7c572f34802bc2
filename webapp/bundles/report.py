"""The evaluation report that a bundle brings along, read so that a part it lacks is not shown."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flask_babel import lazy_gettext as _l

from webapp import storage
from webapp.bundles.archive import BundleArchive
from webapp.errors import NotFound
from webapp.registry.facts import FIGURES, interval, number
from webapp.registry.models import ModelVersion

T = TypeVar("T")

FILE = "report.json"
MAX_BYTES = 20_000_000
ROC_POINTS = 60
"""Of a curve, as many as are drawn."""
OVERALL = FIGURES | {"expected_calibration_error": _l("Calibration error")}
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of 0 to 1 with its 95 % interval; None where it is not defined."""

    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says of one finding, or of one group."""

    about: str
    """A finding by its code, or a group by its name."""
    image_count: int
    figures: Sequence[Estimate]
    kind: str = ""
    is_small: bool = False
    """So few subjects that its figures say little."""


@dataclass(frozen=True, slots=True)
class Bin:
    """How often answers of some probability were right."""

    low: float
    high: float
    count: int
    mean: float
    observed: Estimate


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """One of the answers that were given most surely, and wrong."""

    file: str
    truth: str
    answer: str
    probability: float | None
    held_back: bool


class Report:
    """The figures on the locked test set, with findings by their codes."""

    def __init__(self, figures: Mapping[str, Any]) -> None:
        self._figures = figures

    @property
    def image_count(self) -> int:
        return _part(lambda: int(self._figures["image_count"]), 0)

    @property
    def overall(self) -> list[tuple[str, Estimate]]:
        return [
            (str(label), _estimate(self._figures.get(name)))
            for name, label in OVERALL.items()
            if name in self._figures
        ]

    @property
    def findings(self) -> list[Row]:
        """Precision, recall, F1, area under the ROC curve, sensitivity at a specificity of 0.90."""
        return _part(
            lambda: [
                Row(code, int(row["image_count"]), _of_finding(row))
                for code, row in self._figures["findings"].items()
            ],
            [],
        )

    @property
    def confusion(self) -> list[tuple[str, Sequence[int]]]:
        """Pictures by what they show, and then by what they were named."""

        def rows() -> list[tuple[str, Sequence[int]]]:
            codes, counts = list(self._figures["findings"]), self._figures["confusion"]
            if any(len(row) != len(codes) for row in counts):
                return []
            return [(code, [*map(int, row)]) for code, row in zip(codes, counts, strict=True)]

        return _part(rows, [])

    @property
    def roc(self) -> list[tuple[str, str]]:
        """A curve for each finding, as a polyline has it on a sheet of 100 by 100."""

        def curve(points: Sequence[Sequence[float]]) -> str:
            every = max(1, len(points) // ROC_POINTS)
            some = [*points[::every], points[-1]]
            return " ".join(f"{float(x) * 100:.1f},{100 - float(y) * 100:.1f}" for x, y in some)

        def curves() -> list[tuple[str, str]]:
            named = self._figures["curves"].items()
            return [(str(code), curve(both["roc"])) for code, both in named]

        return _part(curves, [])

    @property
    def reliability(self) -> list[Bin]:
        return _part(
            lambda: [
                Bin(
                    float(one["from"]),
                    float(one["to"]),
                    int(one["count"]),
                    float(one["mean_probability"]),
                    _estimate(one["observed"]),
                )
                for one in self._figures["reliability"]
            ],
            [],
        )

    @property
    def subgroups(self) -> list[Row]:
        """Accuracy, and the area under the ROC curve."""
        return _part(
            lambda: [
                Row(
                    str(one["name"]),
                    int(one["image_count"]),
                    [_estimate(one["accuracy"]), _estimate(one["macro_auc"])],
                    str(one["kind"]),
                    bool(one["small"]),
                )
                for one in self._figures["subgroups"]
            ],
            [],
        )

    @property
    def worst_errors(self) -> list[WrongAnswer]:
        return _part(
            lambda: [
                WrongAnswer(
                    str(one["file"]),
                    str(one["label"]),
                    str(one["prediction"] or ""),
                    number(one["probabilities"].get(one["prediction"])),
                    bool(one["abstained"]),
                )
                for one in self._figures["worst_errors"]
            ],
            [],
        )


def content_of(version: ModelVersion) -> bytes:
    """The report as it came with the bundle.

    Raises:
        NotFound: it brought none, or is not in the store.
        Invalid: what the store has is no such archive.
        storage.CorruptBlob, storage.Away: as `storage.get`.
    """
    if version.archive_sha256 is None:
        raise NotFound("report", model_id=version.id)
    content = BundleArchive(storage.get(version.archive_sha256)).read(FILE, MAX_BYTES)
    if content is None:
        raise NotFound("report", model_id=version.id)
    return content


def report_of(version: ModelVersion) -> Report:
    """The same, read. Raises as `content_of`, and NotFound where it is no table of figures."""
    try:
        figures = json.loads(content_of(version))
    except ValueError as error:
        raise NotFound("report", model_id=version.id) from error
    if not isinstance(figures, dict):
        raise NotFound("report", model_id=version.id)
    return Report(figures)


def _of_finding(row: Mapping[str, Any]) -> Sequence[Estimate]:
    named = ("precision", "recall", "f1", "auc")
    at = _part(lambda: row["sensitivity_at_specificity"]["0.90"], None)
    figures = [_figure(row, name) for name in named]
    return [*figures, _estimate(at)]


def _figure(row: Mapping[str, Any], name: str) -> Estimate:
    return Estimate(number(row.get(name)), interval(row.get(f"{name}_interval")))


def _estimate(said: Any) -> Estimate:
    if not isinstance(said, Mapping):
        return Estimate(number(said))
    return Estimate(number(said.get("value")), interval(said.get("interval")))


def _part(read: Callable[[], T], otherwise: T) -> T:
    """A part of a report; something else where it is not as reports have it."""
    try:
        return read()
    except _UNREADABLE:
        return otherwise
