"""From logits to probabilities that mean what they say, and the thresholds set on them.

Everything here is chosen on the tune part, never on the locked test.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]


def softmax(logits: Array, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (n, c) of logits (n, c); each row sums to 1."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def log_loss(probabilities: Array, labels: Labels) -> float:
    """Mean negative log probability of the true label."""
    chosen = np.asarray(probabilities)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: Array, labels: Labels) -> float:
    """The temperature with the least log loss (Guo et al. 2017, "On calibration")."""
    from scipy.optimize import minimize_scalar  # not loaded in serving, which needs only softmax

    found = minimize_scalar(
        lambda power: log_loss(softmax(logits, float(np.exp(power))), labels),
        bounds=(-3.0, 3.0),
        method="bounded",
    )
    return float(np.exp(found.x))


def abstention_threshold(
    probabilities: Array, labels: Labels, *, accuracy: float, coverage: float
) -> float:
    """The confidence below which to abstain.

    The lowest at which the answers that remain reach ``accuracy``, yet never so high that fewer
    than ``coverage`` of the pictures are answered. Zero when all answers reach it already.
    """
    probabilities = np.asarray(probabilities)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    highest = _highest_reached_by(confidence, coverage)
    if correct.mean() >= accuracy:
        return 0.0
    for threshold in np.unique(confidence[confidence <= highest]):
        if correct[confidence >= threshold].mean() >= accuracy:
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


def _highest_reached_by(values: Array, share: float) -> float:
    """The highest threshold that at least ``share`` of the values reach."""
    count = math.ceil(share * len(values) - 1e-9)
    return float(np.sort(values)[len(values) - max(count, 1)])
