"""Ask for a run, claim it, follow it, end it: as all work that is a row, with the same leases.

An attempt that got further than the one before it, by a whole epoch at least, does not count: a
trainer may be stopped and started as often as one likes.
"""

import copy
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure, State
from webapp.assessments.queries import is_due
from webapp.datasets.models import Snapshot
from webapp.datasets.queries import coverage_of, lessons
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid
from webapp.jobs import TRAIN
from webapp.queue import ring_after_commit
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion
from webapp.training.checking import check
from webapp.training.models import Device, RecipeEntry, TrainingRun, Trouble
from webapp.training.queries import starts

KIND = leases.Kind(
    rows=TrainingRun,
    job=TRAIN,
    word="training",
    detail=lambda run: {"reading_task": run.reading_task.code, "recipe": run.recipe_name},
)

BUNDLE = "bundle:"
PUBLISHED = "published"
"""How a recipe is told that its data say the sides themselves."""
OWN_STARTS = ("imagenet", "random")


@dataclass(frozen=True)
class Claim:
    """One run that a trainer holds, with everything that it needs to train."""

    run_id: int
    lease_token: str
    snapshot_id: int
    recipe: Mapping[str, Any]
    device: Device
    lessons: str
    """Names what may be learnt from the snapshot, as `datasets.queries.lessons`."""


@dataclass(frozen=True)
class Seen:
    """How far a run is, as its folder says."""

    progress: Mapping[str, Any]
    curves: Sequence[Mapping[str, float | None]]
    log_tail: str


class Order(enum.Enum):
    """What a trainer is told of the run that it holds."""

    GO_ON = "go on"
    CANCEL = "cancel"
    LET_GO = "let go"
    """It is not held any more."""
    BEGIN_ANEW = "begin anew"
    """What it learns from is not what may be learnt from any more."""


@dataclass(frozen=True)
class Recipe:
    """A recipe as the trainer knows it."""

    name: str
    about: str
    table: Mapping[str, Any]
    schema: Sequence[Mapping[str, Any]]
    """What may be in one of its reading task."""


def write_recipes(*, recipes: Sequence[Recipe]) -> None:
    """Keep what the trainer knows, in the place of what it knew before."""
    with transaction():
        db.session.execute(delete(RecipeEntry))
        db.session.add_all(
            RecipeEntry(
                name=recipe.name,
                reading_task=recipe.table["reading_task"],
                about=recipe.about,
                table=dict(recipe.table),
                schema=[dict(table) for table in recipe.schema],
            )
            for recipe in recipes
        )


def request_run(
    *,
    actor: User | None,
    snapshot: Snapshot,
    recipe: RecipeEntry,
    init: str = "",
    overrides: Mapping[str, Any] | None = None,
    device: Device = Device.AUTO,
) -> TrainingRun:
    """Have a recipe trained on a snapshot.

    `init` is `imagenet`, `random`, or `bundle:` and the hash of an installed version of the same
    network; empty is the version that serves, or the recipe's own where its network is another.
    `overrides` are values by `table.key`.

    Raises:
        Invalid: the fields that cannot be used, with the reasons: `snapshot` is `other_task`, or
            `no_test` where no picture of the locked test is registered, on which what comes of the
            run could be tested; `init` is `unknown`, an override as `check` says.
    """
    overrides = dict(overrides or {})
    problems = {name: reason for name, reason in check(recipe.schema, overrides).items() if reason}
    if snapshot.reading_task.code != recipe.reading_task:
        problems["snapshot"] = "other_task"
    elif not coverage_of(snapshot.reading_task).registered_count:
        problems["snapshot"] = "no_test"
    fitting = starts(recipe, snapshot.reading_task_id)
    init = init or default_start(recipe, fitting)
    if init not in {*OWN_STARTS, *(start_of(version) for version in fitting)}:
        problems["init"] = "unknown"
    if problems:
        raise Invalid("training_run", **problems)
    with transaction():
        run = TrainingRun(
            reading_task_id=snapshot.reading_task_id,
            snapshot=snapshot,
            recipe_name=recipe.name,
            recipe=_whole(recipe, init, overrides),
            overrides=overrides,
            init=init,
            device=device,
            requested_by=actor,
            requested_at=now(),
            curves=[],
            log_tail="",
        )
        KIND.put_in_queue(run)
        run.recipe = run.recipe | {"version": f"{run.requested_at:%Y.%m.%d}-{run.id}"}
        KIND.record("requested", run, actor=actor, snapshot=snapshot.id, overrides=overrides)
    return run


def default_start(recipe: RecipeEntry, fitting: Sequence[ModelVersion]) -> str:
    """What a run starts from unless told otherwise: the version that serves where it is among those
    that are `fitting`, as `starts` gives them, or else what the recipe says."""
    serving = champion(fitting[0].reading_task_id) if fitting else None
    if serving is not None and serving in fitting:
        return start_of(serving)
    return str(recipe.table["network"]["init"])


