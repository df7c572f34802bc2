"""Charts as SVG that a page shows without a script: they take their colours from the page's style.

Every chart is a picture to assistive software, with the sentence that says what it shows.
"""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

Point = tuple[float, float]

TICKS = (0.0, 0.5, 1.0)
HISTOGRAM_PX = 34
ROW_PX = 30


class Plane:
    """An area of a chart: from values to pixels, with the frame and its ticks."""

    def __init__(
        self,
        left: float,
        top: float,
        width: float,
        height: float,
        across: Point = (0.0, 1.0),
        up: Point = (0.0, 1.0),
    ):
        self.left, self.top, self.width, self.height = left, top, width, height
        self.across, self.up = across, up

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.across
        return round(self.left + (value - low) / (high - low) * self.width, 1)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.up
        return round(self.top + self.height - (value - low) / (high - low) * self.height, 1)

    def line(self, points: Sequence[Point], kind: str) -> str:
        """A line through points, in the style of a class."""
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        return f'<polyline class="{kind}" points="{path}"/>'

    def dot(self, point: Point, kind: str = "dot", radius: float = 4) -> str:
        """A mark on a point."""
        return (
            f'<circle class="{kind}" cx="{self.x(point[0])}" cy="{self.y(point[1])}" r="{radius}"/>'
        )

    def bar(self, at: float, low: float, high: float) -> str:
        """An upright line from low to high."""
        return (
            f'<line class="whisker" x1="{self.x(at)}" x2="{self.x(at)}" '
            f'y1="{self.y(low)}" y2="{self.y(high)}"/>'
        )

    def frame(self, across: Sequence[float] = TICKS, up: Sequence[float] = TICKS) -> str:
        """The frame, and ticks with their numbers."""
        bottom, parts = self.top + self.height, []
        for value in up:
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{self.left}" x2="{self.left + self.width}" '
                f'y1="{y}" y2="{y}"/>'
                f'<text class="tick" x="{self.left - 6}" y="{y + 3.5}" text-anchor="end">'
                f"{_short(value)}</text>"
            )
        for value in across:
            parts.append(
                f'<text class="tick" x="{self.x(value)}" y="{bottom + 15}" '
                f'text-anchor="middle">{_short(value)}</text>'
            )
        parts.append(
            f'<rect class="frame" x="{self.left}" y="{self.top}" '
            f'width="{self.width}" height="{self.height}"/>'
        )
        return "".join(parts)


def curve(
    points: Sequence[Point],
    says: str,
    *,
    diagonal: bool = False,
    base: float | None = None,
    mark: Point | None = None,
    side: float = 178,
) -> Markup:
    """A ROC curve (with its ``diagonal``) or a precision-recall curve (with its ``base`` rate)."""
    plane = Plane(34, 8, side, side)
    parts = [plane.frame()]
    if diagonal:
        parts.append(plane.line([(0, 0), (1, 1)], "chance"))
    if base is not None:
        parts.append(plane.line([(0, base), (1, base)], "chance"))
    parts.append(plane.line(points, "curve"))
    if mark and all(value == value for value in mark):  # NaN differs from itself
        parts.append(plane.dot(mark))
    return _svg(side + 44, side + 30, says, parts)


def reliability(bins: Sequence[dict[str, Any]], says: str) -> Markup:
    """Promised against observed share by bin, with intervals; how many probabilities below."""
    plane = Plane(34, 8, 286, 220)
    counts = Plane(34, 238, 286, HISTOGRAM_PX)
    parts = [plane.frame(across=()), plane.line([(0, 0), (1, 1)], "chance")]
    most = max(row["count"] for row in bins)
    for row in bins:
        observed = row["observed"]
        low, high = observed["interval"]
        if low == low:  # NaN differs from itself
            parts.append(plane.bar(row["mean_probability"], low, high))
        parts.append(plane.dot((row["mean_probability"], observed["value"])))
        tall = max(1.0, row["count"] / most * HISTOGRAM_PX)
        left, right = counts.x(row["from"]) + 1, counts.x(row["to"]) - 1
        parts.append(
            f'<rect class="count" x="{left:.1f}" y="{238 + HISTOGRAM_PX - tall:.1f}" '
            f'width="{right - left:.1f}" height="{tall:.1f}"/>'
        )
    parts.append(counts.frame(up=()))
    return _svg(330, 238 + HISTOGRAM_PX + 22, says, parts)


