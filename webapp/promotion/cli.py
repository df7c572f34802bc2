"""Changes of models from the command line: `flask model list|compare|promote|rollback`."""

import time
from collections.abc import Sequence

import click
from flask.cli import AppGroup

from webapp.accounts.models import User
from webapp.accounts.passwords import verify_password
from webapp.accounts.queries import user_named
from webapp.assessments.models import State
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import reading_task_by_code
from webapp.db import db
from webapp.errors import Conflict, Forbidden
from webapp.promotion import queries, services
from webapp.promotion.models import Comparison, Verdict
from webapp.promotion.wording import check_label, check_value, refusal
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion, installed_by_task, shadow, versions_of

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 15

model = AppGroup("model", help="Compare, promote and take back models.")


@model.command("list")
def list_models() -> None:
    """List installed versions, one a line, with the part that each plays."""
    for task, versions in installed_by_task():
        unseen = shadow(task.id)
        for one in versions:
            part = "serves" if one.champion_since else ""
            if unseen is not None and unseen.id == one.version.id:
                part = "unseen"
            click.echo("\t".join((task.code, one.version.version, part, one.version.bundle_sha256)))


@model.command("compare")
@click.argument("task")
@click.argument("version")
def compare(task: str, version: str) -> None:
    """Compare a version with the one that serves, and wait for the verdict; fails if it does not
    pass.

    The worker for administration does it. If this is stopped meanwhile, the work still waits.
    """
    try:
        comparison = services.request_comparison(actor=None, candidate=_version(task, version))
    except Conflict as conflict:
        raise click.ClickException(refusal(conflict)) from conflict
    _wait(comparison)
    _report(comparison)


@model.command("promote")
@click.argument("comparison", type=int)
@click.option("--requested-by", required=True, help="Who asks: a user who manages models.")
@click.option(
    "--approved-by",
    required=True,
    multiple=True,
    help="Who approves: another one, who may; given twice where the plan asks for two.",
)
@click.option("--reason", required=True)
def promote(comparison: int, requested_by: str, approved_by: Sequence[str], reason: str) -> None:
    """Let the candidate of a comparison serve which has passed. It takes two people here too, or
    three: whoever approves types their password."""
    line, requester = None, _user(requested_by)
    approvers = [_present(_user(username)) for username in approved_by]
    try:
        request = services.request_promotion(
            actor=requester,
            comparison=queries.get_comparison(comparison),
            reason=reason,
        )
        for approver in approvers:
            line = line or services.approve(actor=approver, request=request)
    except Conflict as conflict:
        raise click.ClickException(refusal(conflict)) from conflict
    except Forbidden as error:
        raise click.ClickException(f"refused: this takes {error.reason}") from error
    if line is None:
        raise click.ClickException("it waits: by the plan one more person has to approve it")
    click.echo(f"{line.reading_task.code} {line.model_version.version} serves")


@model.command("rollback")
@click.argument("task")
@click.option("--reason", default="")
def rollback(task: str, reason: str) -> None:
    """Have the version serve again that served before, at once."""
    reading_task = _task(task)
    serving = champion(reading_task.id)
    try:
        line = services.roll_back(
            actor=None,
            reading_task=reading_task,
            shown_id=serving.id if serving else 0,
            reason=reason,
        )
    except Conflict as conflict:
        raise click.ClickException(refusal(conflict)) from conflict
    click.echo(f"{task} {line.model_version.version} serves again")


def _wait(comparison: Comparison) -> None:
    told_at = time.monotonic() + PATIENCE_SECONDS
    while comparison.state.is_open:
        if comparison.started_at is None and time.monotonic() > told_at:
            click.echo("No worker has taken it yet: does `honcho start steward` run?", err=True)
            told_at = float("inf")
        time.sleep(LOOK_SECONDS)
        db.session.refresh(comparison)
        db.session.rollback()  # nothing is held open while it waits


def _report(comparison: Comparison) -> None:
    if comparison.state is State.FAILED:
        raise click.ClickException(f"{comparison.last_error}")
    if comparison.refusal:
        facts = ", ".join(f"{name}: {value}" for name, value in comparison.refusal.items())
        raise click.ClickException(f"it could not be compared ({facts})")
    findings = {one.code: one.name for one in comparison.candidate.reading_task.findings}
    for check in comparison.checks or []:
        if check["gates"]:
            said = check_label(check, findings), check_value(check, "value")
            verdict = "passed" if check["passed"] else "not passed"
            click.echo("\t".join((*said, check_value(check, "limit"), verdict)))
    click.echo(f"comparison {comparison.id}: {comparison.verdict}")
    if comparison.verdict is not Verdict.PASSED:
        raise click.ClickException("it has not passed")


def _task(code: str) -> ReadingTask:
    task = reading_task_by_code(code)
    if task is None:
        raise click.ClickException(f"there is no reading task {code!r}")
    return task


def _version(code: str, version: str) -> ModelVersion:
    for installed in versions_of(_task(code).id):
        if installed.version == version:
            return installed
    raise click.ClickException(f"there is no version {version!r} of {code!r}")


def _present(user: User) -> User:
    """Somebody who is at the keyboard: else who asks could name anybody."""
    password = click.prompt(f"Password of {user.username}, who approves", hide_input=True, err=True)
    if not verify_password(password, user.password_hash):
        raise click.ClickException(f"this is not the password of {user.username!r}")
    return user


def _user(username: str) -> User:
    user = user_named(username)
    if user is None or not user.is_active:
        raise click.ClickException(f"there is no user {username!r}")
    return user
