"""What a plan makes of a comparison: one check after the other, each with its limit."""

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from webapp.promotion.plans import Plan

Result = Mapping[str, Any]
"""As `ml.prove` gives it: plain values, None where a figure is undefined."""


class Rule(enum.StrEnum):
    """What is checked."""

    CHANGE = "change"
    METRIC = "metric"
    SUBGROUP = "subgroup"
    CALIBRATION = "calibration"
    ABSTENTION = "abstention"
    LATENCY = "latency"
    SIZE = "size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that the plan asks for, and what there is."""

    rule: Rule
    passed: bool
    limit: float | None = None
    value: float | None = None
    """What is held against the limit; None where it is undefined, which does not pass."""
    gates: bool = True
    """False: it is shown, and does not count."""
    resolves: bool = True
    """False: the interval is wider than twice the margin, so that not even an equal model could be
    expected to show that it is one."""
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {**asdict(self), "rule": self.rule.value, "about": dict(self.about)}


def judge(plan: Plan, result: Result) -> list[Check]:
    """Everything that the plan asks for, in its order."""
    return [
        *_changes(plan, result),
        _metric(plan, result),
        *_subgroups(plan, result),
        _growth(
            Rule.CALIBRATION,
            result["figures"]["expected_calibration_error"]["difference"],
            plan.calibration_margin,
        ),
        _growth(Rule.ABSTENTION, result["abstention"]["difference"], plan.abstention_margin),
        _at_most(Rule.LATENCY, result["latency"]["ratio"], plan.latency_ratio_max),
        _at_most(Rule.SIZE, result["size"]["candidate"]["bundle_bytes"] / 1e6, plan.size_mb_max),
    ]


def passes(checks: list[Check]) -> bool:
    """Whether all that counts was passed."""
    return all(check.passed for check in checks if check.gates)


def _changes(plan: Plan, result: Result) -> Iterator[Check]:
    for part in result["changed"]:
        yield Check(rule=Rule.CHANGE, passed=part in plan.may_change, about={"part": part})


def _metric(plan: Plan, result: Result) -> Check:
    difference = result["figures"][plan.metric]["difference"]
    return _not_below(Rule.METRIC, difference, plan.margin, {"metric": plan.metric})


def _subgroups(plan: Plan, result: Result) -> Iterator[Check]:
    for group in result["subgroups"]:
        for finding in group["findings"]:
            gates = (
                group["kind"] in plan.subgroups
                and group["subject_count"] >= plan.subgroup_subjects_min
                and finding["subject_count"] >= plan.subgroup_finding_min
            )
            about = {
                "kind": group["kind"],
                "name": group["name"],
                "finding": finding["code"],
                "subject_count": group["subject_count"],
                "finding_subject_count": finding["subject_count"],
            }
            margin = plan.subgroup_margin
            yield _not_below(Rule.SUBGROUP, finding["difference"], margin, about, gates)


def _not_below(
    rule: Rule,
    difference: Mapping[str, Any],
    margin: float,
    about: Mapping[str, Any],
    gates: bool = True,
) -> Check:
    low, high = difference["interval"]
    return Check(
        rule=rule,
        passed=low is not None and low > -margin,
        limit=-margin,
        value=low,
        gates=gates,
        resolves=_resolves(low, high, margin),
        about=about,
    )


def _growth(rule: Rule, difference: Mapping[str, Any], margin: float) -> Check:
    low, high = difference["interval"]
    return Check(
        rule=rule,
        passed=high is not None and high < margin,
        limit=margin,
        value=high,
        resolves=_resolves(low, high, margin),
    )


def _at_most(rule: Rule, value: float | None, limit: float) -> Check:
    return Check(rule=rule, passed=value is not None and value <= limit, limit=limit, value=value)


def _resolves(low: float | None, high: float | None, margin: float) -> bool:
    if low is None or high is None or math.isnan(high - low):
        return False
    return (high - low) / 2 < margin