def start_of(version: ModelVersion) -> str:
    """How a recipe names the weights of a version."""
    return f"{BUNDLE}{version.bundle_sha256}"


def _whole(recipe: RecipeEntry, init: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's table with what was asked for in its place."""
    table: dict[str, Any] = copy.deepcopy(recipe.table)
    for name, value in overrides.items():
        part, _, key = name.rpartition(".")
        (table[part] if part else table)[key] = value
    table["data"]["split"] = PUBLISHED
    table["network"]["init"] = init
    return table


def cancel(*, actor: User | None, run: TrainingRun) -> None:
    """End a run: at once where it waits, else as soon as its trainer has heard of it.

    Raises:
        Conflict: `ended`: there is nothing to cancel.
    """
    with transaction():
        run = _locked(run)
        if not run.state.is_open:
            raise Conflict("ended")
        if run.cancel_requested_at is not None:
            return
        run.cancel_requested_at = now()
        if run.state is State.SCHEDULED:
            run.state = State.CANCELLED
        KIND.record("cancelled", run, actor=actor)


def retry(*, actor: User | None, run: TrainingRun) -> None:
    """Have a run that failed taken up again, from its last whole epoch where its folder is and
    everything may still be learnt from that it learnt from.

    Raises:
        Conflict: `not_failed`.
    """
    with transaction():
        run = _locked(run)
        if run.state is not State.FAILED:
            raise Conflict("not_failed")
        run.trouble = None
        run.cancel_requested_at = None
        KIND.put_in_queue(run)
        KIND.record("retried", run, actor=actor)


def claim(*, worker: str, has_gpu: bool, lease_seconds: int) -> Claim | None:
    """Take what has waited longest, of what can be computed here; None if nothing waits."""
    devices = list(Device) if has_gpu else [Device.AUTO, Device.CPU]
    with transaction():
        run = db.session.scalars(
            select(TrainingRun)
            .where(is_due(TrainingRun), TrainingRun.device.in_(devices))
            .order_by(TrainingRun.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if run is None:
            return None
        token = leases.take(TrainingRun, [run.id], worker=worker, lease_seconds=lease_seconds)
        may_learn = lessons(run.snapshot)
        return Claim(run.id, token, run.snapshot_id, run.recipe, run.device, may_learn)


def note(*, claim: Claim, seen: Seen) -> Order:
    """Write how far a run is, and say what to do with it. A new whole epoch makes up for the
    attempts before it."""
    with transaction():
        run = KIND.held(claim.run_id, claim.lease_token)
        if run is None:
            return Order.LET_GO
        if len(seen.curves) > len(run.curves):
            run.attempt_count = 1
        run.progress = dict(seen.progress)
        run.curves = [dict(row) for row in seen.curves]
        run.log_tail = seen.log_tail
        if run.cancel_requested_at:
            return Order.CANCEL
        return Order.GO_ON if lessons(run.snapshot) == claim.lessons else Order.BEGIN_ANEW


def put_back(*, claim: Claim) -> bool:
    """Let a run wait for the next trainer: this one is told to end. The attempt does not count. A
    run whose end was asked for is over."""
    with transaction():
        run = KIND.held(claim.run_id, claim.lease_token)
        if run is None:
            return False
        leases.let_go(run)
        if run.cancel_requested_at is not None:
            run.state = State.CANCELLED
            return True
        run.state = State.SCHEDULED
        run.attempt_count -= 1
        ring_after_commit(TRAIN)
    return True


def fail(*, claim: Claim, trouble: Trouble, error: str) -> bool:
    """End an attempt that did not succeed: the run waits for another one, or has failed."""
    attempt = FailedAttempt(error, Failure.UNEXPECTED, is_final=trouble.is_final)
    with transaction():
        run = KIND.held(claim.run_id, claim.lease_token)
        if run is None:
            return False
        if run.cancel_requested_at is not None:
            return put_back(claim=claim)
        run.trouble = trouble
        return KIND.fail_attempt(claim.run_id, claim.lease_token, attempt)


def complete(*, claim: Claim, version: ModelVersion, engine: str, code_version: str) -> bool:
    """A run has a candidate. False, and nothing written, if it was lost."""
    with transaction():
        run = KIND.held(claim.run_id, claim.lease_token)
        if run is None:
            return False
        run.state = State.COMPLETED
        run.completed_at = now()
        run.trouble = None
        run.bundle_sha256 = version.bundle_sha256
        run.model_version_id = version.id
        run.engine = engine
        run.code_version = code_version
        leases.let_go(run)
        KIND.record("completed", run, version=version.version, bundle=version.bundle_sha256)
    return True


def _locked(run: TrainingRun) -> TrainingRun:
    return db.session.scalars(
        select(TrainingRun)
        .where(TrainingRun.id == run.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
