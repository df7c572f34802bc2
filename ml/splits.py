"""Who is learnt from and who is asked: grouped, stratified, seeded, hashed splits.

Pictures of one subject stay on one side. Where the publisher names no subject, near-duplicates
are found by their pixels and stay together instead.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from ml.datasets.manifest import Manifest, Record
from ml.recipe import DataRecipe

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


def divide(
    records: Sequence[Record], groups: npt.NDArray[np.int64], settings: DataRecipe, seed: int
) -> Split:
    """The split that ``settings.split`` names. Raises ValueError for an unknown name.

    ``groups`` gives each record's subject or near-duplicate group; none reaches two parts.
    """
    if settings.split not in POLICIES:
        raise ValueError(f"unknown split {settings.split}; known are {', '.join(POLICIES)}")
    return POLICIES[settings.split](records, groups, settings, seed)


def locked_split(
    records: Sequence[Record], groups: npt.NDArray[np.int64], settings: DataRecipe, seed: int
) -> Split:
    """The published ``val`` becomes the locked test; ``train`` is divided into train and tune.

    A training record whose group reaches into the test is dropped. The division is stratified by
    label; ``tune_fraction`` is met to the nearest twentieth.
    """
    test = [index for index, record in enumerate(records) if record.split == LOCKED_TEST]
    tested = {int(groups[index]) for index in test}
    rest = [index for index, record in enumerate(records) if record.split == TRAINING]
    kept = [index for index in rest if int(groups[index]) not in tested]
    folds = _folds(records, groups, kept, seed)
    tune = {index for fold in folds[: round(FOLDS * settings.tune_fraction)] for index in fold}
    return Split(
        train=_files(records, [index for index in kept if index not in tune]),
        tune=_files(records, sorted(tune)),
        test=_files(records, test),
        dropped=_files(records, [index for index in rest if int(groups[index]) in tested]),
    )


def subject_split(
    records: Sequence[Record], groups: npt.NDArray[np.int64], settings: DataRecipe, seed: int
) -> Split:
    """Everything divided by group, stratified by label; shares are met to the nearest twentieth."""
    folds = _folds(records, groups, list(range(len(records))), seed)
    test_count = round(FOLDS * settings.test_fraction)
    tune_count = round(FOLDS * settings.tune_fraction)
    parts = (folds[test_count + tune_count :], folds[test_count:][:tune_count], folds[:test_count])
    train, tune, test = (sorted(index for fold in part for index in fold) for part in parts)
    return Split(_files(records, train), _files(records, tune), _files(records, test))


def run_split(
    records: Sequence[Record], groups: npt.NDArray[np.int64], settings: DataRecipe, _seed: int
) -> Split:
    """Contiguous runs of subjects to one side, with one subject dropped at each border.

    For slices that are numbered through, where neighbouring subjects may be one patient. Subjects
    are taken in the natural order of their names, apart by source and label.
    """
    strata: dict[tuple[str, str], dict[str, list[int]]] = {}
    for index, record in enumerate(records):
        stratum = strata.setdefault((record.source, record.label), {})
        stratum.setdefault(record.subject, []).append(index)
    parts: dict[str, list[int]] = {"train": [], "tune": [], "test": [], "dropped": []}
    for _, stratum in sorted(strata.items()):
        subjects = sorted(stratum, key=_natural)
        for subject, part in zip(subjects, _runs(len(subjects), settings), strict=True):
            parts[part] += stratum[subject]
    leaks = _crossing(groups, parts)
    for name in ("train", "tune"):
        parts["dropped"] += [index for index in parts[name] if index in leaks]
        parts[name] = [index for index in parts[name] if index not in leaks]
    train, tune, test, dropped = (_files(records, sorted(part)) for part in parts.values())
    return Split(train, tune, test, dropped)


POLICIES = {"locked": locked_split, "subjects": subject_split, "runs": run_split}


def _folds(
    records: Sequence[Record], groups: npt.NDArray[np.int64], kept: list[int], seed: int
) -> list[list[int]]:
    """The indices ``kept`` in FOLDS stratified folds that no group straddles."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    labels = [records[index].label for index in kept]
    with warnings.catch_warnings():
        # A class with fewer members than folds, as rare pairs of labels are, is spread as well as
        # it can be.
        warnings.filterwarnings("ignore", "The least populated class")
        parts = [part for _, part in folds.split(kept, labels, groups[kept])]
    return [[kept[place] for place in part] for part in parts]


def _runs(count: int, settings: DataRecipe) -> list[str]:
    """The part of each of ``count`` subjects in order: train, tune, test, with gaps between."""
    test = max(1, round(count * settings.test_fraction))
    tune = max(1, round(count * settings.tune_fraction))
    train = count - test - tune - 2
    return ["train"] * train + ["dropped"] + ["tune"] * tune + ["dropped"] + ["test"] * test


def _crossing(groups: npt.NDArray[np.int64], parts: dict[str, list[int]]) -> set[int]:
    """Indices whose group is also in a later part: train gives way to tune, and both to test."""
    tested = {int(groups[index]) for index in parts["test"]}
    tuned = {int(groups[index]) for index in parts["tune"]}
    return {index for index in parts["train"] if int(groups[index]) in tested | tuned} | {
        index for index in parts["tune"] if int(groups[index]) in tested
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which ``block-10`` follows ``block-9``."""
    pieces = re.split(r"(\d+)", name)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]


def _files(records: Sequence[Record], indices: Sequence[int]) -> tuple[str, ...]:
    return tuple(records[index].file for index in indices)
