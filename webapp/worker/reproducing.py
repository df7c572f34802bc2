"""From a claimed reproduction to a model, and from its answer back to the row."""

import logging

from ml.predictor import tolerance
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.reproductions import services
from webapp.reproductions.services import Claim
from webapp.worker import inference

log = logging.getLogger(__name__)


def reproduce(claim: Claim) -> None:
    """Read the input of an assessment as it was read then, and put on record how the answers
    compare, or what kept it from being read.

    Raises what nobody foresaw, once it is on record.
    """
    (outcome,) = inference.read([claim.reading])
    if outcome.result is None:
        attempt = FailedAttempt(outcome.described, outcome.failure or Failure.UNEXPECTED)
        services.KIND.fail_attempt(claim.reproduction_id, claim.lease_token, attempt)
        if outcome.is_unexpected and outcome.error:
            raise outcome.error
        return
    allowed = max(tolerance(claim.engine), tolerance(outcome.result.engine))
    if not services.complete(claim=claim, result=outcome.result, tolerance=allowed):
        log.warning("reproduction %s was lost meanwhile", claim.reproduction_id)
