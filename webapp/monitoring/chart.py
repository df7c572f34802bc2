"""Shares as drawings: where lines and points stand on a sheet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from webapp.monitoring.figures import Calibration, Moment

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Chart:
    """A sheet with a field in which points stand; its axes are written outside of the field."""

    width: ClassVar[int] = 400
    height: ClassVar[int] = 220
    left: ClassVar[int] = 44
    right: ClassVar[int] = 388
    top: ClassVar[int] = 12
    bottom: ClassVar[int] = 190

    lines: Sequence[str]
    """Of points that follow each other, as a polyline has them."""
    points: Sequence[tuple[float, float, int]]
    """Across, down, and the place of what the point stands for in its list."""

    @property
    def levels(self) -> list[tuple[float, float]]:
        """Heights with the shares that they stand for."""
        return [(down(level), level) for level in LEVELS]


def across(part: float) -> float:
    """How far to the right a part of the whole width lies."""
    return round(Chart.left + part * (Chart.right - Chart.left), 1)


def down(share: float) -> float:
    """How far down a share lies."""
    return round(Chart.bottom - share * (Chart.bottom - Chart.top), 1)


def over_time(moments: Sequence[Moment]) -> Chart | None:
    """A share step by step, with a gap where it is kept back; None where nothing is left."""
    places = [
        None
        if moment.share is None
        else (across((place + 0.5) / len(moments)), down(moment.share.value), place)
        for place, moment in enumerate(moments)
    ]
    points = [place for place in places if place is not None]
    return Chart(list(_lines(places)), points) if points else None


def reliability(calibration: Calibration) -> Chart | None:
    """How often answers were right over how probable they were said to be."""
    points = [
        (across(of.mean), down(of.right.value), place)
        for place, of in enumerate(calibration.bins)
        if of.right is not None
    ]
    return Chart([_polyline(points)], points) if points else None


def _lines(places: Sequence[tuple[float, float, int] | None]) -> Iterator[str]:
    run: list[tuple[float, float, int]] = []
    for place in [*places, None]:
        if place is not None:
            run.append(place)
        elif run:
            yield _polyline(run)
            run = []


def _polyline(points: Sequence[tuple[float, float, int]]) -> str:
    return " ".join(f"{x},{y}" for x, y, _place in points)
