"""From claimed rows to a model, and from its answers back to the rows."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from operator import attrgetter

from celery.exceptions import SoftTimeLimitExceeded
from PIL.Image import Image
from sqlalchemy.exc import OperationalError, StatementError

from ml.bundle import BundleError
from ml.decode import Unreadable, decode
from ml.predictor import ImageAssessment, Predictor
from webapp import storage
from webapp.assessments import services
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.assessments.services import AssessmentResult, Claim, ImageResult
from webapp.db import db, transaction
from webapp.errors import NotFound
from webapp.worker import predictors
from webapp.worker.version import code_version

log = logging.getLogger(__name__)

NOT_OF_AN_ANSWER = (OperationalError, SoftTimeLimitExceeded)
"""What goes wrong while an answer is written, and would with every other one too."""


class MissingImage(Exception):
    """The store does not give an image now, or not as it was stored."""


@dataclass(frozen=True)
class Outcome:
    """What came of one claim: a result, or what went wrong."""

    claim: Claim
    result: AssessmentResult | None = None
    failure: Failure | None = None
    error: Exception | None = None

    @property
    def is_unexpected(self) -> bool:
        """Nobody foresaw this: once it is on record, it is to be raised."""
        return self.failure is Failure.UNEXPECTED

    @property
    def described(self) -> str:
        """The error in words."""
        return described(self.error)

    @property
    def end(self) -> AssessmentResult | FailedAttempt:
        """What is to be written of it."""
        return self.result or FailedAttempt(self.described, self.failure or Failure.UNEXPECTED)


def described(error: Exception | None) -> str:
    """An error in words. A database tells in its first line what is wrong, and in the next ones
    the values of the row, which are no matter for administrators."""
    text = str(error)
    if isinstance(error, StatementError):
        text = str(error.orig).partition("\n")[0]
    return f"{type(error).__name__}: {text}"


def read(claims: Sequence[Claim]) -> list[Outcome]:
    """Read claimed cases. Nothing that goes wrong with one of them keeps the others from it."""
    by_bundle = attrgetter("bundle_sha256")
    groups = groupby(sorted(claims, key=by_bundle), key=by_bundle)
    return [outcome for _, group in groups for outcome in _read_together(list(group))]


def write(outcomes: Sequence[Outcome]) -> None:
    """Put on record what came of claimed cases; of a claim that was lost meanwhile, nothing."""
    with transaction():
        try:
            written = _write_together(outcomes)
        except NOT_OF_AN_ANSWER:
            raise
        except Exception:  # of one of them, and it must not take the others with it
            services.hold(claims=[outcome.claim for outcome in outcomes])
            written = {n for outcome in outcomes for n in _write_alone(outcome)}
    for outcome in outcomes:
        if outcome.claim.assessment_id not in written:
            log.warning("assessment %s was lost meanwhile", outcome.claim.assessment_id)


def _write_together(outcomes: Sequence[Outcome]) -> set[int]:
    with db.session.begin_nested():
        return services.end_all(outcomes=[(outcome.claim, outcome.end) for outcome in outcomes])


def _write_alone(outcome: Outcome) -> set[int]:
    try:
        return _write_together([outcome])
    except NOT_OF_AN_ANSWER:
        raise
    except Exception as error:
        instead = Outcome(outcome.claim, failure=Failure.UNEXPECTED, error=error)
        log.error(
            "the answer for assessment %s cannot be written: %s",
            outcome.claim.assessment_id,
            instead.described,
        )
        return _write_together([instead])


def _read_together(claims: Sequence[Claim]) -> list[Outcome]:
    """Read cases with their common bundle; one at a time if that does not go well."""
    try:
        return _read(claims)
    except (predictors.MissingBundle, BundleError) as error:
        return [Outcome(claim, failure=Failure.MISSING_BUNDLE, error=error) for claim in claims]
    except SoftTimeLimitExceeded as error:
        return [Outcome(claim, failure=Failure.UNEXPECTED, error=error) for claim in claims]
    except Exception as error:
        if len(claims) > 1:
            return [outcome for claim in claims for outcome in _read_together([claim])]
        log.exception("assessment %s went wrong", claims[0].assessment_id)
        return [Outcome(claims[0], failure=Failure.UNEXPECTED, error=error)]


def _read(claims: Sequence[Claim]) -> list[Outcome]:
    predictor = predictors.get(claims[0].bundle_sha256)
    began = time.perf_counter()
    answers: dict[int, list[ImageAssessment]] = {claim.assessment_id: [] for claim in claims}
    failed: dict[int, Outcome] = {}
    for images in _batches(claims, predictors.images_at_once()):
        decoded: list[tuple[Claim, Image]] = []
        for claim, image_sha256 in images:
            try:
                decoded.append((claim, open_image(image_sha256, predictor)))
            except Unreadable as error:
                failed[claim.assessment_id] = Outcome(
                    claim, failure=Failure.UNREADABLE_IMAGE, error=error
                )
            except MissingImage as error:
                failed.setdefault(
                    claim.assessment_id,
                    Outcome(claim, failure=Failure.MISSING_IMAGE, error=error),
                )
        said = predictor.predict(
            [image for _, image in decoded], [claim.metadata for claim, _ in decoded]
        )
        for (claim, _), answer in zip(decoded, said, strict=True):
            answers[claim.assessment_id].append(answer)
    elapsed_ms = (time.perf_counter() - began) * 1000
    image_ms = elapsed_ms / sum(len(claim.image_sha256s) for claim in claims)
    return [
        failed.get(claim.assessment_id)
        or Outcome(claim, _result(claim, predictor, answers[claim.assessment_id], image_ms))
        for claim in claims
    ]


def _batches(claims: Sequence[Claim], size: int) -> Iterator[list[tuple[Claim, str]]]:
    """The images of all claims, so many at a time: decoded ones take memory."""
    images = ((claim, sha256) for claim in claims for sha256 in claim.image_sha256s)
    while batch := list(islice(images, size)):
        yield batch


def open_image(image_sha256: str, predictor: Predictor) -> Image:
    """A stored image, as the model reads it.

    Raises:
        MissingImage: the store does not give it.
        ml.decode.Unreadable: it is no image.
    """
    try:
        data = storage.get(image_sha256)
    except (NotFound, storage.CorruptBlob, OSError) as error:
        raise MissingImage(f"{image_sha256}: {type(error).__name__}: {error}") from error
    return decode(data, predictor.bundle.preprocess.native_short_side_px)


def _result(
    claim: Claim, predictor: Predictor, answers: Sequence[ImageAssessment], image_ms: float
) -> AssessmentResult:
    return AssessmentResult(
        images=tuple(
            ImageResult(
                prediction=answer.prediction,
                probabilities=answer.probabilities,
                abstained=answer.abstained,
                reason=answer.reason,
                supported=answer.supported,
                measures=asdict(answer.measures) if answer.measures else {},
            )
            for answer in answers
        ),
        metadata_encoded=predictor.encode_metadata(claim.metadata),
        engine=predictor.engine,
        code_version=code_version(),
        inference_ms=image_ms * len(answers),
    )
