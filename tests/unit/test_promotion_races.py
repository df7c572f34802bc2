"""Approvals, rollbacks and cases at once, on PostgreSQL: SQLite has one writer."""

import threading
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import func, select

from tests import clinic, promotions
from tests.conftest import People
from webapp import audit, queue
from webapp.accounts.models import User
from webapp.assessments.models import Assessment, Purpose
from webapp.cases.models import Case
from webapp.db import db
from webapp.errors import Conflict
from webapp.permissions import Role
from webapp.promotion import queries, services
from webapp.registry import queries as registry
from webapp.registry.models import Promotion, PromotionKind

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

AT_ONCE = 4
CASES = 5


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: True)


def at_once(core: Flask, *acts: Callable[[], object]) -> list[str]:
    """Do things at the same time; the reasons of those that were refused."""
    refused: list[str] = []
    errors: list[BaseException] = []
    start = threading.Barrier(len(acts))

    def do(act: Callable[[], object]) -> None:
        try:
            with core.app_context():
                start.wait(30)
                act()
        except Conflict as conflict:
            refused.append(conflict.reason)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    db.session.expire_all()
    return sorted(refused)


def test_two_of_many_who_press_at_once_have_approved_where_it_takes_two(
    core: Flask, people: People
) -> None:
    candidate, administrator = promotions.candidate(), people.administrator()
    approvers = [people.user(Role.APPROVER) for _ in range(AT_ONCE)]
    promotions.plan(administrator, candidate, approvals_needed=2)
    request_id = promotions.asked(administrator, candidate).id

    def approve(user_id: int) -> Callable[[], object]:
        return lambda: services.approve(
            actor=db.session.get_one(User, user_id), request=queries.get_request(request_id)
        )

    refused = at_once(core, *(approve(user.id) for user in approvers))
    assert refused == ["decided"] * (AT_ONCE - 2)
    line, _first = registry.ledger(candidate.reading_task_id)
    assert len(set(line.approvers)) == 2
    assert audit.verify() == []


def test_one_promotion_and_one_rollback_come_of_many_presses(core: Flask, people: People) -> None:
    candidate = promotions.candidate()
    clinician = people.clinician()
    administrator = people.administrator()
    approvers = [people.user(Role.APPROVER) for _ in range(AT_ONCE)]
    for _ in range(CASES):
        clinic.read(clinic.send(clinician), "calm")
    services.start_shadow(actor=administrator, version=candidate)
    request_id = promotions.asked(administrator, candidate).id
    candidate_id, task = candidate.id, candidate.reading_task

    def send() -> None:
        for _ in range(CASES):
            clinic.send(clinician)

    def approve(user_id: int) -> Callable[[], object]:
        return lambda: services.approve(
            actor=db.session.get_one(User, user_id), request=queries.get_request(request_id)
        )

    def roll_back(user_id: int) -> Callable[[], object]:
        return lambda: services.roll_back(
            actor=db.session.get_one(User, user_id), reading_task=task, shown_id=candidate_id
        )

    refused = at_once(core, send, *(approve(user.id) for user in approvers))
    assert refused == ["decided"] * (AT_ONCE - 1)
    refused = at_once(core, send, *(roll_back(user.id) for user in approvers))
    assert refused == ["changed"] * (AT_ONCE - 1)
    kinds = [line.kind for line in registry.ledger(task.id)]
    assert kinds == [PromotionKind.ROLLBACK, PromotionKind.PROMOTION, PromotionKind.FIRST]
    assert db.session.scalar(select(func.count(Promotion.id))) == 3
    serving = registry.champion(task.id)
    assert serving is not None
    assert serving.version == "1.0.0"
    by_case = select(Assessment.case_id).where(Assessment.purpose == Purpose.TRIAGE)
    assert len(set(db.session.scalars(by_case))) == db.session.scalar(select(func.count(Case.id)))
    assert audit.verify() == []
