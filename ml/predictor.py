"""A loaded bundle that reads pictures: gates, preprocessing, network, calibration, decision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ml import bundle as bundles
from ml.bundle import Bundle
from ml.calibration import softmax
from ml.decode import decode
from ml.engines import Engine, EngineError, open_engine
from ml.gates import Familiarity

BATCH = 32
SELF_TEST_TOLERANCE = {"cpu": 2e-3, "cuda": 2e-2}
"""Largest difference of any probability from the stored one; half precision differs more."""


@dataclass(frozen=True)
class ImageAssessment:
    """What the model makes of one picture. ``reason`` is set exactly when it abstains."""

    prediction: str
    """Code of the most probable finding, also when abstaining."""
    probabilities: dict[str, float]
    """Calibrated probability by finding code, summing to 1."""
    abstained: bool
    reason: str | None


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
        self._familiarity = Familiarity.from_tensors(bundle.tensors())

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
        assessed: list[ImageAssessment] = []
        for start in range(0, len(images), BATCH):
            assessed += self._assess(images[start : start + BATCH])
        return assessed

    def _assess(self, images: Sequence[Image.Image]) -> list[ImageAssessment]:
        bundle = self.bundle
        frames = [bundle.preprocess.frame(image) for image in images]
        logits, features = self._engine.run(bundle.preprocess.to_input(frames))
        if not (np.isfinite(logits).all() and np.isfinite(features).all()):
            raise EngineError("the network's answer is not a number")
        probabilities = softmax(logits, bundle.temperature)
        novelty = self._familiarity.distance(features)
        assessed = []
        for image, row, distance in zip(images, probabilities, novelty, strict=True):
            limits = bundle.abstention
            reason = limits.before(image) or limits.after(float(row.max()), float(distance))
            assessed.append(
                ImageAssessment(
                    prediction=bundle.codes[int(np.argmax(row))],
                    probabilities=dict(zip(bundle.codes, row.tolist(), strict=True)),
                    abstained=reason is not None,
                    reason=str(reason) if reason else None,
                )
            )
        return assessed

    def encode_metadata(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What the network is fed of a patient's particulars, in full.

        ``raw`` values, the names that were ``missing``, the ``vector`` with the ``units`` of its
        entries, and the ``encoding_version``. A bundle with the encoding ``none`` uses nothing.
        """
        return {
            "raw": dict(raw),
            "missing": [],
            "vector": [],
            "units": [],
            "encoding_version": self.bundle.facts["metadata"]["encoding_version"],
        }

    def self_test(self) -> SelfTest:
        """Read the bundle's own pictures and compare with the stored probabilities.

        A bundle without such pictures does not pass.
        """
        cases = self.bundle.facts["self_test"]
        images = [decode((self.bundle.path / case["file"]).read_bytes()) for case in cases]
        found = [assessment.probabilities for assessment in self.predict(images)]
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
        device = "cuda" if self.engine.endswith("cuda") else "cpu"
        return SelfTest(largest, same, same and largest <= SELF_TEST_TOLERANCE[device])


def load(bundle_dir: Path, *, device: str = "auto", cache_dir: Path, threads: int = 1) -> Predictor:
    """A predictor of the bundle in ``bundle_dir``.

    ``cache_dir`` keeps exported networks, ``threads`` is for one picture's arithmetic on a CPU.
    Raises BundleError when the bundle is not what it states, EngineError when it cannot run.
    """
    bundle = bundles.load(bundle_dir)
    engine = open_engine(bundle, device=device, cache_dir=cache_dir, threads=threads)
    return Predictor(bundle, engine)
