"""Who is learnt from and who is asked: grouped, stratified, seeded, hashed splits.

Pictures of one subject stay on one side. Where the publisher names no subject, near-duplicates
are found by their pixels and stay together instead.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from ml.datasets.manifest import Manifest, Record

THUMBNAIL_PX = 16
NEAR_DUPLICATE_RMS = 12.0
"""Two pictures are near-duplicates when their thumbnails differ by less than this, root mean
square over all 16 x 16 x 3 values of 0 to 255. In the blood-cell set 2 pairs of 93 million lie
below it."""

TRAINING, LOCKED_TEST = "train", "val"
"""What a manifest's published splits mean here."""

FOLDS = 20
"""The grain of a division: parts are made of so many stratified folds."""


@dataclass(frozen=True)
class Split:
    """Files of the three parts. ``dropped`` would have leaked into ``test``, so nobody uses it."""

    train: tuple[str, ...]
    tune: tuple[str, ...]
    test: tuple[str, ...]
    dropped: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash over the sorted file lists of all parts: equal for equal splits."""
        parts = {"train": self.train, "tune": self.tune, "test": self.test}
        text = json.dumps({name: sorted(files) for name, files in parts.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def thumbnails(manifest: Manifest) -> npt.NDArray[np.uint8]:
    """Every picture of a manifest shrunk to (n, 16, 16, 3) by averaging, for comparing."""
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    shrunk = np.empty((len(manifest.records), *size, 3), np.uint8)
    for index, record in enumerate(tqdm(manifest.records, desc="comparing", unit="image")):
        small = manifest.open_image(record.file).resize(size, Image.Resampling.BOX)
        shrunk[index] = np.asarray(small)
    return shrunk


def near_duplicate_groups(
    pictures: npt.NDArray[np.uint8], limit_rms: float = NEAR_DUPLICATE_RMS
) -> npt.NDArray[np.int64]:
    """A group number for each of n thumbnails (n, side, side, 3): chains of near-duplicates."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    squares = (flat**2).sum(axis=1)
    group = np.arange(len(flat))

    def root(index: int) -> int:
        while group[index] != index:
            index = int(group[index])
        return index

    block = 1024
    for start in range(0, len(flat), block):
        rows = flat[start : start + block]
        distance = squares[start : start + block, None] + squares - 2 * rows @ flat.T
        for row, column in np.argwhere(distance / flat.shape[1] < limit_rms**2):
            first, second = sorted((root(start + int(row)), root(int(column))))
            group[second] = first
    return np.array([root(index) for index in range(len(flat))])


def locked_split(
    records: Sequence[Record], groups: npt.NDArray[np.int64], *, tune_fraction: float, seed: int
) -> Split:
    """The published ``val`` becomes the locked test; ``train`` is divided into train and tune.

    ``groups`` gives each record's subject or near-duplicate group. A training record whose group
    reaches into the test is dropped. The division is stratified by label; ``tune_fraction`` is
    met to the nearest twentieth.
    """
    test = [index for index, record in enumerate(records) if record.split == LOCKED_TEST]
    tested = {int(groups[index]) for index in test}
    rest = [index for index, record in enumerate(records) if record.split == TRAINING]
    kept = [index for index in rest if int(groups[index]) not in tested]
    labels = [records[index].label for index in kept]
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = [part for _, part in folds.split(kept, labels, groups[kept])]
    tune = {kept[place] for part in parts[: round(FOLDS * tune_fraction)] for place in part}
    return Split(
        train=tuple(records[index].file for index in kept if index not in tune),
        tune=tuple(records[index].file for index in sorted(tune)),
        test=tuple(records[index].file for index in test),
        dropped=tuple(records[index].file for index in rest if int(groups[index]) in tested),
    )
