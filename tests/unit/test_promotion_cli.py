"""Changes of models from the command line: `flask model`."""

from collections.abc import Callable, Iterator

import pytest
from click.testing import Result
from flask import Flask

from tests import promotions
from tests.conftest import PASSWORD, People
from webapp import queue
from webapp.db import db, now
from webapp.permissions import Role
from webapp.promotion import cli, services
from webapp.promotion.models import Comparison
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion

Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `flask model` with these arguments; nobody hears the doorbell."""
    monkeypatch.setattr(queue, "ring", lambda *_: True)

    def invoke(*arguments: str, typed: str = f"{PASSWORD}\n" * 2) -> Result:
        result = app.test_cli_runner().invoke(args=("model", *arguments), input=typed)
        db.session.remove()
        return result

    with app.app_context():
        yield invoke


@pytest.fixture
def candidate(run: Run) -> ModelVersion:
    return promotions.candidate()


def let_come_of_it(monkeypatch: pytest.MonkeyPatch, outcome: services.Proof) -> None:
    """What the worker would do while the command waits."""

    def work(comparison: Comparison) -> None:
        claim = services.claim(worker="test", lease_seconds=60)
        assert claim is not None
        assert services.complete(claim=claim, outcome=outcome)
        db.session.refresh(comparison)

    monkeypatch.setattr(cli, "_wait", work)


def test_a_candidate_is_compared_promoted_by_two_and_taken_back(
    run: Run, candidate: ModelVersion, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = candidate.reading_task_id
    let_come_of_it(monkeypatch, promotions.proof())
    result = run("compare", "test-task", "2.0.0")
    assert result.exit_code == 0, result.output
    assert "comparison 1: passed" in result.output
    people.user(Role.ADMINISTRATOR, username="ann")
    people.user(Role.APPROVER, username="bob")
    both = ("promote", "1", "--reason", "It is better.", "--requested-by", "ann", "--approved-by")
    assert "refused: this takes approve_models" in run(*both, "ann").output
    services.decline(actor=cli._user("ann"), request=cli.queries.open_request(task_id))
    for typed in ("a guess\n", ""):
        assert run(*both, "bob", typed=typed).exit_code == 1
    assert "this is not the password of 'bob'" in run(*both, "bob", typed="a guess\n").output
    assert not cli.queries.open_request(task_id)
    result = run(*both, "bob")
    assert result.exit_code == 0, result.output
    assert PASSWORD not in result.output
    assert champion(task_id).version == "2.0.0"
    assert "test-task\t2.0.0\tserves" in run("list").output
    assert "test-task 1.0.0 serves again" in run("rollback", "test-task").output
    assert "No version served before" in run("rollback", "test-task").output


def test_where_the_plan_asks_for_two_both_are_named(
    run: Run, candidate: ModelVersion, people: People
) -> None:
    ann, task_id = people.user(Role.ADMINISTRATOR, username="ann"), candidate.reading_task_id
    for name in ("bob", "eve"):
        people.user(Role.APPROVER, username=name)
    people.user(Role.APPROVER, username="gone", disabled_at=now())
    promotions.plan(ann, candidate, approvals_needed=2)
    promotions.compared(candidate)
    both = ("promote", "1", "--reason", "It is better.", "--requested-by", "ann", "--approved-by")
    assert "there is no user 'gone'" in run(*both, "gone").output
    assert not cli.queries.open_request(task_id)
    result = run(*both, "bob")
    assert result.exit_code == 1
    assert "one more person has to approve" in result.output
    services.decline(actor=cli._user("ann"), request=cli.queries.open_request(task_id))
    result = run(*both, "bob", "--approved-by", "eve")
    assert result.exit_code == 0, result.output
    assert champion(task_id).version == "2.0.0"


def test_one_that_does_not_pass_fails_the_command(
    run: Run, candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_come_of_it(monkeypatch, promotions.proof(low=-0.2))
    result = run("compare", "test-task", "2.0.0")
    assert result.exit_code == 1
    assert "not passed" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("compare", "test-task", "1.0.0"), "This version serves now."),
        (("compare", "test-task", "9"), "there is no version '9'"),
        (("rollback", "elsewhere"), "there is no reading task 'elsewhere'"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run, candidate: ModelVersion, arguments: tuple[str, ...], sentence: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert sentence in result.output
