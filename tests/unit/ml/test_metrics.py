"""Metrics against tables worked by hand and scikit-learn; what is undefined is NaN, with a word."""

import time

import numpy as np
import pytest
from sklearn import metrics as sklearn

from ml import metrics
from ml.metrics import Outcome

# true a: 3 right, 1 called b; true b: 2 right, 1 called a, 1 called c; true c: 2 right
COUNTS = np.array([[3, 1, 0], [1, 2, 1], [0, 0, 2]])
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 0, 1, 1, 2, 2, 2])
ONE_HOT = np.eye(3, dtype=bool)

# Three findings in four pictures, with several labels: a is named twice and once rightly, b twice
# and both rightly, c once and wrongly.
TRUTH = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
NAMED = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
CHANCES = np.array([[0.9, 0.2, 0.1], [0.4, 0.8, 0.3], [0.6, 0.7, 0.2], [0.1, 0.3, 0.4]])
SEVERAL = Outcome(TRUTH, CHANCES, NAMED, multi_label=True)


def single(labels: np.ndarray, probabilities: np.ndarray) -> Outcome:
    """Answers of the most probable class."""
    one_hot = np.eye(probabilities.shape[1], dtype=bool)
    return Outcome(one_hot[labels], probabilities, one_hot[probabilities.argmax(axis=1)])


def hand_worked() -> Outcome:
    """The answers of COUNTS, each given with probability 0.8."""
    return single(LABELS, np.eye(3)[PREDICTED] * 0.7 + 0.1)


def value(outcome: Outcome, name: str) -> float:
    return float(metrics.overall(outcome, np.ones((1, len(outcome.truth))))[name][0])


def of_findings(outcome: Outcome, name: str) -> list[float]:
    return metrics.by_finding(outcome, np.ones((1, len(outcome.truth))))[name][0].tolist()


