"""From a claimed comparison to two models and the locked test set, and back to the row."""

import hashlib
import logging
from collections.abc import Sequence

from ml.bundle import BundleError
from ml.datasets.manifest import Record
from ml.evaluate import EvaluationError
from ml.prove import prove
from webapp import storage
from webapp.assessments import leases
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.config import current_settings
from webapp.promotion import services
from webapp.promotion.services import Claim, Proof, Refusal
from webapp.worker import lease, predictors, testing
from webapp.worker.inference import described
from webapp.worker.version import code_version

log = logging.getLogger(__name__)

KEPT_SECONDS = 4 * 60 * 60
"""A comparison is given back after this: two thousand pictures take minutes, on a processor that
everything else may have first."""


def step() -> bool:
    """Make the comparison that has waited longest; False if none waits.

    Raises what nobody foresaw, once it is on record.
    """
    claim = services.claim(worker=leases.own_name(), lease_seconds=current_settings().lease_seconds)
    if claim is None:
        return False
    with lease.Heartbeat(services.KIND.extend_lease, kept_seconds=KEPT_SECONDS) as heartbeat:
        heartbeat.keep(claim.lease_token)
        _compare(claim)
    return True


def _compare(claim: Claim) -> None:
    try:
        outcome = _outcome(claim)
    except (predictors.MissingBundle, BundleError) as error:
        _fail(claim, error, Failure.MISSING_BUNDLE)
        return
    except Exception as error:
        _fail(claim, error, Failure.UNEXPECTED)
        raise
    if not services.complete(claim=claim, outcome=outcome):
        log.warning("comparison %s was lost meanwhile", claim.comparison_id)


def _outcome(claim: Claim) -> Proof | Refusal:
    try:
        manifest = testing.locked_manifest(claim.reading_task)
    except testing.TestSetMissing as error:
        return Refusal(
            "test_set_missing",
            {"missing_count": error.missing_count, "datasets": list(error.datasets)},
        )
    champion, candidate = map(predictors.get, (claim.champion_sha256, claim.candidate_sha256))

    def heard(read_count: int, to_read_count: int) -> None:
        services.note(claim=claim, read_count=read_count, to_read_count=to_read_count)

    try:
        proof = prove(champion, candidate, manifest, heard=heard)
    except EvaluationError as error:
        return Refusal("not_comparable", {"sentence": str(error)})
    return Proof(
        result=proof.result,
        test_sha256=_test_sha256(manifest.records),
        predictions_sha256=storage.put(proof.predictions),
        engine=candidate.engine,
        code_version=code_version(),
    )


def _test_sha256(records: Sequence[Record]) -> str:
    """Over the names and labels of the pictures, in their order: names are their hashes."""
    lines = "".join(f"{record.file}\t{record.label}\n" for record in records)
    return hashlib.sha256(lines.encode()).hexdigest()


def _fail(claim: Claim, error: Exception, failure: Failure) -> None:
    attempt = FailedAttempt(described(error), failure)
    services.KIND.fail_attempt(claim.comparison_id, claim.lease_token, attempt)
