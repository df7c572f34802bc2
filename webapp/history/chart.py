"""A trend as a drawing: where its lines, points and marks stand on a sheet."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from webapp.history.queries import Change, Point, Series, Trend

KINDS = 3
"""Of lines and points, told apart by more than their colour."""
INDENT = 12
"""From the edge of the field to the first point."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one model version said."""

    series: Series
    kind: int
    """Which of the ways to draw a line, from 0."""
    points: Sequence[tuple[float, float, Point]]

    @property
    def line(self) -> str:
        """The points, as a polyline has them."""
        return " ".join(f"{x},{y}" for x, y, _point in self.points)


@dataclass(frozen=True, slots=True)
class Chart:
    """A sheet with a field in which points stand; its axes are written outside of the field."""

    width: ClassVar[int] = 400
    height: ClassVar[int] = 220
    left: ClassVar[int] = 44
    right: ClassVar[int] = 388
    top: ClassVar[int] = 30
    bottom: ClassVar[int] = 190

    lines: Sequence[Drawn]
    changes: Sequence[tuple[float, Change]]
    levels: Sequence[tuple[float, float]]
    """Heights with the probabilities that they stand for."""
    first: dt.datetime
    last: dt.datetime


def draw(trend: Trend) -> Chart | None:
    """The drawing of a trend; None where there is no point to draw."""
    moments = [point.at for series in trend.series for point in series.points]
    if not moments:
        return None
    first, last = min(moments), max(moments)

    def across(at: dt.datetime) -> float:
        """A single moment stands in the middle."""
        share = (at - first) / (last - first) if last > first else 0.5
        begin, end = Chart.left + INDENT, Chart.right - INDENT
        return round(begin + share * (end - begin), 1)

    lines = [
        Drawn(
            series,
            number % KINDS,
            [(across(point.at), _height(point.probability), point) for point in series.points],
        )
        for number, series in enumerate(trend.series)
    ]
    changes = [(across(min(max(change.at, first), last)), change) for change in trend.changes]
    levels = [(_height(level), level) for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return Chart(lines, changes, levels, first, last)


def _height(probability: float) -> float:
    return round(Chart.bottom - probability * (Chart.bottom - Chart.top), 1)
