"""Figures of merit, each NaN where it is undefined, with bootstrap intervals.

``labels`` are class indices (n,), ``probabilities`` calibrated values (n, c).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NAN = float("nan")


def confusion(labels: Labels, predicted: Labels, class_count: int) -> npt.NDArray[np.int64]:
    """Counts (c, c): true class by row, predicted class by column."""
    counts = np.zeros((class_count, class_count), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def accuracy(counts: npt.NDArray[np.int64]) -> float:
    """Share of right answers; NaN without pictures."""
    return _ratio(counts.trace(), counts.sum())


def recall(counts: npt.NDArray[np.int64]) -> Floats:
    """Share of each class that was found (c,); NaN for a class that does not occur."""
    return _ratios(np.diag(counts), counts.sum(axis=1))


def precision(counts: npt.NDArray[np.int64]) -> Floats:
    """Share of each class's predictions that are right (c,); NaN where none was made."""
    return _ratios(np.diag(counts), counts.sum(axis=0))


def f1(counts: npt.NDArray[np.int64]) -> Floats:
    """Harmonic mean of precision and recall (c,), as 2 TP / (2 TP + FP + FN).

    NaN only for a class that neither occurs nor is predicted.
    """
    return _ratios(2 * np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1))


def balanced_accuracy(counts: npt.NDArray[np.int64]) -> float:
    """Mean recall over the classes that occur."""
    return _mean(recall(counts))


def macro_f1(counts: npt.NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur or are predicted."""
    return _mean(f1(counts))


def auc(score: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks, ties counted half (Mann and Whitney 1947).

    NaN when only one class is present.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return NAN
    above = float(rankdata(score)[positive].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def macro_auc(probabilities: Floats, labels: Labels) -> float:
    """Mean one-against-rest AUC over the classes for which it is defined."""
    columns = range(probabilities.shape[1])
    return _mean(np.array([auc(probabilities[:, index], labels == index) for index in columns]))


def expected_calibration_error(probabilities: Floats, labels: Labels, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal bins of confidence, by their share.

    Naeini et al. 2015. NaN without pictures.
    """
    if not len(labels):
        return NAN
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[bin_of == index].mean() - right[bin_of == index].mean())
        * (bin_of == index).mean()
        for index in range(bins)
        if (bin_of == index).any()
    ]
    return float(sum(gaps))


def bootstrap_interval(
    figure: Callable[[npt.NDArray[np.int64]], float],
    groups: npt.NDArray[Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % percentile interval of ``figure``, which takes the indices of a resample.

    Whole ``groups`` (n,), that is subjects, are drawn with replacement (Efron 1979). Resamples in
    which the figure is undefined are left out; NaN when all are.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group_of))[:-1])
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = random.integers(len(members), size=len(members))
        values.append(figure(np.concatenate([members[index] for index in drawn])))
    defined = np.array(values)[~np.isnan(values)]
    if not len(defined):
        return NAN, NAN
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def summary(
    probabilities: Floats, labels: Labels, codes: tuple[str, ...], groups: npt.NDArray[Any]
) -> dict[str, Any]:
    """All figures of a set of answers, each headline figure with its 95 % interval.

    ``note`` says in words why a class has undefined figures.
    """
    predicted = probabilities.argmax(axis=1)
    counts = confusion(labels, predicted, len(codes))
    hits, right, both = recall(counts), precision(counts), f1(counts)

    def of_counts(measure: Callable[[npt.NDArray[np.int64]], float]) -> Callable[..., float]:
        return lambda index: measure(confusion(labels[index], predicted[index], len(codes)))

    headline: dict[str, Callable[[npt.NDArray[np.int64]], float]] = {
        "accuracy": of_counts(accuracy),
        "balanced_accuracy": of_counts(balanced_accuracy),
        "macro_f1": of_counts(macro_f1),
        "macro_auc": lambda index: macro_auc(probabilities[index], labels[index]),
        "expected_calibration_error": lambda index: expected_calibration_error(
            probabilities[index], labels[index]
        ),
    }
    everything = np.arange(len(labels))
    return {
        "image_count": len(labels),
        **{
            name: {"value": figure(everything), "interval": bootstrap_interval(figure, groups)}
            for name, figure in headline.items()
        },
        "findings": {
            code: {
                "image_count": int((labels == index).sum()),
                "precision": float(right[index]),
                "recall": float(hits[index]),
                "f1": float(both[index]),
                "auc": auc(probabilities[:, index], labels == index),
                "note": _note(int((labels == index).sum()), len(labels)),
            }
            for index, code in enumerate(codes)
        },
        "confusion": counts.tolist(),
    }


def _note(present: int, total: int) -> str:
    if present == 0:
        return "no picture of this finding: recall and AUC are undefined"
    return "every picture shows this finding: AUC is undefined" if present == total else ""


def _ratio(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else NAN


def _ratios(parts: npt.NDArray[Any], wholes: npt.NDArray[Any]) -> Floats:
    return np.array([_ratio(part, whole) for part, whole in zip(parts, wholes, strict=True)])


def _mean(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else NAN
