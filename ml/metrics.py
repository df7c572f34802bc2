"""Figures of merit, each NaN where it is undefined, with bootstrap intervals by subject.

n pictures, c findings, r resamples. A resample is a row of ``weights`` (r, n): how often each
picture was drawn. Figures take such rows and return one value for each, so that a value (weights
of one) and its interval come from the same lines.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NAN = float("nan")
CALIBRATION_BINS = 15
STATED_SPECIFICITIES = (0.85, 0.90)
LEAST_PROBABILITY = 1e-12
"""Probabilities are kept this far from 0 and 1 before their logarithm is taken."""
CURVE_POINTS = 150
"""A curve is thinned to about so many points."""
BLOCK = 500_000
"""Weights that are held at a time."""


@dataclass(frozen=True)
class Outcome:
    """What n pictures show, and what was answered, for c findings."""

    truth: Bools
    """(n, c); one finding a row unless ``multi_label``."""
    probabilities: Floats
    """(n, c), calibrated."""
    predicted: Bools
    """(n, c): the findings that were named."""
    multi_label: bool = False
    in_macro: tuple[bool, ...] = ()
    """Which findings count in averages over findings; empty is all."""
    thresholds: tuple[float, ...] = ()
    """Operating points; NaN, or nothing at all, where there is none."""
    decision_weights: tuple[float, ...] = ()
    """What each probability counts when one finding is named; empty is all alike."""

    def of(self, index: Bools | Labels) -> Self:
        """The pictures that ``index`` chooses."""
        return replace(
            self,
            truth=self.truth[index],
            probabilities=self.probabilities[index],
            predicted=self.predicted[index],
        )

    @property
    def averaged(self) -> Bools:
        """``in_macro`` as a mask (c,)."""
        return np.array(self.in_macro or (True,) * self.truth.shape[1])

    @property
    def right(self) -> Bools:
        """Whether exactly what a picture shows was named (n,)."""
        same: Bools = (self.truth == self.predicted).all(axis=1)
        return same

    @property
    def confidence(self) -> Floats:
        """How sure an answer is (n,).

        The named finding's share of the probabilities as the decision weighs them; with several
        labels, the mean over findings of the probability of yes or of no, whichever is higher.
        """
        if not self.multi_label:
            weighed = self.probabilities * np.array(self.decision_weights or 1.0)
            return weighed.max(axis=1) / weighed.sum(axis=1)
        columns = self.probabilities[:, self.averaged]
        return np.maximum(columns, 1 - columns).mean(axis=1)

    @property
    def log_losses(self) -> Floats:
        """Negative log probability of what is true (n,); with several labels, their mean."""
        kept = self.averaged if self.multi_label else slice(None)
        certain = np.clip(self.probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        if not self.multi_label:
            return -(np.log(certain) * self.truth).sum(axis=1)
        losses = -np.where(self.truth, np.log(certain), np.log1p(-certain))
        return losses[:, kept].mean(axis=1)

    @property
    def brier_scores(self) -> Floats:
        """Squared error (n,), summed over findings (Brier 1950); the mean of several labels."""
        squares = (self.probabilities - self.truth) ** 2
        if self.multi_label:
            return squares[:, self.averaged].mean(axis=1)
        return squares.sum(axis=1)


@dataclass(frozen=True)
class Tally:
    """What figures are made of, a row for each resample: (r, c), and ``total`` (r, 1)."""

    hits: Floats
    """Shown and named."""
    named: Floats
    shown: Floats
    total: Floats

    @classmethod
    def of(cls, truth: Bools, predicted: Bools, weights: Floats) -> Self:
        """Count (n, c) truths and predictions by ``weights`` (r, n)."""
        return cls(
            hits=weights @ (truth & predicted),
            named=weights @ predicted,
            shown=weights @ truth,
            total=weights.sum(axis=1, keepdims=True),
        )

    def only(self, kept: Bools) -> Self:
        """The findings of a mask (c,)."""
        return replace(
            self, hits=self.hits[:, kept], named=self.named[:, kept], shown=self.shown[:, kept]
        )

    @property
    def precision(self) -> Floats:
        """NaN for a finding that was never named."""
        return _ratio(self.hits, self.named)

    @property
    def recall(self) -> Floats:
        """NaN for a finding that does not occur."""
        return _ratio(self.hits, self.shown)

    @property
    def specificity(self) -> Floats:
        """NaN for a finding that every picture shows."""
        return _ratio(self.total - self.shown - self.named + self.hits, self.total - self.shown)

    @property
    def f1(self) -> Floats:
        """2 TP / (2 TP + FP + FN); NaN for a finding that neither occurs nor is named."""
        return _ratio(2 * self.hits, self.named + self.shown)

    @property
    def accuracy(self) -> Floats:
        """Of each finding against the rest."""
        return _ratio(self.total - self.shown - self.named + 2 * self.hits, self.total)

    @property
    def precision_or_none(self) -> Floats:
        """Precision for averages: zero, not NaN, for a finding that occurs and is never named."""
        return np.where((self.named == 0) & (self.shown > 0), 0.0, self.precision)


class Ranking:
    """One finding's probabilities from the highest down, by resample.

    Ties are one step, and only the t steps that hold a positive are kept: (r, t).
    """

    def __init__(self, score: Floats, positive: Bools, weights: Floats):
        order, starts, ends = _steps(score)
        true = positive[order]
        held = np.add.reduceat(true, starts, dtype=np.int64) if len(starts) else starts
        last = np.cumsum(held)[held > 0] - 1
        found = np.cumsum(weights[:, order[true]], axis=1)
        false = np.cumsum(weights[:, order] * ~true, axis=1)
        self.found = found[:, last]
        """Positives whose score reaches the step's."""
        self.gained = np.diff(self.found, prepend=0.0)
        """Positives of the step itself."""
        self.false = false[:, ends[held > 0]]
        """Negatives whose score reaches the step's."""
        first = starts[held > 0]
        self.false_before = np.where(first > 0, false[:, first - 1], 0.0)
        """Negatives above the step."""
        self.positives = weights @ positive
        self.negatives = weights @ ~positive

    @property
    def auc(self) -> Floats:
        """Area under the ROC curve (r,), ties counted half (Mann and Whitney 1947)."""
        passed = (self.gained * (self.false + self.false_before) / 2).sum(axis=1)
        return 1 - _ratio(passed, self.positives * self.negatives)

    @property
    def average_precision(self) -> Floats:
        """Precision at each step, weighted by the recall that the step adds (r,)."""
        precision = np.nan_to_num(_ratio(self.found, self.found + self.false))
        return _ratio((self.gained * precision).sum(axis=1), self.positives)

    def sensitivity_at(self, specificity: float) -> Floats:
        """The highest sensitivity at which at least that specificity is kept (r,)."""
        allowed = self.false <= (1 - specificity) * self.negatives[:, None] + 1e-9
        found = (self.found * allowed).max(axis=1, initial=0.0)
        return np.where(self.negatives > 0, _ratio(found, self.positives), NAN)


