"""POST /changes/<reading_task_id>/plan."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts.queries import user_named
from webapp.db import db, now
from webapp.permissions import Role
from webapp.promotion.queries import plan_in_force
from webapp.registry.models import ModelVersion

PATH = "/changes/1/plan"
FORM = {
    "shown": "0",
    "metric": "macro_auc",
    "margin": "2,5",
    "subgroups": ["sex"],
    "subgroup_margin": "5",
    "subgroup_subjects_min": "100",
    "subgroup_finding_min": "30",
    "calibration_margin": "3",
    "abstention_margin": "5",
    "latency_ratio_max": "2",
    "size_mb_max": "500",
    "may_change": ["decision"],
    "approvals_needed": "1",
    "approved_by": "anybody",
    "reason": "The test set has grown.",
}


def test_a_new_version_is_kept_with_its_reason(
    app: Flask,
    office: Browser,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    answer = office.post(PATH, FORM)
    assert (answer.status_code, answer.location) == (303, PATH)
    page = office.get(PATH).text
    assert "The test set has grown." in page
    assert 'value="2.5"' in page
    with app.app_context():
        plan = plan_in_force(1).plan
    assert (plan.metric, plan.margin, plan.subgroups) == ("macro_auc", 0.025, ("sex",))
    assert plan.may_change == ("decision",)
    (event,) = record("plan.changed")
    assert event["detail"]["new"]["margin"] == 0.025


def test_two_who_approve_are_named(
    app: Flask, office: Browser, people: People, candidate: ModelVersion
) -> None:
    with app.app_context():
        first, second = (people.user(Role.APPROVER).username for _ in range(2))
    named = FORM | {"approvals_needed": "2", "approved_by": "named"}
    for too_few in ([], [first], [first, first]):
        answer = office.post(PATH, named | {"approvers": too_few})
        assert answer.status_code in (409, 422)
        assert "Fewer people are named" in answer.text
    assert office.post(PATH, named | {"approvers": [first, second]}).status_code == 303
    with app.app_context():
        plan = plan_in_force(1).plan
        assert (plan.approvals_needed, plan.approvers) == (2, (first, second))
        user_named(second).disabled_at = now()
        db.session.commit()
    page = office.get(PATH).text
    assert f"not able to approve models any more: {second}." in page
    assert f'value="{second}"' not in page
    # Anybody again: who is ticked does not count.
    anybody = {"shown": "2", "approved_by": "anybody", "approvers": [first]}
    assert office.post(PATH, named | anybody).status_code == 303
    with app.app_context():
        assert plan_in_force(1).plan.approvers == ()


def test_a_stale_form_is_refused(office: Browser, candidate: ModelVersion) -> None:
    office.post(PATH, FORM)
    answer = office.post(PATH, FORM | {"margin": "1"})
    assert answer.status_code == 409
    assert "has changed since" in answer.text
    assert 'name="shown" type="hidden" value="2"' in answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": " "},
        {"margin": "0"},
        {"margin": "51"},
        {"margin": "nan"},
        {"margin": "much"},
        {"metric": "luck"},
        {"subgroups": ["shoes"]},
        {"subgroup_subjects_min": "0"},
        {"subgroup_finding_min": "1.5"},
        {"may_change": ["findings"]},
        {"latency_ratio_max": ""},
        {"approvals_needed": "3"},
        {"approvals_needed": "none", "approved_by": "named"},
        {"approved_by": "me"},
        {"approved_by": "named"},
        {"approved_by": "named", "approvers": ["nobody"]},
        {"shown": "x"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    app: Flask, office: Browser, candidate: ModelVersion, wrong: dict[str, Any]
) -> None:
    assert office.post(PATH, FORM | wrong).status_code == 422
    with app.app_context():
        assert plan_in_force(1).version == 0


def test_an_approver_may_not(approval: Browser, candidate: ModelVersion) -> None:
    assert approval.post(PATH, FORM).status_code == 403


def test_who_may_not_is_turned_away(turned_away: Callable[[str], None]) -> None:
    turned_away(PATH)
