"""Calibration and the thresholds set on it."""

import numpy as np
import pytest

from ml.calibration import (
    Calibration,
    abstention_threshold,
    best_f1_point,
    conformal_points,
    log_loss,
    operating_point,
    sigmoid,
    softmax,
    weight_offsets,
)


def one_hot(labels: list[int] | np.ndarray, count: int) -> np.ndarray:
    return np.eye(count, dtype=bool)[np.asarray(labels)]


def test_softmax_is_stable_and_sums_to_one() -> None:
    rows = softmax(np.array([[1e4, 0.0], [0.0, np.log(3)]]))
    assert rows.sum(axis=1) == pytest.approx([1, 1])
    assert rows[1] == pytest.approx([1 / 4, 3 / 4])


def test_a_temperature_divides_the_logits() -> None:
    logits = np.array([[0.0, 2 * np.log(3)]])
    assert Calibration(temperature=2)(logits)[0] == pytest.approx([1 / 4, 3 / 4])
    assert Calibration(2, multi_label=True)(logits)[0] == pytest.approx([1 / 2, 3 / 4])


def test_sigmoid_is_stable() -> None:
    assert sigmoid(np.array([-1e4, 0.0, np.log(3), 1e4])) == pytest.approx([0, 1 / 2, 3 / 4, 1])


def test_log_loss_by_hand() -> None:
    rows = np.array([[0.5, 0.5], [0.2, 0.8]])
    of_one = -(np.log(0.5) + np.log(0.8)) / 2
    assert log_loss(rows, one_hot([0, 1], 2), multi_label=False) == pytest.approx(of_one)
    both = np.array([[True, True], [False, False]])
    of_each = -(np.log(0.5) + np.log(0.5) + np.log(0.8) + np.log(0.2)) / 4
    assert log_loss(rows, both, multi_label=True) == pytest.approx(of_each)


def test_the_temperature_that_was_put_in_is_found() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (4000, 5))
    truth = one_hot([random.choice(5, p=row) for row in softmax(logits)], 5)
    assert Calibration.fit(2.5 * logits, truth, multi_label=False).temperature == pytest.approx(
        2.5, rel=0.1
    )
    each = random.random(logits.shape) < sigmoid(logits)
    assert Calibration.fit(2.5 * logits, each, multi_label=True).temperature == pytest.approx(
        2.5, rel=0.1
    )


def test_offsets_give_back_what_class_weights_took() -> None:
    true = np.array([[0.7, 0.2, 0.1]])
    weights = np.array([0.5, 1.0, 4.0])
    learnt = np.log(true * weights / (true * weights).sum())
    assert Calibration(1, weight_offsets(weights))(learnt) == pytest.approx(true, abs=1e-5)


CONFIDENCE = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])


def test_abstaining_stops_once_accurate_enough() -> None:
    right = np.array([0, 1, 0, 1, 1, 1], bool)
    assert abstention_threshold(CONFIDENCE, right, accuracy=1, coverage=0.5) == pytest.approx(0.8)
    assert abstention_threshold(CONFIDENCE, right, accuracy=0.8, coverage=0.5) == pytest.approx(0.6)


def test_abstaining_never_goes_under_the_coverage() -> None:
    right = np.array([0, 1, 0, 1, 0, 1], bool)
    threshold = abstention_threshold(CONFIDENCE, right, accuracy=1, coverage=0.8)
    assert (threshold <= CONFIDENCE).mean() >= 0.8


def test_nothing_is_held_back_when_all_is_right() -> None:
    assert abstention_threshold(CONFIDENCE, np.ones(6, bool), accuracy=1, coverage=0.5) == 0


PROBABILITY = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.2])
POSITIVE = np.array([True, True, True, True, False, False])


def test_an_operating_point_finds_the_wanted_share() -> None:
    assert operating_point(PROBABILITY, POSITIVE, 1) == pytest.approx(0.6)
    assert operating_point(PROBABILITY, POSITIVE, 0.5) == pytest.approx(0.8)
    assert np.isnan(operating_point(PROBABILITY, np.zeros(6, bool), 0.5))


def test_the_best_f1_by_hand() -> None:
    assert best_f1_point(PROBABILITY, POSITIVE) == pytest.approx(0.6)
    mixed = np.array([True, False, True, False, False, False])  # F1 of 2/3, 1/2, 4/5 ... by rank
    assert best_f1_point(PROBABILITY, mixed) == pytest.approx(0.7)
    assert np.isnan(best_f1_point(PROBABILITY, np.zeros(6, bool)))
    tied = np.array([0.5, 0.5, 0.5, 0.4])  # over 0.5 there are three, whichever comes first
    assert best_f1_point(tied, np.array([True, False, False, True])) == pytest.approx(0.4)


def test_a_conformal_threshold_by_hand() -> None:
    """Of 9 scores and a coverage of 0.9, the lowest; of 19, the second lowest."""
    for count, rank in ((9, 0), (19, 1), (8, None)):
        scores = np.linspace(0.1, 0.9, count)
        (point,) = conformal_points(
            scores[:, None],
            np.ones((count, 1), bool),
            np.arange(count),
            coverage=0.9,
            least_subjects=1,
        )
        assert point.threshold == pytest.approx(0 if rank is None else scores[rank])


def test_sets_hold_the_truth_as_often_as_stated_for_each_finding() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (20_000, 4)) + np.log([0.6, 0.2, 0.15, 0.05])
    rows = softmax(logits)
    truth = one_hot([random.choice(4, p=row) for row in rows], 4)
    fitted, fresh = slice(0, 10_000), slice(10_000, None)
    points = conformal_points(rows[fitted], truth[fitted], np.arange(10_000), coverage=0.9)
    held = rows[fresh] >= [point.threshold for point in points]
    for index in range(4):
        assert held[truth[fresh][:, index], index].mean() == pytest.approx(0.9, abs=0.03)


def test_rare_findings_are_pooled_by_subject() -> None:
    random = np.random.default_rng(0)
    truth = one_hot([0] * 60 + [1] * 12 + [2] * 12, 3)
    subjects = np.array([*range(60), *([100] * 12), *range(200, 212)])
    points = conformal_points(random.random((84, 3)), truth, subjects, coverage=0.9)
    assert [point.subject_count for point in points] == [60, 1, 12]
    assert [point.pooled for point in points] == [False, True, True]
    assert points[1].threshold == points[2].threshold != points[0].threshold
