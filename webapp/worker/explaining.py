"""From a claimed explanation to a model, and from what it shows back to the row."""

import logging
from typing import Any

from ml.bundle import BundleError
from ml.datasets.manifest import SEPARATOR
from ml.decode import Unreadable
from webapp import storage
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.explanations import services
from webapp.explanations.services import Claim, Explained
from webapp.worker import predictors
from webapp.worker.inference import MissingImage, described, open_image
from webapp.worker.version import code_version

log = logging.getLogger(__name__)

FORESEEN: dict[type[Exception], Failure] = {
    predictors.MissingBundle: Failure.MISSING_BUNDLE,
    BundleError: Failure.MISSING_BUNDLE,
    MissingImage: Failure.MISSING_IMAGE,
    Unreadable: Failure.UNREADABLE_IMAGE,
}


def explain(claim: Claim) -> None:
    """Make one explanation and put it on record, or what kept it from being made.

    Raises what nobody foresaw, once it is on record.
    """
    try:
        explained = _explain(claim)
    except Exception as error:
        failure = next(
            (failure for kind, failure in FORESEEN.items() if isinstance(error, kind)),
            Failure.UNEXPECTED,
        )
        attempt = FailedAttempt(described(error), failure)
        services.KIND.fail_attempt(claim.explanation_id, claim.lease_token, attempt)
        if failure is Failure.UNEXPECTED:
            raise
        return
    if not services.complete(claim=claim, explained=explained):
        log.warning("explanation %s was lost meanwhile", claim.explanation_id)
        services.discard(claim=claim, explained=explained)


def _explain(claim: Claim) -> Explained:
    from ml.explain import NoHeatMap, metadata_effects  # with torch, after the fork only

    predictor = predictors.get(claim.bundle_sha256)
    image = open_image(claim.image_sha256, predictor)
    effects = metadata_effects(predictor, image, claim.metadata)
    heat_map_sha256, engine = None, predictor.engine
    try:
        heat_maps = predictors.heat_maps(claim.bundle_sha256)
    except NoHeatMap:
        log.info("the network of %s has no heat map", claim.bundle_sha256)
    else:
        heat_map = heat_maps.of(image, claim.finding, claim.metadata)
        engine = heat_maps.engine
        if heat_map.warmth.any():
            heat_map_sha256 = storage.put(heat_map.png())
    return Explained(
        heat_map_sha256=heat_map_sha256,
        metadata_effects={name: change[claim.finding] for name, change in effects.items()},
        engine=engine,
        code_version=code_version(),
        image_only=_image_only(claim),
    )


def _image_only(claim: Claim) -> dict[str, Any] | None:
    """What the version that reads images alone says of the same image; None if it cannot."""
    if claim.image_only is None:
        return None
    try:
        predictor = predictors.get(claim.image_only.bundle_sha256)
    except (predictors.MissingBundle, BundleError) as error:
        log.warning("nothing to compare explanation %s with: %s", claim.explanation_id, error)
        return None
    (said,) = predictor.predict([open_image(claim.image_sha256, predictor)])
    return {
        "version": claim.image_only.version,
        "probability": said.probabilities[claim.finding],
        "names": said.prediction.split(SEPARATOR),
        "abstained": said.abstained,
    }