def random_answers(count: int, *, seed: int = 0, classes: int = 4) -> Outcome:
    """Answers that are right more often than not, with some ties."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    logits = random.normal(size=(count, classes)).round(1)
    logits[np.arange(count), labels] += 1.0
    powers = np.exp(logits)
    return single(labels, powers / powers.sum(axis=1, keepdims=True))


def test_confusion_counts_true_by_row() -> None:
    assert metrics.confusion(LABELS, PREDICTED, 3).tolist() == COUNTS.tolist()


def test_figures_of_a_table() -> None:
    assert metrics.accuracy(COUNTS) == pytest.approx(7 / 10)
    assert metrics.recall(COUNTS) == pytest.approx([3 / 4, 2 / 4, 2 / 2])
    assert metrics.precision(COUNTS) == pytest.approx([3 / 4, 2 / 3, 2 / 3])
    assert metrics.f1(COUNTS) == pytest.approx([6 / 8, 4 / 7, 4 / 5])
    assert metrics.balanced_accuracy(COUNTS) == pytest.approx((3 / 4 + 2 / 4 + 1) / 3)
    assert metrics.macro_f1(COUNTS) == pytest.approx((6 / 8 + 4 / 7 + 4 / 5) / 3)


def test_the_same_table_as_answers() -> None:
    outcome = hand_worked()
    assert value(outcome, "accuracy") == pytest.approx(7 / 10)
    assert value(outcome, "balanced_accuracy") == pytest.approx((3 / 4 + 2 / 4 + 1) / 3)
    # against the rest: a 8, b 7, c 9 of 10 right; shares 0.4, 0.4, 0.2
    assert value(outcome, "weighted_accuracy") == pytest.approx(0.4 * 0.8 + 0.4 * 0.7 + 0.2 * 0.9)
    assert value(outcome, "macro_precision") == pytest.approx((3 / 4 + 2 / 3 + 2 / 3) / 3)
    assert value(outcome, "macro_recall") == pytest.approx((3 / 4 + 2 / 4 + 1) / 3)
    assert value(outcome, "macro_f1") == pytest.approx((6 / 8 + 4 / 7 + 4 / 5) / 3)
    for name in ("micro_precision", "micro_recall", "micro_f1", "weighted_recall"):
        assert value(outcome, name) == pytest.approx(7 / 10)
    assert value(outcome, "weighted_precision") == pytest.approx(0.4 * 3 / 4 + 0.6 * 2 / 3)
    assert value(outcome, "weighted_f1") == pytest.approx(0.4 * 6 / 8 + 0.4 * 4 / 7 + 0.2 * 4 / 5)
    # chance: 0.4 * 0.4 + 0.4 * 0.3 + 0.2 * 0.3
    assert value(outcome, "kappa") == pytest.approx((0.7 - 0.34) / (1 - 0.34))
    assert value(outcome, "log_loss") == pytest.approx(-0.7 * np.log(0.8) - 0.3 * np.log(0.1))
    # a right answer is off by 0.2, 0.1, 0.1; a wrong one by 0.8, 0.9, 0.1
    assert value(outcome, "brier_score") == pytest.approx(0.7 * 0.06 + 0.3 * 1.46)
    assert value(outcome, "expected_calibration_error") == pytest.approx(0.8 - 0.7)
    assert of_findings(outcome, "specificity") == pytest.approx([5 / 6, 5 / 6, 7 / 8])


def test_several_labels_worked_by_hand() -> None:
    assert value(SEVERAL, "accuracy") == pytest.approx(1 / 4)
    assert of_findings(SEVERAL, "recall") == pytest.approx([1 / 2, 1, 0])
    assert of_findings(SEVERAL, "specificity") == pytest.approx([1 / 2, 1, 1])
    assert of_findings(SEVERAL, "f1") == pytest.approx([1 / 2, 1, 0])
    assert of_findings(SEVERAL, "auc") == pytest.approx([3 / 4, 1, 1])
    assert value(SEVERAL, "balanced_accuracy") == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    # 3 hits, 4 named, 5 shown, 12 answers of which 9 right
    assert value(SEVERAL, "micro_precision") == pytest.approx(3 / 4)
    assert value(SEVERAL, "micro_recall") == pytest.approx(3 / 5)
    assert value(SEVERAL, "micro_f1") == pytest.approx(6 / 9)
    chance = (4 * 5 + 8 * 7) / 144
    assert value(SEVERAL, "kappa") == pytest.approx((9 / 12 - chance) / (1 - chance))
    likely = np.where(TRUTH, CHANCES, 1 - CHANCES)
    assert value(SEVERAL, "log_loss") == pytest.approx(-np.log(likely).mean())
    assert value(SEVERAL, "brier_score") == pytest.approx(((1 - likely) ** 2).mean())


def test_a_finding_that_is_never_named_has_no_precision_and_counts_as_none() -> None:
    precision = of_findings(SEVERAL, "precision")
    assert precision[:2] == pytest.approx([1 / 2, 1])
    assert np.isnan(precision[2])
    assert value(SEVERAL, "macro_precision") == pytest.approx((1 / 2 + 1 + 0) / 3)
    written = metrics.summary(SEVERAL, ("a", "b", "c"), np.arange(4), resamples=5)
    assert "never named" in written["findings"]["c"]["note"]


def test_a_finding_apart_from_the_averages_counts_in_none_of_them() -> None:
    apart = Outcome(TRUTH, CHANCES, NAMED, multi_label=True, in_macro=(True, True, False))
    two = Outcome(TRUTH[:, :2], CHANCES[:, :2], NAMED[:, :2], multi_label=True)
    everything = np.ones((1, 4))
    figures, expected = metrics.overall(apart, everything), metrics.overall(two, everything)
    for name in set(expected) - {"accuracy", "risk_coverage_area"}:  # these ask for all findings
        assert figures[name] == pytest.approx(expected[name]), name
    assert value(apart, "accuracy") == pytest.approx(1 / 4)
    assert of_findings(apart, "auc")[2] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_scikit_learn(seed: int) -> None:
    outcome = random_answers(300, seed=seed)
    labels, predicted = outcome.truth.argmax(axis=1), outcome.predicted.argmax(axis=1)
    chances = outcome.probabilities
    expected = {
        "accuracy": sklearn.accuracy_score(labels, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(labels, predicted),
        "kappa": sklearn.cohen_kappa_score(labels, predicted),
        "log_loss": sklearn.log_loss(labels, chances),
        "macro_auc": sklearn.roc_auc_score(labels, chances, multi_class="ovr"),
    }
    for average in ("macro", "micro", "weighted"):
        found = sklearn.precision_recall_fscore_support(labels, predicted, average=average)
        for name, figure in zip(("precision", "recall", "f1"), found, strict=False):
            expected[f"{average}_{name}"] = figure
    for name, figure in expected.items():
        assert value(outcome, name) == pytest.approx(figure), name
    ranked = [sklearn.average_precision_score(outcome.truth[:, k], chances[:, k]) for k in range(4)]
    assert of_findings(outcome, "average_precision") == pytest.approx(ranked)


def test_figures_of_several_labels_equal_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = random.random((200, 3)) < (0.5, 0.2, 0.1)
    chances = np.clip(0.3 + 0.3 * truth + random.normal(0, 0.2, (200, 3)), 0.01, 0.99)
    outcome = Outcome(truth, chances, chances > 0.45, multi_label=True)
    expected = {
        "accuracy": sklearn.accuracy_score(truth, outcome.predicted),
        "macro_auc": sklearn.roc_auc_score(truth, chances),
        "macro_f1": sklearn.f1_score(truth, outcome.predicted, average="macro"),
        "micro_f1": sklearn.f1_score(truth, outcome.predicted, average="micro"),
        "kappa": sklearn.cohen_kappa_score(truth.ravel(), outcome.predicted.ravel()),
    }
    for name, figure in expected.items():
        assert value(outcome, name) == pytest.approx(figure), name


def test_a_weight_counts_a_picture_as_often() -> None:
    """Figures by weights are those of the pictures repeated, in every figure."""
    outcome = random_answers(40)
    times = np.random.default_rng(1).integers(0, 4, size=40)
    repeated = outcome.of(np.repeat(np.arange(40), times))
    ones = np.ones((1, len(repeated.truth)))
    for measure in (metrics.overall, metrics.by_finding):
        weighted, expected = measure(outcome, times[None].astype(float)), measure(repeated, ones)
        for name in expected:
            assert weighted[name] == pytest.approx(expected[name], nan_ok=True), name


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


def test_sensitivity_at_a_stated_specificity() -> None:
    """Ten negatives: a specificity of 0.9 lets one through, 0.85 no second one."""
    score = np.array([0.95, 0.8, 0.6, 0.4, 0.9, 0.7, 0.5, *([0.1] * 7)])
    positive = np.arange(14) < 4
    ranking = metrics.Ranking(score, positive, np.ones((1, 14)))
    assert ranking.sensitivity_at(0.90) == pytest.approx([2 / 4])
    assert ranking.sensitivity_at(0.85) == pytest.approx([2 / 4])
    assert ranking.sensitivity_at(0.80) == pytest.approx([3 / 4])
    assert ranking.sensitivity_at(1.00) == pytest.approx([1 / 4])


def test_operating_points_count_what_reaches_them() -> None:
    truth, chances = TRUTH[:, :2], CHANCES[:, :2]
    outcome = Outcome(truth, chances, truth, multi_label=True, thresholds=(0.4, float("nan")))
    sensitivity = of_findings(outcome, "operating_sensitivity")
    specificity = of_findings(outcome, "operating_specificity")
    assert (sensitivity[0], specificity[0]) == pytest.approx((2 / 2, 1 / 2))
    assert np.isnan([sensitivity[1], specificity[1]]).all()


def test_one_class_present_is_not_a_number() -> None:
    assert np.isnan(metrics.auc(np.array([0.2, 0.3]), np.array([True, True])))
    outcome = single(np.array([0, 0]), np.eye(3)[[0, 0]])
    figures = metrics.summary(outcome, ("a", "b", "c"), np.arange(2), resamples=10)
    assert np.isnan(figures["findings"]["a"]["auc"])
    assert "every picture" in figures["findings"]["a"]["note"]
    assert np.isnan(figures["findings"]["b"]["recall"])
    assert "no picture" in figures["findings"]["b"]["note"]
    for name in ("macro_auc", "kappa"):
        assert np.isnan(figures[name]["value"])
        assert np.isnan(figures[name]["interval"]).all()
    assert metrics.roc_curve(np.array([0.2, 0.3]), np.array([True, True])) == []
    assert metrics.precision_recall_curve(np.array([0.2]), np.array([False])) == []


def test_no_pictures_at_all() -> None:
    assert np.isnan(metrics.accuracy(np.zeros((2, 2), np.int64)))
    figures = metrics.overall(hand_worked(), np.zeros((1, 10)))
    assert [name for name, figure in figures.items() if not np.isnan(figure[0])] == []


def test_calibration_error_of_two_bins() -> None:
    # confidence 0.6 twice, one right: gap 0.1; confidence 0.9 twice, both right: gap 0.1
    chances = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])
    outcome = single(np.array([0, 1, 0, 0]), chances)
    found = value(outcome, "expected_calibration_error")
    assert found == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    bins = metrics.reliability(outcome, np.arange(4), resamples=20)
    assert [(row["count"], row["mean_probability"]) for row in bins] == [
        (2, pytest.approx(0.6)),
        (2, pytest.approx(0.9)),
    ]
    assert [row["observed"]["value"] for row in bins] == pytest.approx([0.5, 1.0])


def test_calibration_of_several_labels_asks_every_probability() -> None:
    outcome = Outcome(
        np.array([[1, 0], [0, 0]], bool),
        np.array([[0.7, 0.7], [0.1, 0.1]]),
        np.zeros((2, 2), bool),
        multi_label=True,
    )
    # 0.7 twice, borne out once: gap 0.2; 0.1 twice, never: gap 0.1
    found = value(outcome, "expected_calibration_error")
    assert found == pytest.approx((0.2 + 0.1) / 2)


def test_the_curves_go_through_their_corners() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.7, 0.2])
    positive = np.array([True, False, True, False, False])
    roc = metrics.roc_curve(score, positive)
    third = pytest.approx(1 / 3, abs=1e-6)
    twice = pytest.approx(2 / 3, abs=1e-6)
    assert roc == [(0, 0), (0, 0.5), (third, 0.5), (twice, 1), (1, 1)]
    x, y = np.array(roc).T
    assert np.trapezoid(y, x) == pytest.approx(metrics.auc(score, positive))
    assert metrics.precision_recall_curve(score, positive) == [(0.5, 1.0), (1.0, 0.5)]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    outcome = random_answers(5000)
    points = metrics.roc_curve(outcome.probabilities[:, 0], outcome.truth[:, 0])
    assert len(points) < 2.2 * metrics.CURVE_POINTS
    assert (points[0], points[-1]) == ((0, 0), (1, 1))


def test_risk_falls_as_the_least_sure_are_left_out() -> None:
    # sure and right, less sure and wrong
    outcome = single(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]))
    third = pytest.approx(1 / 3, abs=1e-6)
    assert metrics.risk_coverage_curve(outcome)[-1] == (1.0, third)
    assert metrics.risk_coverage_curve(outcome)[0] == (third, 0.0)
    assert value(outcome, "risk_coverage_area") == pytest.approx((0 + 0 + 1 / 3) / 3)


def test_the_interval_holds_the_value_and_narrows() -> None:
    def interval(count: int) -> tuple[float, float]:
        right = (np.arange(count) % 5 > 0).astype(float)
        found = metrics.estimate(
            lambda weights: {"share": weights @ right / weights.sum(axis=1)},
            np.arange(count),
            resamples=300,
        )["share"].entry()
        assert found["value"] == pytest.approx(0.8)
        return found["interval"]

    few, many = interval(50), interval(500)
    assert few[0] < 0.8 < few[1]
    assert few[1] - few[0] > 2 * (many[1] - many[0])
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * (0.8 * 0.2 / 500) ** 0.5, rel=0.2)


def test_subjects_are_drawn_whole_and_alike_for_the_same_seed() -> None:
    groups = np.array(["x", "y", "x", "y", "x", "z"])
    drawn = np.concatenate(list(metrics.resampled(groups, 50, seed=3)))
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, 0] == drawn[:, 4]).all()
    assert (drawn[:, 1] == drawn[:, 3]).all()
    assert (drawn[:, [0, 1, 5]].sum(axis=1) == 3).all()
    assert len(np.unique(drawn[:, 0])) > 1
    assert np.array_equal(drawn, np.concatenate(list(metrics.resampled(groups, 50, seed=3))))


def test_resamples_come_in_blocks_that_do_not_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.arange(30)
    whole = np.concatenate(list(metrics.resampled(groups, 40, seed=0)))
    monkeypatch.setattr(metrics, "BLOCK", 90)
    blocks = list(metrics.resampled(groups, 40, seed=0))
    assert len(blocks) == 14
    assert np.array_equal(whole, np.concatenate(blocks))


def test_pictures_of_one_subject_widen_the_interval() -> None:
    """Four like pictures of a subject are worth one."""
    once = random_answers(60)
    copied = once.of(np.repeat(np.arange(60), 4))

    def width(groups: np.ndarray) -> float:
        low, high = metrics.summary(copied, tuple("abcd"), groups)["accuracy"]["interval"]
        return high - low

    assert width(np.repeat(np.arange(60), 4)) == pytest.approx(2 * width(np.arange(240)), rel=0.2)


def test_a_summary_of_two_thousand_pictures_takes_seconds() -> None:
    outcome = random_answers(2000, classes=8)
    started = time.process_time()
    figures = metrics.summary(outcome, tuple("abcdefgh"), np.arange(2000))
    assert time.process_time() - started < 8
    for entry in figures["findings"].values():
        low, high = entry["auc_interval"]
        assert low < entry["auc"] < high


def test_shares_of_the_confusion_matrix() -> None:
    figures = metrics.summary(hand_worked(), ("a", "b", "c"), np.arange(10), resamples=5)
    assert figures["confusion"] == COUNTS.tolist()
    assert figures["confusion_row_share"][1] == pytest.approx([1 / 4, 2 / 4, 1 / 4])
    assert [row[1] for row in figures["confusion_column_share"]] == pytest.approx([1 / 3, 2 / 3, 0])
    several = metrics.summary(SEVERAL, ("a", "b", "c"), np.arange(4), resamples=5)
    assert several["confusion"] == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert several["confusion_row_share"][0] == pytest.approx([1 / 2, 1 / 2, 0])
