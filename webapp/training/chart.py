"""Learning curves as a drawing: where lines, points and marks stand on a sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from flask_babel import lazy_gettext as _l

LOSSES = {"train_loss": _l("Loss in training"), "tune_loss": _l("Loss on the tuning pictures")}
FIGURES = {
    "tune_balanced_accuracy": _l("Balanced accuracy"),
    "tune_auc": _l("AUC"),
    "tune_macro_f1": _l("Macro F1"),
}
STEPS = 4
ROUND = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
POINTS_UP_TO = 40
"""Epochs beyond which a line is drawn without its points."""

Row = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """How one figure went."""

    label: str
    kind: int
    """Which of the ways to draw a line, from 0."""
    points: Sequence[tuple[float, float, int, float]]
    """Where each stands, with the epoch, from 1, and the value that it stands for."""
    shows_points: bool

    @property
    def path(self) -> str:
        """The points, as a polyline has them."""
        return " ".join(f"{x},{y}" for x, y, _epoch, _value in self.points)


@dataclass(frozen=True, slots=True)
class Chart:
    """A sheet with a field in which lines stand; its axes are written outside of the field."""

    width: ClassVar[int] = 400
    height: ClassVar[int] = 200
    left: ClassVar[int] = 44
    right: ClassVar[int] = 388
    top: ClassVar[int] = 12
    bottom: ClassVar[int] = 170

    lines: Sequence[Line]
    levels: Sequence[tuple[float, float]]
    """Heights with the values that they stand for."""
    last: int
    """The epoch at the right end."""


def losses(rows: Sequence[Row], epochs: int) -> Chart:
    """The losses of the epochs so far, on a scale from nothing to the highest."""
    values = [row[name] or 0.0 for row in rows for name in LOSSES]
    return _draw(rows, LOSSES, epochs, 0.0, _round_up(max(values, default=1.0)))


def figures(rows: Sequence[Row], epochs: int) -> Chart:
    """Shares on the tuning pictures, from nothing to all."""
    return _draw(rows, FIGURES, epochs, 0.0, 1.0)


def _draw(
    rows: Sequence[Row], labels: Mapping[str, str], epochs: int, low: float, high: float
) -> Chart:
    """The field is as wide as all epochs that may come, so that lines grow into it."""
    last = max(epochs, len(rows), 1)

    def across(epoch: int) -> float:
        share = (epoch - 1) / (last - 1) if last > 1 else 0.5
        return round(Chart.left + 8 + share * (Chart.right - Chart.left - 16), 1)

    def height(value: float) -> float:
        share = (value - low) / (high - low)
        return round(Chart.bottom - share * (Chart.bottom - Chart.top), 1)

    lines = []
    for kind, (name, label) in enumerate(labels.items()):
        known = [(number, row[name]) for number, row in enumerate(rows, 1)]
        points = [(across(n), height(v), n, v) for n, v in known if v is not None]
        lines.append(Line(label, kind, points, last <= POINTS_UP_TO))
    levels = [low + (high - low) * step / STEPS for step in range(STEPS + 1)]
    return Chart(lines, [(height(level), level) for level in levels], last)


def _round_up(value: float) -> float:
    """The next number that reads well on an axis of four steps."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in ROUND if value <= step * unit)
