"""When not to answer: pictures that are too poor, foreign, or ambiguous.

Every gate has a reason code. The first look at the picture before the network does; whether it is
foreign shows in its looks and in the network's features, and whether the answer may stand in its
calibrated probabilities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.preprocess import Pixels

Array = npt.NDArray[np.float32]


REACH = 6.0
"""Standard deviations from the mean after which ``Otherness`` takes no further notice."""


class Reason(StrEnum):
    """Why there is no answer."""

    UNREADABLE = "unreadable"
    """The file could not be decoded."""
    TOO_SMALL = "too_small"
    """The picture has fewer pixels than the finding needs."""
    BLANK = "blank"
    """The picture is all but one colour."""
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    BLURRED = "blurred"
    UNFAMILIAR = "unfamiliar"
    """The picture is not the kind that the model learnt from."""
    AMBIGUOUS = "ambiguous"
    """Too many findings remain possible."""
    UNCERTAIN = "uncertain"
    """No finding is probable enough."""


@dataclass(frozen=True)
class Measures:
    """What light and focus make of a picture, in three numbers."""

    brightness: float
    """Mean of the framed picture's values of 0 to 255."""
    contrast: float
    """Standard deviation of the whole picture's grey values of 0 to 255."""
    sharpness: float
    """As ``sharpness`` measures it."""


def measure(image: Image.Image, frame: Pixels) -> Measures:
    """Measure a picture. ``frame`` is what the network is fed of it: (side, side, channels)."""
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    return Measures(float(frame.mean()), float(grey.std()), sharpness(frame))


@dataclass(frozen=True)
class Abstention:
    """The limits of the gates, stored in the bundle."""

    confidence_below: float = 0.0
    """Abstain when the confidence of the answer is lower."""
    set_size_above: int | None = None
    """Abstain when the set of findings that holds the truth has more members."""
    short_side_below_px: int = 0
    contrast_below: float = 0.0
    """Standard deviation of the picture's grey values of 0 to 255."""
    brightness_below: float = 0.0
    brightness_above: float = 255.0
    """Mean of the framed picture's grey values."""
    sharpness_below: float = 0.0
    """As ``sharpness`` measures it."""
    novelty_above: float | None = None
    """Largest accepted distance from what was learnt, as ``Familiarity.distance`` measures it."""
    strangeness_above: float | None = None
    """Largest accepted distance of the picture's looks, as ``Looks.distance`` measures it."""
    otherness_above: float | None = None
    """Largest accepted log odds of being of another kind, as ``Otherness.of`` gives them."""

    def before(self, size: tuple[int, int], measured: Measures) -> Reason | None:
        """The reason for which a picture need not be read at all, if there is one.

        ``size`` is its width and height in pixels.
        """
        if min(size) < self.short_side_below_px:
            return Reason.TOO_SMALL
        if measured.contrast < self.contrast_below:
            return Reason.BLANK
        if measured.brightness < self.brightness_below:
            return Reason.TOO_DARK
        if measured.brightness > self.brightness_above:
            return Reason.TOO_BRIGHT
        if measured.sharpness < self.sharpness_below:
            return Reason.BLURRED
        return None

    def is_foreign(self, novelty: float, strangeness: float, otherness: float) -> bool:
        """Whether a picture is not of the kind that the model learnt from."""
        return any(
            limit is not None and value > limit
            for value, limit in (
                (novelty, self.novelty_above),
                (strangeness, self.strangeness_above),
                (otherness, self.otherness_above),
            )
        )

    def after(self, confidence: float, set_size: int) -> Reason | None:
        """The reason for which an answer is withheld, if there is one."""
        if confidence < self.confidence_below:
            return Reason.UNCERTAIN
        if self.set_size_above is not None and set_size > self.set_size_above:
            return Reason.AMBIGUOUS
        return None


def sharpness(frame: Pixels) -> float:
    """Standard deviation of the Laplacian of the grey values of a frame (side, side, channels).

    Pech-Pacheco et al. 2000. A frame is at the bundle's native scale, so that the resolution that
    the picture came in matters little.
    """
    grey = frame.mean(axis=2, dtype=np.float32)
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * inner).std())


def looks(frame: Pixels) -> Array:
    """What a picture looks like in a few numbers (LOOKS,): colours, tones, edges, its rim.

    ``frame`` is (side, side, channels) uint8. They tell one kind of picture from another, whatever
    a network trained on one kind alone makes of it.
    """
    pixels = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame
    small = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX), np.float32)
    grey = small.mean(axis=2)
    rim = np.concatenate((grey[:4].ravel(), grey[-4:].ravel(), grey[:, :4].ravel()))
    colour = small.max(axis=2) - small.min(axis=2)
    edges = [
        np.abs(np.diff(tones, axis=axis)).mean()
        for tones in (_grey(frame), grey)
        for axis in (0, 1)
    ]
    return np.array(
        [
            *small.mean(axis=(0, 1)),
            *small.std(axis=(0, 1)),
            *np.quantile(grey, (0.05, 0.25, 0.5, 0.75, 0.95)),
            colour.mean(),
            colour.std(),
            rim.mean(),
            rim.std(),
            grey[8:24, 8:24].mean(),
            *(20 * np.log1p(edges)),
        ],
        np.float32,
    )


def _grey(frame: Pixels) -> Array:
    return frame.mean(axis=2, dtype=np.float32)


