"""A loaded bundle that reads pictures: gates, preprocessing, network, calibration, decision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml import bundle as bundles
from ml.bundle import Bundle
from ml.datasets.manifest import SEPARATOR
from ml.decode import decode
from ml.engines import Engine, EngineError, open_engine
from ml.gates import Familiarity, Looks, Measures, Otherness, Reason, looks, measure
from ml.preprocess import Pixels

BATCH = 32
_NOTHING = np.empty((0, 0), np.float32)
SELF_TEST_TOLERANCE = {"cpu": 2e-3, "cuda": 2e-2}
"""Largest difference of any probability from the stored one; half precision differs more."""


@dataclass(frozen=True)
class ImageAssessment:
    """What the model makes of one picture. ``reason`` is set exactly when it abstains."""

    prediction: str
    """Code of the finding that is named, also when abstaining; several are joined by ``|``."""
    probabilities: dict[str, float]
    """Calibrated probability by finding code, summing to 1 unless multi-label."""
    abstained: bool
    reason: str | None
    supported: tuple[str, ...] = ()
    """Findings whose probability reaches their operating point."""
    plausible: tuple[str, ...] = ()
    """The set of findings that holds the truth, with the coverage that the bundle states."""
    measures: Measures | None = None
    """What light and focus made of the picture."""


@dataclass(frozen=True)
class SelfTest:
    """How a predictor did on the pictures that its bundle carries."""

    largest_difference: float
    """Of any probability from the one stored in the bundle."""
    same_predictions: bool
    passed: bool


class Predictor:
    """Reads pictures with one bundle on one engine."""

    def __init__(self, bundle: Bundle, engine: Engine):
        self.bundle = bundle
        self._engine = engine
        tensors = bundle.tensors()
        self._familiarity = Familiarity.from_tensors(tensors)
        self._looks = Looks.from_tensors(tensors)
        self._otherness = Otherness.from_tensors(tensors)
        self._encoding = bundle.metadata
        self._codes = bundle.codes
        self._thresholds = bundle.thresholds
        self._conformal = bundle.conformal_thresholds
        self._weights = bundle.decision_weights

    @property
    def engine(self) -> str:
        """What runs the network, for the record: kind, version, device."""
        return self._engine.name

    def predict(
        self,
        images: Sequence[Image.Image],
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[ImageAssessment]:
        """One assessment a picture, in order; pictures run in batches of BATCH.

        ``metadata`` holds one mapping a picture, as ``encode_metadata`` takes it. Raises
        ValueError when its length differs, EngineError when the network yields no numbers.
        """
        if metadata is not None and len(metadata) != len(images):
            raise ValueError(f"{len(metadata)} metadata for {len(images)} images")
        known = metadata or [{}] * len(images)
        assessed: list[ImageAssessment] = []
        for start in range(0, len(images), BATCH):
            batch = slice(start, start + BATCH)
            assessed += self._assess(images[batch], known[batch])
        return assessed

    def _assess(
        self, images: Sequence[Image.Image], metadata: Sequence[Mapping[str, Any]]
    ) -> list[ImageAssessment]:
        bundle, limits = self.bundle, self.bundle.abstention
        frames = [bundle.preprocess.frame(image) for image in images]
        encoded = [self._encoding.encode(raw).vector for raw in metadata]
        logits, features = self._engine.run(
            bundle.preprocess.to_input(frames), np.stack(encoded) if encoded else _NOTHING
        )
        if not (np.isfinite(logits).all() and np.isfinite(features).all()):
            raise EngineError("the network's answer is not a number")
        novelty = self._familiarity.distance(features)
        strangeness, otherness = self._of_looks(frames)
        assessed = []
        for index, row in enumerate(bundle.calibration(logits)):
            measures = measure(images[index], frames[index])
            reason = limits.before(images[index].size, measures)
            far = float(novelty[index]), float(strangeness[index]), float(otherness[index])
            if not reason and limits.is_foreign(*far):
                reason = Reason.UNFAMILIAR
            assessed.append(replace(self._decide(row, reason), measures=measures))
        return assessed

    def _of_looks(
        self, frames: Sequence[Pixels]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """How strange (n,) the pictures look, and how much of another kind (n,).

        0 for a bundle that does not ask.
        """
        known, nothing = (self._looks, self._otherness), np.zeros(len(frames), np.float32)
        if not any(known):
            return nothing, nothing
        seen = np.stack([looks(frame) for frame in frames])
        return (
            self._looks.distance(seen) if self._looks else nothing,
            self._otherness.of(seen) if self._otherness else nothing,
        )

    def _decide(
        self, probabilities: npt.NDArray[np.float64], reason: Reason | None
    ) -> ImageAssessment:
        """What is said of probabilities (c,): the finding named, those supported and plausible."""
        codes = self._codes
        supported = self._named(probabilities >= self._thresholds)
        weighed = probabilities * self._weights
        likely = probabilities >= self._conformal
        likely[weighed.argmax()] = True  # what is named is never outside the set
        plausible = self._named(likely)
        prediction, confidence = codes[int(weighed.argmax())], float(weighed.max() / weighed.sum())
        if self.bundle.multi_label:
            confidence = 1.0
            prediction = SEPARATOR.join(supported) or prediction
            reason = reason or (None if supported else Reason.UNCERTAIN)
        reason = reason or self.bundle.abstention.after(confidence, len(plausible))
        return ImageAssessment(
            prediction=prediction,
            probabilities=dict(zip(codes, probabilities.tolist(), strict=True)),
            abstained=reason is not None,
            reason=str(reason) if reason else None,
            supported=supported,
            plausible=plausible,
        )

    def _named(self, chosen: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(code for code, is_chosen in zip(self._codes, chosen, strict=True) if is_chosen)

    def encode_metadata(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What the network is fed of a patient's particulars, in full.

        ``raw`` values, the names that were ``missing``, the ``vector`` with the ``units`` of its
        entries, and the ``encoding_version``. A bundle with the encoding ``none`` uses nothing.
        """
        encoded = self._encoding.encode(raw)
        return {
            "raw": dict(raw),
            "missing": list(encoded.missing),
            "vector": [float(value) for value in encoded.vector],
            "units": list(self._encoding.units),
            "encoding_version": self._encoding.name,
        }

    def self_test(self) -> SelfTest:
        """Read the bundle's own pictures and compare with the stored probabilities.

        A bundle without such pictures does not pass.
        """
        cases = self.bundle.facts["self_test"]
        images = [decode((self.bundle.path / case["file"]).read_bytes()) for case in cases]
        known = [case.get("metadata", {}) for case in cases]
        found = [assessment.probabilities for assessment in self.predict(images, known)]
        stored = [case["probabilities"] for case in cases]
        differences = [
            abs(here[code] - there[code])
            for here, there in zip(found, stored, strict=True)
            for code in self.bundle.codes
        ]
        largest = max(differences, default=math.inf)
        same = all(
            max(here, key=here.__getitem__) == max(there, key=there.__getitem__)
            for here, there in zip(found, stored, strict=True)
        )
        return SelfTest(largest, same, same and largest <= tolerance(self.engine))


def tolerance(engine: str) -> float:
    """The largest difference of a probability that counts as the same on an engine, by its name."""
    return SELF_TEST_TOLERANCE["cuda" if engine.endswith("cuda") else "cpu"]


def load(bundle_dir: Path, *, device: str = "auto", cache_dir: Path, threads: int = 1) -> Predictor:
    """A predictor of the bundle in ``bundle_dir``.

    ``cache_dir`` keeps exported networks, ``threads`` is for one picture's arithmetic on a CPU.
    Raises BundleError when the bundle is not what it states, EngineError when it cannot run.
    """
    bundle = bundles.load(bundle_dir)
    engine = open_engine(bundle, device=device, cache_dir=cache_dir, threads=threads)
    return Predictor(bundle, engine)
