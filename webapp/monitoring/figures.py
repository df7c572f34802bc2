"""Figures of merit of past cases: shares, calibration, times. Small groups are kept back."""

import datetime as dt
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from webapp.assessments.models import State
from webapp.cases.models import Sex
from webapp.catalogue.models import Priority
from webapp.reviews.models import Decision

SMALLEST = 5
"""A figure of fewer cases would tell of single ones, and is not shown."""
AGE_BANDS = ((0, 19), (20, 39), (40, 59), (60, 79), (80, 130))
BINS = 10
"""Of probabilities, each as wide as the others."""

K = TypeVar("K", bound=Hashable)
L = TypeVar("L", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCase:
    """What is known of a case by its numbers; nothing that says whose it is."""

    submitted_at: dt.datetime
    age_years: int | None
    sex: Sex
    body_site: str | None
    model_version_id: int
    """With the next four of the reading that counts."""
    state: State
    priority_rank: int
    finding_id: int | None
    probability: float | None
    first_read_at: dt.datetime | None
    first_signed_at: dt.datetime | None
    decision: Decision | None
    """The one that counts."""
    decided_id: int | None
    """The finding that it names."""
    shown_state: State | None
    """Of the reading that it was signed on, with what that named."""
    shown_id: int | None
    has_outcome: bool
    outcome_id: int | None
    """What the case turned out to be; None for no finding of the reading task."""

    @property
    def age_band(self) -> tuple[int, int] | None:
        """In years; None where the age is not known."""
        if self.age_years is None:
            return None
        return next(band for band in AGE_BANDS if self.age_years <= band[1])

    @property
    def is_compared(self) -> bool:
        """A clinician who was shown an answer has named a finding."""
        return (
            self.decision is not None
            and self.decision.names_finding
            and self.shown_state is State.COMPLETED
        )

    @property
    def is_agreed(self) -> bool:
        return self.decided_id == self.shown_id


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927)."""
        z = 1.959964
        n, p = self.count, self.value
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(middle - reach, 0.0), min(middle + reach, 1.0)


Shares = Mapping[K, Share | None]
"""By group; None where it is kept back."""


def share(cases: Iterable[PastCase], is_hit: Callable[[PastCase], bool]) -> Share | None:
    """Of how many cases something is true; None where there are too few to say."""
    told = [is_hit(case) for case in cases]
    return Share(sum(told), len(told)) if len(told) >= SMALLEST else None


def shares(
    cases: Iterable[PastCase], group: Callable[[PastCase], K], is_hit: Callable[[PastCase], bool]
) -> Shares[K]:
    """The same by group, as far as it can be told."""
    told: dict[K, list[bool]] = {}
    for case in cases:
        told.setdefault(group(case), []).append(is_hit(case))
    return kept_back({key: Share(sum(hits), len(hits)) for key, hits in told.items()})


def kept_back(groups: Mapping[K, Share]) -> Shares[K]:
    """Without the groups that are too small. Where that is one alone it could be had from the sum
    of all, so that the next one is kept back too."""
    hidden = {key for key, share in groups.items() if share.count < SMALLEST}
    others = groups.keys() - hidden
    if len(hidden) == 1 and others:
        hidden.add(min(others, key=lambda key: groups[key].count))
    return {key: None if key in hidden else share for key, share in groups.items()}


def kept_back_both_ways(cells: Mapping[tuple[K, L], Share]) -> Shares[tuple[K, L]]:
    """The same of a table, the sums of whose rows and columns are told elsewhere: nowhere is one
    alone kept back."""
    hidden = {key for key, share in cells.items() if share.count < SMALLEST}
    lines = [
        [key for key in cells if key[side] == name]
        for side in (0, 1)
        for name in dict.fromkeys(key[side] for key in cells)
    ]
    while alone := [line for line in lines if len(line) > 1 and len(hidden & set(line)) == 1]:
        others = [key for key in alone[0] if key not in hidden]
        hidden.add(min(others, key=lambda key: cells[key].count))
    return {key: None if key in hidden else share for key, share in cells.items()}


def is_agreed(case: PastCase) -> bool:
    """The clinician named what the model had named."""
    return case.is_agreed


def has_abstained(case: PastCase) -> bool:
    """The model gave no answer to any of the images."""
    return case.state is State.ABSTAINED


def compared(cases: Iterable[PastCase]) -> list[PastCase]:
    """Those of which a clinician and the model both said something."""
    return [case for case in cases if case.is_compared]


def read(cases: Iterable[PastCase]) -> list[PastCase]:
    """Those that the model has looked at, whether it answered or not."""
    return [case for case in cases if case.state in (State.COMPLETED, State.ABSTAINED)]


@dataclass(frozen=True, slots=True)
class Moment:
    """A share over a stretch of time."""

    begins_at: dt.datetime
    ends_at: dt.datetime
    share: Share | None
    """None where there are too few cases."""


def over_time(
    cases: Sequence[PastCase],
    is_hit: Callable[[PastCase], bool],
    *,
    since: dt.datetime,
    until: dt.datetime,
    step: dt.timedelta,
) -> list[Moment]:
    """A share by when cases were sent, step by step."""
    by_step = shares(cases, lambda case: (case.submitted_at - since) // step, is_hit)
    count = math.ceil((until - since) / step)
    return [
        Moment(since + step * number, since + step * (number + 1), by_step.get(number))
        for number in range(count)
    ]


def over_time_of(
    group: K,
    cases: Sequence[PastCase],
    group_of: Callable[[PastCase], K],
    is_hit: Callable[[PastCase], bool],
    *,
    since: dt.datetime,
    until: dt.datetime,
    step: dt.timedelta,
) -> list[Moment]:
    """The same of one group, as far as that does not give another one away."""
    told: dict[tuple[int, K], list[bool]] = {}
    for case in cases:
        cell = (case.submitted_at - since) // step, group_of(case)
        told.setdefault(cell, []).append(is_hit(case))
    cells = kept_back_both_ways({cell: Share(sum(hits), len(hits)) for cell, hits in told.items()})
    count = math.ceil((until - since) / step)
    return [
        Moment(since + step * number, since + step * (number + 1), cells.get((number, group)))
        for number in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same probability, and how often they were right."""

    low: float
    high: float
    mean: float
    """Of the probabilities."""
    right: Share | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether what is said to be so probable is right so often."""

    bins: Sequence[Bin]
    right: Share | None
    error: float | None
    """The expected calibration error (Naeini et al. 2015): how far the two lie apart, on average;
    None where there are too few answers to say."""


def calibration(cases: Iterable[PastCase]) -> Calibration:
    """Of the answers whose outcome is known."""
    known = [
        (case.probability, case.finding_id == case.outcome_id)
        for case in cases
        if case.has_outcome and case.state is State.COMPLETED and case.probability is not None
    ]
    by_bin: dict[int, list[tuple[float, bool]]] = {}
    for probability, is_right in known:
        by_bin.setdefault(min(int(probability * BINS), BINS - 1), []).append(
            (probability, is_right)
        )
    told = kept_back(
        {number: Share(sum(r for _, r in said), len(said)) for number, said in by_bin.items()}
    )
    bins = [
        Bin(
            number / BINS,
            (number + 1) / BINS,
            sum(probability for probability, _ in by_bin[number]) / len(by_bin[number]),
            told[number],
        )
        for number in sorted(by_bin)
    ]
    if len(known) < SMALLEST:
        return Calibration(bins, None, None)
    apart = (
        abs(sum(probability - is_right for probability, is_right in said))
        for said in by_bin.values()
    )
    right = Share(sum(is_right for _, is_right in known), len(known))
    return Calibration(bins, right, sum(apart) / len(known))


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took."""

    count: int
    median_seconds: float
    p95_seconds: float


def times(
    cases: Iterable[PastCase], ended_at: Callable[[PastCase], dt.datetime | None]
) -> dict[Priority, Times | None]:
    """From upload to a moment, by how soon the case had to be looked at, the most urgent first;
    None where there are too few to say."""
    seconds: dict[Priority, list[float]] = {}
    for case in cases:
        ended = ended_at(case)
        if ended is not None:
            priority = list(Priority)[case.priority_rank]
            seconds.setdefault(priority, []).append((ended - case.submitted_at).total_seconds())
    ordered = [priority for priority in reversed(Priority) if priority in seconds]
    return {priority: _times(seconds[priority]) for priority in ordered}


def _times(seconds: Sequence[float]) -> Times | None:
    if len(seconds) < SMALLEST:
        return None
    return Times(len(seconds), percentile(seconds, 0.5), percentile(seconds, 0.95))


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of all lies, between neighbours in proportion."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
