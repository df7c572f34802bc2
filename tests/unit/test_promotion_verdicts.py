"""What a plan makes of a comparison, worked by hand."""

from typing import Any

import pytest

from webapp.promotion.plans import Plan, expected_half_width, subjects_needed
from webapp.promotion.verdicts import Check, Rule, judge, passes


def difference(low: float | None, high: float | None) -> dict[str, Any]:
    value = None if low is None or high is None else (low + high) / 2
    return {"value": value, "interval": [low, high]}


def result(**changes: Any) -> dict[str, Any]:
    """A candidate that says the same as the champion."""
    same = {"difference": difference(-0.01, 0.01)}
    return {
        "changed": ["operating_points"],
        "figures": {"balanced_accuracy": same, "expected_calibration_error": same},
        "subgroups": [],
        "abstention": same,
        "latency": {"ratio": 1.1},
        "size": {"candidate": {"bundle_bytes": 20_000_000}},
    } | changes


def figures(**differences: Any) -> dict[str, Any]:
    return {
        "figures": result()["figures"]
        | {name: {"difference": said} for name, said in differences.items()}
    }


def subgroup(subjects: int, of_finding: int, low: float) -> dict[str, Any]:
    finding = {
        "code": "grave",
        "subject_count": of_finding,
        "difference": difference(low, low + 0.08),
    }
    return {
        "subgroups": [
            {"kind": "sex", "name": "female", "subject_count": subjects, "findings": [finding]}
        ]
    }


def failed(plan: Plan, said: dict[str, Any]) -> list[Rule]:
    return [check.rule for check in judge(plan, said) if check.gates and not check.passed]


def test_a_candidate_that_is_the_same_passes() -> None:
    checks = judge(Plan(), result())
    assert passes(checks)
    assert all(check.resolves for check in checks)
    assert [check.rule for check in checks] == [
        Rule.CHANGE,
        Rule.METRIC,
        Rule.CALIBRATION,
        Rule.ABSTENTION,
        Rule.LATENCY,
        Rule.SIZE,
    ]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (figures(balanced_accuracy=difference(-0.03, 0.01)), Rule.METRIC),
        (figures(balanced_accuracy=difference(None, None)), Rule.METRIC),
        (figures(expected_calibration_error=difference(0.0, 0.03)), Rule.CALIBRATION),
        ({"abstention": {"difference": difference(0.01, 0.05)}}, Rule.ABSTENTION),
        ({"latency": {"ratio": 2.01}}, Rule.LATENCY),
        ({"latency": {"ratio": None}}, Rule.LATENCY),
        ({"size": {"candidate": {"bundle_bytes": 500_000_001}}}, Rule.SIZE),
        ({"changed": ["intended_use"]}, Rule.CHANGE),
        (subgroup(100, 30, -0.05), Rule.SUBGROUP),
    ],
    ids=str,
)
def test_each_rule_alone_keeps_a_candidate_from_passing(changes: Any, rule: Rule) -> None:
    assert failed(Plan(), result(**changes)) == [rule]


@pytest.mark.parametrize(
    "changes",
    [
        figures(balanced_accuracy=difference(-0.0299, 0.01)),
        {"latency": {"ratio": 2.0}},
        {"size": {"candidate": {"bundle_bytes": 500_000_000}}},
        subgroup(100, 30, -0.0499),
        subgroup(99, 30, -0.5),  # too few: it is shown, and does not count
        subgroup(100, 29, -0.5),
    ],
    ids=str,
)
def test_at_its_limit_a_candidate_passes(changes: Any) -> None:
    assert failed(Plan(), result(**changes)) == []


def test_a_group_that_is_too_small_is_shown() -> None:
    (shown,) = [
        check for check in judge(Plan(), result(**subgroup(99, 99, -0.5))) if not check.gates
    ]
    assert not shown.passed
    assert shown.about["name"] == "female"
    plan = Plan(subgroups=("age",))
    assert passes(judge(plan, result(**subgroup(500, 500, -0.5))))


def test_what_a_plan_says_is_what_counts() -> None:
    assert failed(Plan(margin=0.005), result()) == [Rule.METRIC]
    assert failed(Plan(may_change=()), result()) == [Rule.CHANGE]
    other = figures(accuracy=difference(-0.2, 0.2))
    assert failed(Plan(metric="accuracy"), result(**other)) == [Rule.METRIC]


@pytest.mark.parametrize(
    ("said", "resolves"),
    [
        (difference(-0.02, 0.03), True),
        (difference(-0.03, 0.03), False),  # half of 0.06 is the margin itself
        (difference(0.1, 0.2), False),  # and yet it is shown to be better
        (difference(None, None), False),
    ],
)
def test_a_test_set_that_cannot_resolve_the_margin_says_so(said: Any, resolves: bool) -> None:
    def metric_of(checks: list[Check]) -> Check:
        return next(check for check in checks if check.rule is Rule.METRIC)

    assert metric_of(judge(Plan(), result(**figures(balanced_accuracy=said)))).resolves is resolves


def test_the_expected_half_width_by_hand() -> None:
    # 1.96 * sqrt(0.1 / 1000) = 1.96 * 0.01
    assert expected_half_width(1000) == pytest.approx(0.0196)
    assert expected_half_width(250) == pytest.approx(0.0392)
    # 0.1 * (1.96 / 0.0196) ** 2 = 1000
    assert subjects_needed(0.03) == 427
    assert expected_half_width(427) < 0.03 < expected_half_width(426)


def test_a_plan_is_the_same_after_json() -> None:
    plan = Plan(margin=0.01, may_change=("network",))
    assert Plan.from_document(plan.document) == plan
    assert Plan.from_document({"margin": 0.02, "may_change": [], "subgroups": []}).margin == 0.02
