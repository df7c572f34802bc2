"""Metrics against tables worked by hand; what is undefined is NaN, with a word."""

import numpy as np
import pytest

from ml import metrics

# true a: 3 right, 1 called b; true b: 2 right, 1 called a, 1 called c; true c: 2 right
COUNTS = np.array([[3, 1, 0], [1, 2, 1], [0, 0, 2]])
ONE_HOT = np.eye(3)


def test_confusion_counts_true_by_row() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 0, 1, 1, 2, 2, 2])
    assert metrics.confusion(labels, predicted, 3).tolist() == COUNTS.tolist()


def test_figures_of_a_table() -> None:
    assert metrics.accuracy(COUNTS) == pytest.approx(7 / 10)
    assert metrics.recall(COUNTS) == pytest.approx([3 / 4, 2 / 4, 2 / 2])
    assert metrics.precision(COUNTS) == pytest.approx([3 / 4, 2 / 3, 2 / 3])
    assert metrics.f1(COUNTS) == pytest.approx([6 / 8, 4 / 7, 4 / 5])
    assert metrics.balanced_accuracy(COUNTS) == pytest.approx((3 / 4 + 2 / 4 + 1) / 3)
    assert metrics.macro_f1(COUNTS) == pytest.approx((6 / 8 + 4 / 7 + 4 / 5) / 3)


def test_a_class_that_does_not_occur_is_left_out_of_means() -> None:
    counts = np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert np.isnan(metrics.recall(counts)[2])
    assert np.isnan(metrics.f1(counts)[2])
    assert metrics.balanced_accuracy(counts) == pytest.approx((1 + 1 / 2) / 2)


def test_auc_counts_ordered_pairs_and_half_the_ties() -> None:
    score = np.array([0.1, 0.4, 0.35, 0.8])
    positive = np.array([False, False, True, True])
    assert metrics.auc(score, positive) == pytest.approx(3 / 4)
    assert metrics.auc(np.zeros(4), positive) == pytest.approx(1 / 2)


def test_one_class_present_is_not_a_number() -> None:
    assert np.isnan(metrics.auc(np.array([0.2, 0.3]), np.array([True, True])))
    figures = metrics.summary(ONE_HOT[[0, 0]], np.array([0, 0]), ("a", "b", "c"), np.arange(2))
    assert np.isnan(figures["findings"]["a"]["auc"])
    assert "every picture" in figures["findings"]["a"]["note"]
    assert np.isnan(figures["findings"]["b"]["recall"])
    assert "no picture" in figures["findings"]["b"]["note"]
    assert np.isnan(figures["macro_auc"]["value"])
    assert np.isnan(figures["macro_auc"]["interval"]).all()


def test_no_pictures_at_all() -> None:
    assert np.isnan(metrics.accuracy(np.zeros((2, 2), np.int64)))
    assert np.isnan(metrics.expected_calibration_error(np.zeros((0, 2)), np.zeros(0, np.int64)))


def test_calibration_error_of_two_bins() -> None:
    # confidence 0.6 twice, one right: gap 0.1; confidence 0.9 twice, both right: gap 0.1
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])
    labels = np.array([0, 1, 0, 0])
    found = metrics.expected_calibration_error(probabilities, labels, bins=10)
    assert found == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)


def test_the_interval_holds_the_value_and_narrows() -> None:
    def interval(count: int) -> tuple[float, float]:
        right = np.arange(count) % 5 > 0
        return metrics.bootstrap_interval(
            lambda index: float(right[index].mean()), np.arange(count), resamples=300
        )

    few, many = interval(50), interval(500)
    assert few[0] < 0.8 < few[1]
    assert few[1] - few[0] > 2 * (many[1] - many[0])
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * (0.8 * 0.2 / 500) ** 0.5, rel=0.2)


def test_subjects_are_drawn_whole() -> None:
    drawn: list[int] = []

    def figure(index: np.ndarray) -> float:
        drawn.append(sum(np.bincount(index, minlength=6)[3:]) % 3)
        return 1.0

    metrics.bootstrap_interval(figure, np.array(["x", "x", "x", "y", "y", "y"]), resamples=20)
    assert set(drawn) == {0}
