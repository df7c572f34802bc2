"""From logits to probabilities that mean what they say, and the thresholds set on them.

Everything here is chosen on the tune part, never on the locked test.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Truth = npt.NDArray[np.bool_]
"""What each picture shows (n, c); one finding a row unless multi-label."""


@dataclass(frozen=True)
class Calibration:
    """From logits to probabilities that mean what they say."""

    temperature: float = 1.0
    offsets: tuple[float, ...] = ()
    """Added to the logits before the division: what weighing the classes in training took from
    common findings and gave to rare ones, given back. Empty is nothing."""
    multi_label: bool = False
    """Whether each finding has a probability of its own; otherwise a row sums to 1."""

    def __call__(self, logits: Array) -> npt.NDArray[np.float64]:
        """Probabilities (n, c) of logits (n, c)."""
        moved = np.asarray(logits, dtype=np.float64) + np.array(self.offsets or 0.0)
        scaled = moved / self.temperature
        return sigmoid(scaled) if self.multi_label else softmax(scaled)

    @classmethod
    def fit(
        cls, logits: Array, truth: Truth, *, multi_label: bool, offsets: tuple[float, ...] = ()
    ) -> Self:
        """The temperature with the least log loss (Guo et al. 2017, "On calibration")."""
        from scipy.optimize import minimize_scalar  # not loaded in serving

        def loss(power: float) -> float:
            calibrated = cls(float(np.exp(power)), offsets, multi_label)(logits)
            return log_loss(calibrated, truth, multi_label=multi_label)

        found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
        return cls(float(np.exp(found.x)), offsets, multi_label)


def softmax(logits: Array) -> npt.NDArray[np.float64]:
    """Probabilities (n, c) of logits (n, c); each row sums to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: Array) -> npt.NDArray[np.float64]:
    """The probability of each logit by itself."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def log_loss(probabilities: Array, truth: Truth, *, multi_label: bool) -> float:
    """Mean negative log probability of the truth; if multi-label, of absences too."""
    certain = np.clip(probabilities, 1e-12, 1 - 1e-12)
    if multi_label:
        return float(-np.where(truth, np.log(certain), np.log1p(-certain)).mean())
    return float(-np.log(certain[truth]).mean())


def weight_offsets(class_weights: Array) -> tuple[float, ...]:
    """The logit offsets that undo weighing the classes by ``class_weights`` (c,) in the loss.

    A network fitted with weights ``w`` learns probabilities in proportion to ``w p``, and, finding
    by finding, odds multiplied by ``w``.
    """
    return tuple(-np.log(np.asarray(class_weights, dtype=np.float64)).round(6))


def abstention_threshold(
    confidence: Array, right: npt.NDArray[np.bool_], *, accuracy: float, coverage: float
) -> float:
    """The confidence below which to abstain, from the confidence and rightness of answers (n,).

    The lowest at which the answers that remain reach ``accuracy``, yet never so high that fewer
    than ``coverage`` of the pictures are answered. Zero when all answers reach it already.
    """
    highest = _highest_reached_by(confidence, coverage)
    if right.mean() >= accuracy:
        return 0.0
    for threshold in np.unique(confidence[confidence <= highest]):
        if right[confidence >= threshold].mean() >= accuracy:
            return float(threshold)
    return highest


def operating_point(
    probability: Array, positive: npt.NDArray[np.bool_], sensitivity: float
) -> float:
    """The highest threshold at which ``probability >= threshold`` finds that share of positives.

    NaN when there is no positive.
    """
    if not positive.any():
        return float("nan")
    return _highest_reached_by(np.asarray(probability)[positive], sensitivity)


def best_f1_point(probability: Array, positive: npt.NDArray[np.bool_]) -> float:
    """The threshold at which ``probability >= threshold`` has the highest F1.

    NaN when there is no positive.
    """
    if not positive.any():
        return float("nan")
    thresholds, rank = np.unique(probability, return_inverse=True)
    named = np.bincount(rank)[::-1].cumsum()[::-1]
    found = np.bincount(rank, weights=positive)[::-1].cumsum()[::-1]
    f1 = 2 * found / (named + positive.sum())
    return float(thresholds[len(f1) - 1 - int(f1[::-1].argmax())])


@dataclass(frozen=True)
class ConformalPoint:
    """From which probability on a finding belongs to the set that holds the truth."""

    threshold: float
    subject_count: int
    pooled: bool
    """Too few subjects had this finding, so it was fitted together with other rare ones."""


def conformal_points(
    probabilities: Array,
    truth: Truth,
    subjects: npt.NDArray[Any],
    *,
    coverage: float,
    least_subjects: int = 20,
) -> list[ConformalPoint]:
    """Class-conditional split-conformal thresholds (Vovk 2012), one a finding.

    A set of the findings whose probability reaches their threshold holds a finding that is true
    with at least ``coverage``, for each finding. Those with fewer than ``least_subjects`` are
    pooled. Without any, the threshold is 0: such a finding is in every set.
    """
    counts = [len(np.unique(subjects[truth[:, k]])) for k in range(truth.shape[1])]
    rare = [k for k, count in enumerate(counts) if count < least_subjects]
    own = [np.asarray(probabilities)[truth[:, k], k] for k in range(truth.shape[1])]
    pool = np.concatenate([own[k] for k in rare]) if rare else np.empty(0)
    return [
        ConformalPoint(
            _conformal_threshold(pool if k in rare else own[k], coverage), counts[k], k in rare
        )
        for k in range(truth.shape[1])
    ]


def _conformal_threshold(scores: Array, coverage: float) -> float:
    """The score that a further draw of the same kind reaches with the wanted probability."""
    rank = math.floor((len(scores) + 1) * (1 - coverage) + 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank >= 1 else 0.0


def _highest_reached_by(values: Array, share: float) -> float:
    """The highest threshold that at least ``share`` of the values reach."""
    count = math.ceil(share * len(values) - 1e-9)
    return float(np.sort(values)[len(values) - max(count, 1)])