@dataclass(frozen=True)
class Looks:
    """How far a picture's looks lie from those of the training pictures (Mahalanobis 1936)."""

    centre: Array
    """Mean looks (k,)."""
    whitening: Array
    """(k, k): what turns looks into uncorrelated ones of unit variance."""

    @classmethod
    def fit(cls, seen: Array) -> Self:
        """From the looks of training pictures (n, k), with a little shrinkage."""
        covariance = np.cov(seen, rowvar=False)
        covariance += 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        return cls(seen.mean(axis=0), np.asarray(vectors / np.sqrt(values), np.float32))

    def distance(self, seen: Array) -> Array:
        """Distance (n,) of looks (n, k), about the root of k for a picture of the same kind."""
        return np.linalg.norm((seen - self.centre) @ self.whitening, axis=1)

    def as_stored(self) -> Self:
        """The same in the precision that a bundle keeps, which limits are to be set with."""
        return replace(self, centre=_stored(self.centre), whitening=_stored(self.whitening))

    def tensors(self) -> dict[str, Array]:
        """Named arrays for the bundle's weight file."""
        return {"looks.centre": self.centre, "looks.whitening": self.whitening}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Self | None:
        """The inverse of ``tensors``; None for a bundle made before there were any."""
        if "looks.centre" not in tensors:
            return None
        return cls(tensors["looks.centre"], tensors["looks.whitening"])


@dataclass(frozen=True)
class Otherness:
    """How much more a picture looks like others than like those that the model is for.

    A logistic regression on looks and their products, fitted to the model's own training pictures
    against others (outlier exposure: Hendrycks et al. 2019, "Deep anomaly detection with outlier
    exposure"). ``Looks`` alone knows only what is near, and accepts another kind of picture that is
    as near as a rare one of its own.
    """

    centre: Array
    """Mean looks (k,)."""
    scale: Array
    """Their standard deviations (k,)."""
    weights: Array
    """Of the looks, in standard deviations, and of their k (k + 1) / 2 products."""
    bias: Array
    """(1,)."""

    @classmethod
    def fit(cls, own: Array, others: Sequence[Array], penalty: float = 1.0) -> Self:
        """From the looks (n, k) of own pictures and of each other kind.

        Own and others weigh the same in all, and so does each of the others, however many there
        are.
        """
        from sklearn.linear_model import LogisticRegression  # not loaded in serving

        seen = np.concatenate((own, *others))
        of_kind = np.repeat(np.arange(1 + len(others)), [len(own), *map(len, others)])
        weights = 1 / np.bincount(of_kind)[of_kind]
        weights[len(own) :] /= len(others)
        centre, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-6
        blank = cls(centre, scale, np.empty(0, np.float32), np.zeros(1, np.float32)).as_stored()
        model = LogisticRegression(C=1 / penalty, max_iter=5000)
        model.fit(blank.terms(seen), of_kind > 0, sample_weight=weights * len(seen) / 2)
        return replace(
            blank,
            weights=model.coef_[0].astype(np.float32),
            bias=model.intercept_.astype(np.float32),
        )

    def terms(self, seen: Array) -> Array:
        """What of looks (n, k) is weighed: how far they are from the mean, and the products.

        What is further than REACH counts as so far: how far a picture may be is for ``Looks``.
        """
        far = np.clip((seen - self.centre) / self.scale, -REACH, REACH)
        first, second = np.triu_indices(far.shape[1])
        return np.concatenate((far, far[:, first] * far[:, second]), axis=1)

    def of(self, seen: Array) -> Array:
        """Log odds (n,) that pictures with the looks (n, k) are of another kind."""
        return self.terms(seen) @ self.weights + self.bias[0]

    def as_stored(self) -> Self:
        """The same in the precision that a bundle keeps, which limits are to be set with."""
        return type(self)(**{name: _stored(value) for name, value in vars(self).items()})

    def tensors(self) -> dict[str, Array]:
        """Named arrays for the bundle's weight file."""
        return {f"otherness.{name}": value for name, value in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Self | None:
        """The inverse of ``tensors``; None for a bundle that was shown no others."""
        if "otherness.centre" not in tensors:
            return None
        return cls(**{entry.name: tensors[f"otherness.{entry.name}"] for entry in fields(cls)})


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
        """Fit ``directions`` principal directions to training features (n, f).

        At most half of all that there are: outside them all nothing is left to be foreign.
        """
        unit = _unit(features)
        centre = unit.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov(unit, rowvar=False))
        kept = vectors[:, ::-1][:, : min(directions, len(vectors) // 2)]
        return cls(centre, np.ascontiguousarray(kept, np.float32))

    def distance(self, features: Array) -> Array:
        """Length (n,) of what features (n, f) have outside the directions: 0 to about 1."""
        moved = _unit(features) - self.centre
        return np.linalg.norm(moved - moved @ self.basis @ self.basis.T, axis=1)

    def as_stored(self) -> Self:
        """The same in the precision that a bundle keeps, which limits are to be set with."""
        return replace(self, centre=_stored(self.centre), basis=_stored(self.basis))

    def tensors(self) -> dict[str, Array]:
        """Named arrays for the bundle's weight file."""
        return {"familiarity.centre": self.centre, "familiarity.basis": self.basis}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Self:
        """The inverse of ``tensors``; other names are passed over."""
        return cls(tensors["familiarity.centre"], tensors["familiarity.basis"])


def _unit(features: Array) -> Array:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _stored(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)
