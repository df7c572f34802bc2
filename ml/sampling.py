"""Which training pictures an epoch shows, and how often: after the split, of training alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.recipe import DataRecipe

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True)
class Draw:
    """One epoch's pictures in order."""

    order: Indices
    """(k,) indices into the training part."""
    copies: npt.NDArray[np.bool_]
    """(k,) whether the picture was added by oversampling."""


def draw(targets: Floats, settings: DataRecipe, random: Random) -> Draw:
    """One epoch's draw for targets (n, c); its length depends on the counts alone.

    A picture of several findings goes by the rarest of them. Raises ValueError for an unknown way.
    """
    if settings.sampling not in WAYS:
        raise ValueError(f"unknown sampling {settings.sampling}; known are {', '.join(WAYS)}")
    drawn = WAYS[settings.sampling](strata(targets), settings.samples_per_class, random)
    shuffled = random.permutation(len(drawn.order))
    return Draw(drawn.order[shuffled], drawn.copies[shuffled])


def strata(targets: Floats) -> Indices:
    """The class (n,) that each picture is drawn as: the rarest of what it shows."""
    shown = targets > 0
    rarity = np.where(shown, shown.sum(axis=0), len(shown) + 1)
    return rarity.argmin(axis=1)


def _natural(classes: Indices, _per_class: int, _random: Random) -> Draw:
    return Draw(np.arange(len(classes)), np.zeros(len(classes), bool))


def _weighted(classes: Indices, _per_class: int, random: Random) -> Draw:
    """As many as there are, with replacement, each class equally often."""
    counts = np.bincount(classes)
    weights = 1 / counts[classes] / (counts > 0).sum()
    order = random.choice(len(classes), len(classes), p=weights)
    return Draw(order, np.zeros(len(order), bool))


def _oversampled(classes: Indices, per_class: int, random: Random) -> Draw:
    """Everything, and of each class so many once more that it reaches ``per_class``."""
    counts = np.bincount(classes)
    goal = per_class or counts.max()
    added = [
        random.choice(np.flatnonzero(classes == index), goal - count)
        for index, count in enumerate(counts)
        if 0 < count < goal
    ]
    order = np.concatenate([np.arange(len(classes)), *added])
    return Draw(order, np.arange(len(order)) >= len(classes))


def _undersampled(classes: Indices, per_class: int, random: Random) -> Draw:
    """Of each class at most ``per_class``, others in every epoch."""
    counts = np.bincount(classes)
    goal = per_class or counts[counts > 0].min()
    kept = [
        random.permutation(np.flatnonzero(classes == index))[:goal] for index in range(len(counts))
    ]
    order = np.concatenate(kept)
    return Draw(order, np.zeros(len(order), bool))


WAYS = {
    "natural": _natural,
    "weighted": _weighted,
    "oversample": _oversampled,
    "undersample": _undersampled,
}


def neighbours(metadata: Floats, targets: Floats, count: int) -> list[Indices]:
    """For each picture the ``count`` others (fewer in a small class) of its class whose metadata
    (n, m) are nearest; none where it is alone.
    """
    from sklearn.neighbors import NearestNeighbors

    classes = strata(targets)
    found: list[Indices] = [np.empty(0, np.int64)] * len(classes)
    for index in np.unique(classes):
        members = np.flatnonzero(classes == index)
        wanted = min(count, len(members) - 1)
        if not wanted:
            continue
        search = NearestNeighbors(n_neighbors=wanted).fit(metadata[members])
        for member, near in zip(members, search.kneighbors(return_distance=False), strict=True):
            found[member] = members[near]
    return found


def smote(metadata: Floats, drawn: Draw, near: list[Indices], random: Random) -> Floats:
    """Metadata (k, m) of a draw, the copies' moved toward one of their neighbours.

    The share of the way is drawn from 0 to 1 (Chawla et al. 2002, SMOTE).
    """
    vectors = metadata[drawn.order]
    for row in np.flatnonzero(drawn.copies):
        candidates = near[drawn.order[row]]
        if len(candidates):
            other = metadata[random.choice(candidates)]
            vectors[row] += random.random(dtype=np.float32) * (other - vectors[row])
    return vectors