def risk_coverage(points: Sequence[Point], served: Point, says: str) -> Markup:
    """Share wrong against share answered, and where the model stands as it serves."""
    finite = [y for _, y in [*points, served] if y == y]
    top = _nice(max(finite, default=0.0))
    plane = Plane(40, 8, 280, 264, up=(0.0, top))
    parts = [plane.frame(up=(0.0, top / 2, top)), plane.line(points, "curve")]
    if served[1] == served[1]:  # NaN differs from itself
        parts.append(plane.dot(served, "dot dot--served", 5))
    return _svg(330, 294, says, parts)


def forest(rows: Sequence[tuple[str, float, float, float]], says: str) -> Markup:
    """A line a row: name, value, and its interval; the upright line is no difference."""
    finite = [value for row in rows for value in row[1:] if value == value]
    reach = max([abs(value) for value in finite], default=0.0) * 1.15 or 0.01
    height = ROW_PX * len(rows)
    plane = Plane(8, 4, 324, height, across=(-reach, reach))
    parts = [f'<line class="zero" x1="{plane.x(0)}" x2="{plane.x(0)}" y1="4" y2="{height + 4}"/>']
    for index, (name, value, low, high) in enumerate(rows):
        y = 4 + ROW_PX * index + 20
        parts.append(f'<text class="row" x="8" y="{y - 8}">{escape(name)}</text>')
        if value != value:
            parts.append(f'<text class="tick" x="8" y="{y + 4}">undefined</text>')
            continue
        if low == low:
            parts.append(
                f'<line class="whisker" x1="{plane.x(low)}" x2="{plane.x(high)}" '
                f'y1="{y}" y2="{y}"/>'
            )
        parts.append(f'<circle class="dot" cx="{plane.x(value)}" cy="{y}" r="4"/>')
    for value in (-reach / 1.15, 0.0, reach / 1.15):
        written = f"{value:+.2g}".replace("-", "\N{MINUS SIGN}") if value else "0"
        parts.append(
            f'<text class="tick" x="{plane.x(value)}" y="{height + 20}" text-anchor="middle">'
            f"{written}</text>"
        )
    return _svg(340, height + 26, says, parts)


def meter(value: float, low: float, high: float) -> Markup:
    """A share on a line from 0 to 1 with its interval; only drawn, its numbers stand beside it."""
    plane = Plane(0, 0, 120, 10)
    parts = ['<line class="rail" x1="0" x2="120" y1="5" y2="5"/>']
    if low == low:  # NaN differs from itself
        wide = max(2.0, plane.x(high) - plane.x(low))
        parts.append(
            f'<rect class="span" x="{plane.x(low)}" y="2" width="{wide:.1f}" height="6" rx="2"/>'
        )
    parts.append(f'<line class="at" x1="{plane.x(value)}" x2="{plane.x(value)}" y1="0" y2="10"/>')
    return Markup(  # noqa: S704  (made of numbers alone)
        '<svg class="meter" viewBox="0 0 120 10" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _svg(width: float, height: float, says: str, parts: Sequence[str]) -> Markup:
    return Markup(  # noqa: S704  (numbers and escaped text)
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(says)}">{"".join(parts)}</svg>'
    )


def _short(value: float) -> str:
    return f"{value:.3g}"


def _nice(value: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is at least ``value``."""
    for power in range(-4, 1):
        for step in (1, 2, 5):
            if value <= step * 10.0**power:
                return step * 10.0**power
    return 1.0
