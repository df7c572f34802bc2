"""A short storm; `make chaos` is the long one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import GOALS
from tests.chaos.storm import PICTURE_SIDE_PX, Goals, Report, Storm, Target
from tests.stack import Stack
from tests.unit.ml.factories import make_bundle


def test_nothing_is_lost_done_twice_or_stuck(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", size=PICTURE_SIDE_PX)
    goals = Goals(case_count=16, kill_count=len(Target), mid_inference_count=len(Target))
    with Stack(bundle=bundle, environment={"LEASE_SECONDS": "2"}) as stack:
        report = Storm(stack, goals=goals, targets=list(Target)).run()
    assert report.is_clean, report.table()
    assert report.second_attempt_count > 0, report.table()


STRONG = Report(
    GOALS,
    sent_count=500,
    kills=Counter({Target.CHILD: 15, Target.WEB: 5}),
    mid_inference_count=10,
    outage_seconds=60.2,
)


def test_a_storm_that_reached_its_goals_is_clean() -> None:
    assert STRONG.is_clean, STRONG.table()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sent_count": 499}, "only 499 cases sent, not 500"),
        ({"kills": Counter({Target.CHILD: 19})}, "only 19 kills, not 20"),
        ({"mid_inference_count": 9}, "only 9 kills in mid-inference, not 10"),
        ({"outage_seconds": 0.0}, "only 0 seconds of broker outage, not 60"),
        ({"lost": ["storm-1 has no answer"]}, "storm-1 has no answer"),
        ({"twice": ["storm-1 has 2 cases"]}, "storm-1 has 2 cases"),
        ({"stuck": ["storm-1 is scheduled"]}, "storm-1 is scheduled"),
        ({"other": ["a sender ended"]}, "a sender ended"),
    ],
    ids=["sent", "kills", "mid-inference", "outage", "lost", "twice", "stuck", "other"],
)
def test_a_storm_that_fell_short_or_did_harm_is_not_clean(
    change: dict[str, Any], problem: str
) -> None:
    report = replace(STRONG, **change)
    assert not report.is_clean
    assert problem in report.table().splitlines()
