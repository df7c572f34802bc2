"""Whether images and answers of today are still like those that a model was tuned on.

Two things have to hold before anything counts as drift: it is more than chance makes of as many
cases, and it is much enough to matter. Chance alone passes for drift in less than 5 % of all looks,
however many figures are looked at at once.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flask_babel import lazy_gettext as _l

FALSE_ALARMS = 0.03
"""At most, of looks at cases that have not drifted: well below what is promised."""
FEWEST = 30
"""Cases of which anything is said."""
MATTERS = 0.2
"""The part of cases that has to lie elsewhere."""
_DRAWS = 2000


class Verdict(enum.StrEnum):
    """What there is to say of one figure."""

    STEADY = "steady"
    DRIFTED = "drifted"
    TOO_FEW = "too_few"

    @property
    def label(self) -> str:
        return _LABELS[self]

    @property
    def tone(self) -> str:
        return _TONES[self]


_LABELS = {
    Verdict.STEADY: _l("As before"),
    Verdict.DRIFTED: _l("Drifted"),
    Verdict.TOO_FEW: _l("Too few cases to tell"),
}
_TONES = {Verdict.STEADY: "good", Verdict.DRIFTED: "warning", Verdict.TOO_FEW: "neutral"}


@dataclass(frozen=True, slots=True)
class Sample:
    """Numbers of images, and how often each finding was the answer; an abstention has no code."""

    numbers: Mapping[str, Sequence[float]]
    answers: Mapping[str | None, int]

    @property
    def count(self) -> int:
        """How many answers there are, abstentions included."""
        return sum(self.answers.values())


@dataclass(frozen=True, slots=True)
class Moved:
    """One figure then and now."""

    name: str
    verdict: Verdict
    distance: float
    """The part of cases that lies elsewhere: 0 for none, 1 for all."""
    then: Sequence[float]
    """5 % of the values lie below the first, half below the second, 95 % below the third; empty
    where there are none, and for the answers."""
    now: Sequence[float]


def compare(reference: Sample, recent: Sample) -> list[Moved]:
    """Every figure of recent cases against the same of the reference."""
    figures = len(reference.numbers) + 1
    chance = FALSE_ALARMS / figures
    moved = [
        _numbers_moved(name, values, recent.numbers.get(name, ()), chance)
        for name, values in reference.numbers.items()
    ]
    return [*moved, _answers_moved(reference, recent, chance)]


def _numbers_moved(
    name: str, reference: Sequence[float], recent: Sequence[float], chance: float
) -> Moved:
    then, now = np.sort(np.asarray(reference, float)), np.sort(np.asarray(recent, float))
    ranges = _range(then), _range(now)
    if min(len(then), len(now)) < FEWEST:
        return Moved(name, Verdict.TOO_FEW, 0.0, *ranges)
    distance = furthest(then, now)
    # Two samples of the same differ by more with a probability of `chance` (Smirnov 1948).
    by_chance = math.sqrt(-math.log(chance / 2) / 2 * (1 / len(then) + 1 / len(now)))
    return Moved(name, _verdict(distance, by_chance), distance, *ranges)


def furthest(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """How far two distributions of sorted values lie apart at most (Kolmogorov and Smirnov)."""
    values = np.concatenate((first, second))
    below = [np.searchsorted(of, values, side="right") / len(of) for of in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def _answers_moved(reference: Sample, recent: Sample, chance: float) -> Moved:
    if min(reference.count, recent.count) < FEWEST:
        return Moved("answers", Verdict.TOO_FEW, 0.0, (), ())
    kinds = list({**reference.answers, **recent.answers})
    then, now = (
        np.array([sample.answers.get(kind, 0) for kind in kinds]) for sample in (reference, recent)
    )
    distance = float(np.abs(then / then.sum() - now / now.sum()).sum() / 2)
    # What as many answers of one and the same mixture differ by; the same draws at each look.
    random = np.random.default_rng(0)
    mixture = (then + now) / (then + now).sum()
    drawn = [random.multinomial(of.sum(), mixture, _DRAWS) / of.sum() for of in (then, now)]
    by_chance = np.quantile(np.abs(drawn[0] - drawn[1]).sum(axis=1) / 2, 1 - chance)
    return Moved("answers", _verdict(distance, float(by_chance)), distance, (), ())


def _verdict(distance: float, by_chance: float) -> Verdict:
    return Verdict.DRIFTED if distance > max(by_chance, MATTERS) else Verdict.STEADY


def _range(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(map(float, np.quantile(values, (0.05, 0.5, 0.95)))) if len(values) else ()
