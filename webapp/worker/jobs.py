"""The jobs. A message says only that there may be work; the rows say what."""

import os
import time
from collections.abc import Sequence
from ctypes import c_bool
from multiprocessing.sharedctypes import RawValue
from typing import Any

from webapp import queue
from webapp.assessments import leases, services
from webapp.assessments.queries import unclaimed_count
from webapp.assessments.services import Claim
from webapp.config import current_settings
from webapp.datasets.queries import only_here
from webapp.db import transaction
from webapp.explanations import services as explanations
from webapp.jobs import ADMINISTER, ASSESS, EXPLAIN, REPRODUCE, TRAIN
from webapp.reproductions import services as reproductions
from webapp.training import services as runs
from webapp.work import KINDS
from webapp.worker import explaining, inference, lease, predictors, reproducing, run_folders

CLAIMING_SECONDS = 30
"""A job takes no more work after this, and rings for the next one."""
SOFT_LIMIT_SECONDS = CLAIMING_SECONDS + 60
"""So the last claim of a job has a minute at least before it is told to stop."""
HARD_LIMIT_SECONDS = SOFT_LIMIT_SECONDS + 30
"""A process that hangs beyond this is killed; its claim goes to another."""

LOADING_SECONDS = 120
"""So long the first explanation of a process may take to load torch, on a machine that is busy."""

ADMINISTRATION_SECONDS = 6 * 60 * 60
"""So long one thing that administrators ask for may take at most."""

CLAIM_SECONDS = 0.25
CLAIM_IMAGES_MAX = 32

TRAINING_SECONDS = 30 * 24 * 3600
"""The longest that a run may take; whoever asked for it can see it, and cancel it."""

stopping = RawValue(c_bool, False)
"""Set by the parent when it is told to end, seen by its forked children."""


@queue.app.task(
    name=ASSESS,
    soft_time_limit=SOFT_LIMIT_SECONDS,
    time_limit=HARD_LIMIT_SECONDS,
    acks_late=True,
    ignore_result=True,
)
def assess() -> None:
    """Read whatever waits, the most urgent first, until nothing does."""
    until = time.monotonic() + CLAIMING_SECONDS
    limit = predictors.images_at_once()
    claims = _claim(limit)
    with lease.Heartbeat() as heartbeat:
        while claims:
            heartbeat.keep(claims[0].lease_token)
            began = time.monotonic()
            outcomes = inference.read(claims)
            limit = _images_to_claim(claims, time.monotonic() - began)
            unexpected = next((outcome for outcome in outcomes if outcome.is_unexpected), None)
            goes_on = not (unexpected or stopping.value or time.monotonic() > until)
            with transaction():  # one commit for what is done and what is next
                inference.write(outcomes)
                claims = _claim(limit) if goes_on else []
            if not goes_on:
                queue.ring()
            if unexpected and unexpected.error:
                raise unexpected.error


@queue.app.task(
    name=EXPLAIN,
    soft_time_limit=LOADING_SECONDS + SOFT_LIMIT_SECONDS,
    time_limit=LOADING_SECONDS + HARD_LIMIT_SECONDS,
    acks_late=True,
    ignore_result=True,
)
def explain() -> None:
    """Make the explanations that wait, one after the other, until none does."""
    import ml.explain  # noqa: F401  (with torch: after the fork, and before the first claim)

    until = time.monotonic() + CLAIMING_SECONDS
    with lease.Heartbeat(explanations.KIND.extend_lease) as heartbeat:
        while claim := explanations.claim(**_claimer()):
            heartbeat.keep(claim.lease_token)
            explaining.explain(claim)
            if stopping.value or time.monotonic() > until:
                queue.ring(EXPLAIN)
                return


@queue.app.task(
    name=REPRODUCE,
    soft_time_limit=LOADING_SECONDS + SOFT_LIMIT_SECONDS,
    time_limit=LOADING_SECONDS + HARD_LIMIT_SECONDS,
    acks_late=True,
    ignore_result=True,
)
def reproduce() -> None:
    """Read again what is to be compared, one after the other, until nothing is."""
    until = time.monotonic() + CLAIMING_SECONDS
    with lease.Heartbeat(reproductions.KIND.extend_lease) as heartbeat:
        while claim := reproductions.claim(**_claimer()):
            heartbeat.keep(claim.lease_token)
            reproducing.reproduce(claim)
            if stopping.value or time.monotonic() > until:
                queue.ring(REPRODUCE)
                return


@queue.app.task(
    name=ADMINISTER,
    soft_time_limit=ADMINISTRATION_SECONDS,
    time_limit=ADMINISTRATION_SECONDS + HARD_LIMIT_SECONDS,
    acks_late=True,
    ignore_result=True,
)
def administer() -> None:
    """Do what administrators have asked for, one thing after the other, until nothing waits."""
    waiting = (unclaimed_count(kind.rows) for kind in KINDS if kind.job == ADMINISTER)
    if not (any(waiting) or only_here()):
        return  # as at nearly every ring: what is imported below takes seconds
    from webapp.worker.administration import STEPS

    until = time.monotonic() + CLAIMING_SECONDS
    while any(step() for step in STEPS):
        if stopping.value or time.monotonic() > until:
            queue.ring(ADMINISTER)
            return


@queue.app.task(
    name=TRAIN,
    soft_time_limit=TRAINING_SECONDS,
    time_limit=TRAINING_SECONDS + HARD_LIMIT_SECONDS,
    acks_late=True,
    ignore_result=True,
)
def train() -> None:
    """Train what waits, one run after the other, until nothing does."""
    settings, parent = current_settings(), os.getppid()

    def is_stopping() -> bool:
        """The worker is told to end, or has gone and left this process behind."""
        return stopping.value or os.getppid() != parent

    run_folders.remove_ended()
    extend = runs.KIND.extend_lease
    with lease.Heartbeat(extend, kept_seconds=TRAINING_SECONDS) as heartbeat:
        while not is_stopping() and (
            claim := runs.claim(
                worker=leases.own_name(),
                has_gpu=predictors.gpu_count(settings) > 0,
                lease_seconds=settings.lease_seconds,
            )
        ):
            heartbeat.keep(claim.lease_token)
            from webapp.worker import training  # with torch: not for a ring without work

            training.train(claim, is_stopping)


def _claimer() -> dict[str, Any]:
    """Who claims, with which bundles, and for how long."""
    return {
        "worker": leases.own_name(),
        "bundle_sha256s": predictors.at_hand(),
        "lease_seconds": current_settings().lease_seconds,
    }


def _claim(limit: int) -> list[Claim]:
    return services.claim(limit=limit, **_claimer())


def _images_to_claim(read: Sequence[Claim], seconds: float) -> int:
    """As many images as are read in CLAIM_SECONDS, going by those just read.

    A claim costs a commit, which waits for the disk and for other writers, so quick images are
    claimed together; slow ones come one case at a time, and are on the page as soon as they are
    read.
    """
    image_count = sum(len(claim.image_sha256s) for claim in read)
    fitting = int(CLAIM_SECONDS * image_count / max(seconds, 0.001))
    return max(predictors.images_at_once(), min(fitting, CLAIM_IMAGES_MAX))
