"""Calibration and the thresholds set on it."""

import numpy as np
import pytest

from ml.calibration import (
    abstention_threshold,
    fit_temperature,
    log_loss,
    operating_point,
    softmax,
)


def test_softmax_is_stable_and_sums_to_one() -> None:
    rows = softmax(np.array([[1e4, 0.0], [0.0, np.log(3)]]))
    assert rows.sum(axis=1) == pytest.approx([1, 1])
    assert rows[1] == pytest.approx([1 / 4, 3 / 4])
    assert softmax(np.array([[0.0, 2 * np.log(3)]]), temperature=2)[0, 1] == pytest.approx(3 / 4)


def test_log_loss_by_hand() -> None:
    rows = np.array([[0.5, 0.5], [0.2, 0.8]])
    assert log_loss(rows, np.array([0, 1])) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)


def test_the_temperature_that_was_put_in_is_found() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (4000, 5))
    labels = np.array([random.choice(5, p=row) for row in softmax(logits)])
    assert fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.1)


CONFIDENCE = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
ROWS = np.stack([CONFIDENCE, 1 - CONFIDENCE], axis=1)


def test_abstaining_stops_once_accurate_enough() -> None:
    labels = np.array([1, 0, 1, 0, 0, 0])
    assert abstention_threshold(ROWS, labels, accuracy=1, coverage=0.5) == pytest.approx(0.8)
    assert abstention_threshold(ROWS, labels, accuracy=0.8, coverage=0.5) == pytest.approx(0.6)


def test_abstaining_never_goes_under_the_coverage() -> None:
    labels = np.array([1, 0, 1, 0, 1, 0])
    threshold = abstention_threshold(ROWS, labels, accuracy=1, coverage=0.8)
    assert (threshold <= CONFIDENCE).mean() >= 0.8


def test_nothing_is_held_back_when_all_is_right() -> None:
    assert abstention_threshold(ROWS, np.zeros(6, np.int64), accuracy=1, coverage=0.5) == 0


def test_an_operating_point_finds_the_wanted_share() -> None:
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.2])
    positive = np.array([True, True, True, True, False, False])
    assert operating_point(probability, positive, 1) == pytest.approx(0.6)
    assert operating_point(probability, positive, 0.5) == pytest.approx(0.8)
    assert np.isnan(operating_point(probability, ~positive & positive, 0.5))
