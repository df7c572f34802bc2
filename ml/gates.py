"""When not to answer: pictures that are too small, blank, foreign, or ambiguous.

Every gate has a reason code. The first two look at the picture before the network does; the third
looks at the network's features, the last at its calibrated probabilities.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]


class Reason(StrEnum):
    """Why there is no answer."""

    UNREADABLE = "unreadable"
    """The file could not be decoded."""
    TOO_SMALL = "too_small"
    """The picture has fewer pixels than the finding needs."""
    BLANK = "blank"
    """The picture is all but one colour."""
    UNFAMILIAR = "unfamiliar"
    """The picture is not the kind that the model learnt from."""
    UNCERTAIN = "uncertain"
    """No finding is probable enough."""


@dataclass(frozen=True)
class Abstention:
    """The limits of the gates, stored in the bundle."""

    confidence_below: float = 0.0
    """Abstain when the highest calibrated probability is lower."""
    short_side_below_px: int = 0
    contrast_below: float = 0.0
    """Standard deviation of the picture's grey values of 0 to 255."""
    novelty_above: float | None = None
    """Largest accepted distance from what was learnt, as ``Familiarity.distance`` measures it."""

    def before(self, image: Image.Image) -> Reason | None:
        """The reason for which a picture need not be read at all, if there is one."""
        if min(image.size) < self.short_side_below_px:
            return Reason.TOO_SMALL
        if float(np.asarray(image.convert("L"), dtype=np.float32).std()) < self.contrast_below:
            return Reason.BLANK
        return None

    def after(self, confidence: float, novelty: float) -> Reason | None:
        """The reason for which an answer is withheld, if there is one."""
        if self.novelty_above is not None and novelty > self.novelty_above:
            return Reason.UNFAMILIAR
        if confidence < self.confidence_below:
            return Reason.UNCERTAIN
        return None


@dataclass(frozen=True)
class Familiarity:
    """How far a picture's features point away from those of the training pictures.

    The features of training pictures, scaled to unit length, vary in few directions. What a new
    picture's features have outside the leading principal directions is foreign (the residual of
    Wang et al. 2022, "ViM: out-of-distribution with virtual-logit matching").
    """

    centre: Array
    """Mean of the training pictures' unit feature vectors (f,)."""
    basis: Array
    """Leading principal directions, orthonormal (f, k)."""

    @classmethod
    def fit(cls, features: Array, directions: int) -> Self:
        """Fit ``directions`` principal directions to training features (n, f)."""
        unit = _unit(features)
        centre = unit.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov(unit, rowvar=False))
        return cls(centre, np.ascontiguousarray(vectors[:, ::-1][:, :directions], np.float32))

    def distance(self, features: Array) -> Array:
        """Length (n,) of what features (n, f) have outside the directions: 0 to about 1."""
        moved = _unit(features) - self.centre
        return np.linalg.norm(moved - moved @ self.basis @ self.basis.T, axis=1)

    def tensors(self) -> dict[str, Array]:
        """Named arrays for the bundle's weight file."""
        return {"familiarity.centre": self.centre, "familiarity.basis": self.basis}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Self:
        """The inverse of ``tensors``; other names are passed over."""
        return cls(tensors["familiarity.centre"], tensors["familiarity.basis"])


def _unit(features: Array) -> Array:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