def confusion(labels: Labels, predicted: Labels, class_count: int) -> Labels:
    """Counts (c, c) of class indices (n,): true class by row, predicted class by column."""
    counts = np.zeros((class_count, class_count), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def accuracy(counts: Labels) -> float:
    """Share of right answers in a confusion matrix; NaN without pictures."""
    return float(_ratio(counts.trace(), counts.sum()))


def recall(counts: Labels) -> Floats:
    """Share of each class that was found (c,); NaN for a class that does not occur."""
    return _of_confusion(counts).recall[0]


def precision(counts: Labels) -> Floats:
    """Share of each class's predictions that are right (c,); NaN where none was made."""
    return _of_confusion(counts).precision[0]


def f1(counts: Labels) -> Floats:
    """F1 of each class (c,); NaN only for a class that neither occurs nor is predicted."""
    return _of_confusion(counts).f1[0]


def balanced_accuracy(counts: Labels) -> float:
    """Mean recall over the classes that occur."""
    return float(_mean(recall(counts)))


def macro_f1(counts: Labels) -> float:
    """Mean F1 over the classes that occur or are predicted."""
    return float(_mean(f1(counts)))


def auc(score: Floats, positive: Bools) -> float:
    """Area under the ROC curve of scores (n,), NaN when only one class is present."""
    return float(Ranking(score, positive, np.ones((1, len(score)))).auc[0])


def macro_auc(probabilities: Floats, labels: Labels) -> float:
    """Mean one-against-rest AUC over the classes for which it is defined."""
    columns = range(probabilities.shape[1])
    return float(_mean(np.array([auc(probabilities[:, k], labels == k) for k in columns])))


def overall(outcome: Outcome, weights: Floats, areas: Floats | None = None) -> dict[str, Floats]:
    """The figures over all findings by name, each (r,). ``areas`` (r, c) are AUCs already known.

    With several labels, ``accuracy`` asks for exactly the findings that are shown, balanced
    accuracy is the mean of sensitivity and specificity, and kappa pools all yes-or-no answers.
    Weighted accuracy weighs each finding's accuracy against the rest by how often it occurs.
    """
    tally = Tally.of(outcome.truth, outcome.predicted, weights)
    kept = outcome.averaged
    macro, total = tally.only(kept), tally.total[:, 0]
    areas = rank_areas(outcome, weights) if areas is None else areas
    balanced = (macro.recall + macro.specificity) / 2 if outcome.multi_label else macro.recall
    hits, named, shown = (part.sum(axis=1) for part in (macro.hits, macro.named, macro.shown))
    coverage, risk = risk_by_coverage(outcome, weights)
    steps = np.diff(coverage, prepend=0.0)
    return {
        "accuracy": _ratio(weights @ outcome.right, total),
        "balanced_accuracy": _mean(balanced),
        "weighted_accuracy": _weighted(macro.accuracy, macro.shown),
        "macro_precision": _mean(macro.precision_or_none),
        "macro_recall": _mean(macro.recall),
        "macro_f1": _mean(macro.f1),
        "micro_precision": _ratio(hits, named),
        "micro_recall": _ratio(hits, shown),
        "micro_f1": _ratio(2 * hits, named + shown),
        "weighted_precision": _weighted(macro.precision_or_none, macro.shown),
        "weighted_recall": _weighted(macro.recall, macro.shown),
        "weighted_f1": _weighted(macro.f1, macro.shown),
        "macro_auc": _mean(areas[:, kept]),
        "kappa": _kappa(macro, pooled=True) if outcome.multi_label else _kappa(tally, pooled=False),
        "log_loss": _ratio(weights @ outcome.log_losses, total),
        "brier_score": _ratio(weights @ outcome.brier_scores, total),
        "expected_calibration_error": _calibration_error(outcome, weights),
        "risk_coverage_area": (steps * np.nan_to_num(risk)).sum(axis=1) + _undefined(total),
    }


def by_finding(outcome: Outcome, weights: Floats) -> dict[str, Floats]:
    """The figures of each finding by name, each (r, c)."""
    tally = Tally.of(outcome.truth, outcome.predicted, weights)
    count = outcome.truth.shape[1]
    thresholds = np.array(outcome.thresholds or (NAN,) * count)
    over = Tally.of(outcome.truth, outcome.probabilities >= thresholds, weights)
    rankings = _rankings(outcome, weights)
    figures = {
        "precision": tally.precision,
        "recall": tally.recall,
        "specificity": tally.specificity,
        "f1": tally.f1,
        "operating_sensitivity": over.recall + 0 * thresholds,  # NaN without a threshold
        "operating_specificity": over.specificity + 0 * thresholds,
    }
    columns: dict[str, list[Floats]] = {}
    for ranking in rankings:
        columns.setdefault("auc", []).append(ranking.auc)
        columns.setdefault("average_precision", []).append(ranking.average_precision)
        for stated in STATED_SPECIFICITIES:
            found = ranking.sensitivity_at(stated)
            columns.setdefault(at_specificity(stated), []).append(found)
    return figures | {name: np.stack(column, axis=1) for name, column in columns.items()}


def at_specificity(stated: float) -> str:
    """The name of the figure that is the sensitivity at a stated specificity."""
    return f"sensitivity_at_specificity_{stated:.2f}"


def rank_areas(outcome: Outcome, weights: Floats) -> Floats:
    """One-against-rest AUC of each finding (r, c)."""
    return np.stack([ranking.auc for ranking in _rankings(outcome, weights)], axis=1)


def risk_by_coverage(outcome: Outcome, weights: Floats) -> tuple[Floats, Floats]:
    """Share answered, and share wrong of those, when the t surest levels are answered: (r, t)."""
    order, _, ends = _steps(outcome.confidence)
    drawn = weights[:, order]
    answered = np.cumsum(drawn, axis=1)[:, ends]
    wrong = np.cumsum(drawn * ~outcome.right[order], axis=1)[:, ends]
    return _ratio(answered, weights.sum(axis=1)[:, None]), _ratio(wrong, answered)


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval: floats, or arrays (c,) over findings."""

    value: Floats
    low: Floats
    high: Floats

    def entry(self, index: int | None = None) -> dict[str, Any]:
        """``{"value": float, "interval": (low, high)}``, of one finding where there are several."""
        at = () if index is None else index
        return {
            "value": float(self.value[at]),
            "interval": (float(self.low[at]), float(self.high[at])),
        }


def estimate(
    measure: Callable[[Floats], dict[str, Floats]],
    groups: npt.NDArray[Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every figure of ``measure``, which takes weights (r, n), with its percentile interval.

    Whole ``groups`` (n,), that is subjects, are drawn with replacement (Efron 1979). Resamples in
    which a figure is undefined are left out of its interval; NaN when all are.
    """
    values = measure(np.ones((1, len(groups))))
    drawn: dict[str, list[Floats]] = {name: [] for name in values}
    for weights in resampled(groups, resamples, seed):
        for name, rows in measure(weights).items():
            drawn[name].append(rows)
    intervals = {name: _interval(np.concatenate(rows)) for name, rows in drawn.items()}
    return {name: Estimate(values[name][0], *intervals[name]) for name in values}


def resampled(groups: npt.NDArray[Any], resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks of weights (r, n), together ``resamples`` rows: the same for the same groups."""
    names, group_of = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    rows = max(1, BLOCK // len(groups))
    for start in range(0, resamples, rows):
        counts = random.multinomial(len(names), even, size=min(rows, resamples - start))
        yield counts[:, group_of].astype(np.float64)


def summary(
    outcome: Outcome, codes: tuple[str, ...], groups: npt.NDArray[Any], *, resamples: int = 1000
) -> dict[str, Any]:
    """All figures of a set of answers, each with its 95 % interval, as plain values.

    ``note`` says in words why a finding has undefined figures. The confusion matrix of several
    labels counts the pictures that show the finding of the row and were named that of the column.
    """

    def everything(weights: Floats) -> dict[str, Floats]:
        found = by_finding(outcome, weights)
        return found | overall(outcome, weights, found["auc"])

    figures = estimate(everything, groups, resamples=resamples)
    counts = outcome.truth.T.astype(np.int64) @ outcome.predicted.astype(np.int64)
    shown, named = outcome.truth.sum(axis=0), outcome.predicted.sum(axis=0)
    return {
        "image_count": len(groups),
        "subject_count": len(np.unique(groups)),
        **{name: each.entry() for name, each in figures.items() if each.value.ndim == 0},
        "findings": {
            code: {"image_count": int(shown[index]), "named_count": int(named[index])}
            | _finding(outcome, figures, index)
            for index, code in enumerate(codes)
        },
        "confusion": counts.tolist(),
        "confusion_row_share": _ratio(counts, shown[:, None]).tolist(),
        "confusion_column_share": _ratio(counts, named[None]).tolist(),
    }


def _finding(outcome: Outcome, figures: dict[str, Estimate], index: int) -> dict[str, Any]:
    """The figures of one finding as plain values, ``<name>`` and ``<name>_interval``."""
    entry: dict[str, Any] = {"in_macro": bool(outcome.averaged[index])}
    for name in ("precision", "recall", "specificity", "f1", "auc", "average_precision"):
        figure = figures[name].entry(index)
        entry |= {name: figure["value"], f"{name}_interval": figure["interval"]}
    return entry | {
        "operating_point": {
            "threshold": outcome.thresholds[index] if outcome.thresholds else NAN,
            "sensitivity": figures["operating_sensitivity"].entry(index),
            "specificity": figures["operating_specificity"].entry(index),
        },
        "sensitivity_at_specificity": {
            f"{stated:.2f}": figures[at_specificity(stated)].entry(index)
            for stated in STATED_SPECIFICITIES
        },
        "note": note(outcome.truth[:, index], outcome.predicted[:, index]),
    }


def note(shown: Bools, named: Bools) -> str:
    """Why figures of a finding that n pictures show or not are undefined; empty if none is."""
    reasons = []
    if not shown.any():
        reasons.append("no picture of this finding: recall and AUC are undefined")
    elif shown.all():
        reasons.append("every picture shows this finding: specificity and AUC are undefined")
    if not named.any():
        reasons.append("never named: precision is undefined")
    return "; ".join(reasons)


def roc_curve(score: Floats, positive: Bools) -> list[tuple[float, float]]:
    """Points (1 - specificity, sensitivity) from (0, 0) to (1, 1); none when a class is missing."""
    ranking = Ranking(score, positive, np.ones((1, len(score))))
    positives, negatives = ranking.positives[0], ranking.negatives[0]
    if not (positives and negatives):
        return []
    before = np.stack([ranking.false_before, ranking.found - ranking.gained])[:, 0]
    after = np.stack([ranking.false, ranking.found])[:, 0]
    across, up = np.stack([before, after], axis=2).reshape(2, -1)
    return _thinned(np.append(across / negatives, 1.0), np.append(up / positives, 1.0))


def precision_recall_curve(score: Floats, positive: Bools) -> list[tuple[float, float]]:
    """Points (recall, precision) from the highest threshold down; none without a positive."""
    ranking = Ranking(score, positive, np.ones((1, len(score))))
    if not ranking.positives[0]:
        return []
    across = ranking.found[0] / ranking.positives[0]
    return _thinned(across, ranking.found[0] / (ranking.found[0] + ranking.false[0]))


def risk_coverage_curve(outcome: Outcome) -> list[tuple[float, float]]:
    """Points (share answered, share wrong of those), the surest answers first."""
    coverage, risk = risk_by_coverage(outcome, np.ones((1, len(outcome.truth))))
    return _thinned(coverage[0], risk[0])


def reliability(
    outcome: Outcome, groups: npt.NDArray[Any], *, resamples: int = 1000
) -> list[dict[str, Any]]:
    """Equal bins of probability that hold anything: how often what they promise is so."""
    counts, promised, kept = _bins(outcome)

    def observed(weights: Floats) -> dict[str, Floats]:
        return {"observed": _ratio(weights @ kept, weights @ counts)}

    shares = estimate(observed, groups, resamples=resamples)["observed"]
    total = counts.sum(axis=0)
    return [
        {
            "from": index / CALIBRATION_BINS,
            "to": (index + 1) / CALIBRATION_BINS,
            "count": int(total[index]),
            "mean_probability": float(promised[:, index].sum() / total[index]),
            "observed": shares.entry(index),
        }
        for index in np.flatnonzero(total).tolist()
    ]


def _rankings(outcome: Outcome, weights: Floats) -> Iterator[Ranking]:
    for index in range(outcome.truth.shape[1]):
        yield Ranking(outcome.probabilities[:, index], outcome.truth[:, index], weights)


def _steps(score: Floats) -> tuple[Labels, Labels, Labels]:
    """The order from the highest score down (n,), and where each run of ties starts and ends."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.diff(score[order], append=-np.inf))
    return order, np.concatenate([[0], ends[:-1] + 1])[: len(ends)], ends


def _of_confusion(counts: Labels) -> Tally:
    rows = counts.astype(np.float64)
    return Tally(
        hits=np.diag(rows)[None],
        named=rows.sum(axis=0)[None],
        shown=rows.sum(axis=1)[None],
        total=rows.sum(keepdims=True),
    )


def _kappa(tally: Tally, *, pooled: bool) -> Floats:
    """Agreement beyond chance (r,) (Cohen 1960); ``pooled`` over yes-or-no answers."""
    hits, named, shown = (part.sum(axis=1) for part in (tally.hits, tally.named, tally.shown))
    total = tally.total[:, 0]
    if pooled:
        total = total * tally.hits.shape[1]
        observed = _ratio(total - named - shown + 2 * hits, total)
        chance = _ratio(named * shown + (total - named) * (total - shown), total**2)
    else:
        observed = _ratio(hits, total)
        chance = _ratio((tally.named * tally.shown).sum(axis=1), total**2)
    return _ratio(observed - chance, np.where(np.isclose(chance, 1), 0, 1 - chance))


def _bins(outcome: Outcome) -> tuple[Floats, Floats, Floats]:
    """By picture and bin (n, b): how many probabilities, their sum, how many were borne out.

    The probability of the most probable finding; with several labels, that of every finding.
    """
    if outcome.multi_label:
        promised = outcome.probabilities[:, outcome.averaged]
        true = outcome.truth[:, outcome.averaged]
    else:
        first = outcome.probabilities.argmax(axis=1)[:, None]
        promised = np.take_along_axis(outcome.probabilities, first, axis=1)
        true = np.take_along_axis(outcome.truth, first, axis=1)
    bin_of = np.minimum((promised * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    rows = np.arange(len(promised))[:, None]
    counts, sums, kept = (np.zeros((len(promised), CALIBRATION_BINS)) for _ in range(3))
    np.add.at(counts, (rows, bin_of), 1.0)
    np.add.at(sums, (rows, bin_of), promised)
    np.add.at(kept, (rows, bin_of), true)
    return counts, sums, kept


def _calibration_error(outcome: Outcome, weights: Floats) -> Floats:
    """Mean gap between promise and fact over equal bins, by their share (r,).

    Naeini et al. 2015.
    """
    counts, promised, kept = _bins(outcome)
    gaps = np.abs(weights @ (promised - kept)).sum(axis=1)
    return _ratio(gaps, (weights @ counts).sum(axis=1))


def _interval(drawn: Floats) -> tuple[Floats, Floats]:
    """The 2.5 and 97.5 % quantiles over the first axis, of what is a number."""
    columns = drawn.reshape(len(drawn), -1).T
    limits = np.full((len(columns), 2), NAN)
    for limit, column in zip(limits, columns, strict=True):
        defined = column[~np.isnan(column)]
        if len(defined):
            limit[:] = np.quantile(defined, (0.025, 0.975))
    low, high = limits.T.reshape(2, *drawn.shape[1:])
    return low, high


def _thinned(across: Floats, up: Floats) -> list[tuple[float, float]]:
    """The corners of a curve, and of those about CURVE_POINTS with both ends."""
    points = np.stack([across, up], axis=1)
    steps = np.diff(points, axis=0)
    turns = steps[:-1, 0] * steps[1:, 1] != steps[:-1, 1] * steps[1:, 0]
    corners = np.flatnonzero(np.concatenate([[True], turns, [True]])[: len(points)])
    stride = max(1, len(corners) // CURVE_POINTS)
    chosen = np.unique([*corners[::stride], len(points) - 1])
    return [(round(float(x), 6), round(float(y), 6)) for x, y in points[chosen]]


def _undefined(total: Floats) -> Floats:
    """NaN where nothing was counted, else zero."""
    return np.where(total > 0, 0.0, NAN)


def _ratio(parts: Any, wholes: Any) -> Floats:
    """Quotients, NaN where the whole is zero."""
    parts, wholes = np.broadcast_arrays(
        np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    )
    return np.divide(parts, wholes, out=np.full(parts.shape, NAN), where=wholes != 0)


def _mean(values: Floats) -> Floats:
    """Mean over the last axis of what is a number; NaN when nothing is."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _weighted(values: Floats, shown: Floats) -> Floats:
    """Mean over findings (r, c), weighted by how often each occurs."""
    return _ratio((np.nan_to_num(values) * shown).sum(axis=1), shown.sum(axis=1))
