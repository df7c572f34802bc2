"""Who is learnt from and who is asked: grouped, stratified, seeded, hashed splits.

Pictures of one subject stay on one side, and so do near-duplicates, which are found by their
pixels. Where the publisher names no subject, near-duplicates are all that is known of who is who,
so they are sought generously. Where subjects are named, a near-duplicate is a second entry of one
subject under another name, or of one shot under two; it is rare among thousands of pictures that
look alike by nature (every fundus is a disc with a disc in it), so the look that the set shares is
taken off first.

"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from ml.datasets.manifest import Manifest, Record
from ml.recipe import DataRecipe

THUMBNAIL_PX = 16
NEAR_DUPLICATE_RMS = 12.0
"""Two pictures are near-duplicates when their thumbnails differ by less than this, root mean
square over all 16 x 16 x 3 values of 0 to 255. Of blood cells 2 pairs of 93 million lie below it,
of breast ultrasound 134 of 194 thousand, which are all one lesion seen twice; of fundus photographs
11,692, nearly all of different people, so it is not for sets that name their subjects."""

GREY_PX = 32
LIKENESS = 0.8
"""Two pictures of a set that names its subjects are near-duplicates from this likeness on, which
``likenesses`` defines. Colour and exposure do not count; a shared camera and anatomy hardly do."""
DIRECTIONS = 256
PICTURES_A_DIRECTION = 4
"""So many pictures at least for each principal direction that likeness is measured along."""
FEWEST_DIRECTIONS = 64
"""With fewer, chance makes pictures alike; then they are compared without them."""

TRAINING, LOCKED_TEST = "train", "val"
"""What a manifest's published splits mean here."""

FOLDS = 20
"""The grain of a division: parts are made of so many stratified folds."""

Groups = npt.NDArray[np.int64]


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


def thumbnails(manifest: Manifest) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Every picture of a manifest shrunk for comparing: (n, 16, 16, 3), and grey (n, 32, 32)."""
    count = len(manifest.records)
    colour = np.empty((count, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
    grey = np.empty((count, GREY_PX, GREY_PX), np.uint8)
    for index, record in enumerate(tqdm(manifest.records, desc="comparing", unit="image")):
        picture = manifest.open_image(record.file)
        colour[index], grey[index] = thumbnail(picture), grey_thumbnail(picture)
    return colour, grey


def thumbnail(image: Image.Image) -> npt.NDArray[np.uint8]:
    """One picture shrunk by averaging to (16, 16, 3)."""
    return np.asarray(image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX))


def grey_thumbnail(image: Image.Image) -> npt.NDArray[np.uint8]:
    """One picture in grey, shrunk by averaging to (32, 32)."""
    return np.asarray(image.convert("L").resize((GREY_PX, GREY_PX), Image.Resampling.BOX))


def near_duplicate_groups(
    pictures: npt.NDArray[np.uint8], limit_rms: float = NEAR_DUPLICATE_RMS
) -> Groups:
    """A group number for each of n thumbnails (n, side, side, 3): chains of near-duplicates."""
    return unite(np.arange(len(pictures)), near_duplicate_pairs(pictures, limit_rms))


def near_duplicate_pairs(
    pictures: npt.NDArray[np.uint8], limit_rms: float = NEAR_DUPLICATE_RMS
) -> Iterator[tuple[int, int]]:
    """Indices, the smaller first, of thumbnails (n, side, side, 3) that differ by less."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    squares = (flat**2).sum(axis=1)
    for start, rows in _blocks(flat):
        products = rows @ flat[start:].T
        distance = squares[start : start + len(rows), None] + squares[start:] - 2 * products
        yield from _pairs(distance / flat.shape[1] < limit_rms**2, start)


def look_alike_pairs(
    pictures: npt.NDArray[np.uint8], least: float = LIKENESS
) -> Iterator[tuple[int, int]]:
    """Indices, the smaller first, of grey thumbnails (n, side, side) at least this much alike."""
    directions = distinctive(pictures)
    for start, rows in _blocks(directions):
        yield from _pairs(rows @ directions[start:].T >= least, start)


def distinctive(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What sets each of n grey thumbnails (n, side, side) apart from its set, at length 1 (n, d).

    The likeness of two pictures is the product of their rows: the correlation of their thumbnails,
    freed of brightness and contrast, after the set's mean is subtracted and its up to 256 principal
    directions are brought to equal variance (whitening), so that what all pictures share, such as
    the disc of a fundus or the outline of a chest, says nothing.
    """
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= flat.std(axis=1, keepdims=True) + 1.0
    flat -= flat.mean(axis=0)
    count = min(DIRECTIONS, len(flat) // PICTURES_A_DIRECTION)
    if count >= FEWEST_DIRECTIONS:
        variances, axes = np.linalg.eigh(flat.T @ flat / len(flat))
        flat = flat @ axes[:, -count:] / np.sqrt(variances[-count:] + 1e-6)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return (flat / (lengths + 1e-9)).astype(np.float32)


def _blocks(rows: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Runs of 1,024 rows, each with the index of its first."""
    for start in range(0, len(rows), 1024):
        yield start, rows[start : start + 1024]


def _pairs(close: npt.NDArray[np.bool_], start: int) -> Iterator[tuple[int, int]]:
    """Where ``close`` (rows and columns from ``start`` on) holds, the smaller index first."""
    for row, column in np.argwhere(np.triu(close, 1)):
        yield start + int(row), start + int(column)


def unite(groups: Groups, pairs: Iterable[tuple[int, int]]) -> Groups:
    """The groups (n,) after those of each pair of indices have become one."""
    parent = np.arange(groups.max(initial=-1) + 1)

    def root(group: int) -> int:
        while parent[group] != group:
            group = int(parent[group])
        return group

    for one, other in pairs:
        first, second = sorted((root(int(groups[one])), root(int(groups[other]))))
        parent[second] = first
    return np.array([root(int(group)) for group in groups], np.int64)


def groups_of(manifest: Manifest) -> tuple[Groups, Groups]:
    """Each record's subject (n,), and its subject and near-duplicates, as chains of both (n,).

    Where no record names its subject, near-duplicates by ``NEAR_DUPLICATE_RMS`` stand for subjects.
    """
    colour, grey = thumbnails(manifest)
    if any(record.subject for record in manifest.records):
        names = [record.subject or f"\0{index}" for index, record in enumerate(manifest.records)]
        subjects = np.unique(names, return_inverse=True)[1]
    else:
        subjects = near_duplicate_groups(colour)
    return subjects, unite(subjects, look_alike_pairs(grey))


def split_manifest(manifest: Manifest, settings: DataRecipe, seed: int) -> Split:
    """A manifest's split: divided by subject, then without near-duplicates across its parts.

    A subject outside the test that has a near-duplicate in it is dropped, and one of train that
    has one in tune. So a near-duplicate that is found later never moves another subject. What the
    settings leave out is in no part.
    """
    manifest = manifest.without(settings.leave_out)
    subjects, united = groups_of(manifest)
    split = divide(manifest.records, subjects, settings, seed)
    return keep_apart(manifest.records, united, split)


def keep_apart(records: Sequence[Record], groups: Groups, split: Split) -> Split:
    """The split without the records of train and tune whose group (n,) is also in a later part."""
    group = {record.file: int(number) for record, number in zip(records, groups, strict=True)}
    tested = {group[file] for file in split.test}
    tune = tuple(file for file in split.tune if group[file] not in tested)
    later = tested | {group[file] for file in tune}
    train = tuple(file for file in split.train if group[file] not in later)
    kept = {*train, *tune}
    dropped = tuple(file for file in split.train + split.tune if file not in kept)
    return replace(split, train=train, tune=tune, dropped=split.dropped + dropped)


def divide(records: Sequence[Record], groups: Groups, settings: DataRecipe, seed: int) -> Split:
    """The split that ``settings.split`` names. Raises ValueError for an unknown name.

    ``groups`` gives each record's subject or near-duplicate group; none reaches two parts.
    """
    if settings.split not in POLICIES:
        raise ValueError(f"unknown split {settings.split}; known are {', '.join(POLICIES)}")
    return POLICIES[settings.split](records, groups, settings, seed)


def locked_split(
    records: Sequence[Record], groups: Groups, settings: DataRecipe, seed: int
) -> Split:
    """The published ``val`` becomes the locked test; ``train`` is divided into train and tune.

    A training record whose group reaches into the test is dropped. The division is stratified by
    label; ``tune_fraction`` is met to the nearest twentieth.
    """
    test = [index for index, record in enumerate(records) if record.split == LOCKED_TEST]
    tested = {int(groups[index]) for index in test}
    rest = [index for index, record in enumerate(records) if record.split == TRAINING]
    kept = [index for index in rest if int(groups[index]) not in tested]
    train, tune = _train_and_tune(records, groups, kept, settings, seed)
    return Split(
        train=train,
        tune=tune,
        test=_files(records, test),
        dropped=_files(records, [index for index in rest if int(groups[index]) in tested]),
    )


def subject_split(
    records: Sequence[Record], groups: Groups, settings: DataRecipe, seed: int
) -> Split:
    """Everything divided by group, stratified by label; shares are met to the nearest twentieth."""
    folds = _folds(records, groups, list(range(len(records))), seed)
    test_count = round(FOLDS * settings.test_fraction)
    tune_count = round(FOLDS * settings.tune_fraction)
    parts = (folds[test_count + tune_count :], folds[test_count:][:tune_count], folds[:test_count])
    train, tune, test = (sorted(index for fold in part for index in fold) for part in parts)
    return Split(_files(records, train), _files(records, tune), _files(records, test))


def run_split(records: Sequence[Record], groups: Groups, settings: DataRecipe, _seed: int) -> Split:
    """Contiguous runs of subjects to one side, with one subject dropped at each border.

    For slices that are numbered through, where neighbouring subjects may be one patient. Subjects
    are taken in the natural order of their names, apart by source and label. Raises ValueError
    when a source has too few subjects of a label.
    """
    return _in_runs(records, groups, list(range(len(records))), settings)


def published_split(
    records: Sequence[Record], groups: Groups, settings: DataRecipe, _seed: int
) -> Split:
    """As published: ``train`` is learnt from, ``val`` tunes, ``test`` tests.

    A record whose group reaches into a later part is dropped.
    """
    parts = [
        tuple(record.file for record in records if record.split == name)
        for name in (TRAINING, LOCKED_TEST, "test")
    ]
    return keep_apart(records, groups, Split(*parts))


POLICIES = {
    "locked": locked_split,
    "subjects": subject_split,
    "runs": run_split,
    "published": published_split,
}


def cross_folds(
    records: Sequence[Record], groups: Groups, settings: DataRecipe, seed: int, folds: int = 5
) -> tuple[Split, ...]:
    """Splits whose tests are stratified folds that together make up all records, each once.

    No group reaches two parts. ``tune`` is taken from the other folds, by ``tune_fraction`` of
    them, so that thresholds are set inside the fold.
    """
    everything = list(range(len(records)))
    splits = []
    for number, test in enumerate(_folds(records, groups, everything, seed, folds)):
        tested = set(test)
        kept = [index for index in everything if index not in tested]
        train, tune = _train_and_tune(records, groups, kept, settings, seed + number)
        splits.append(Split(train, tune, _files(records, test)))
    return tuple(splits)


def source_folds(
    records: Sequence[Record], groups: Groups, settings: DataRecipe, seed: int
) -> dict[str, Split]:
    """A split for each source that is left out: its records are the test, the others train.

    ``tune`` is taken from the other sources, in runs where ``settings.split`` says so. Records of
    theirs whose group reaches into the test are dropped. Raises ValueError for a single source.
    """
    sources = sorted({record.source for record in records})
    if len(sources) < 2:
        raise ValueError(f"one source only ({', '.join(sources)}): none can be left out")
    return {source: _without(source, records, groups, settings, seed) for source in sources}


def _without(
    source: str, records: Sequence[Record], groups: Groups, settings: DataRecipe, seed: int
) -> Split:
    kept = [index for index, record in enumerate(records) if record.source != source]
    test = tuple(record.file for record in records if record.source == source)
    if settings.split == "runs":
        inner = _in_runs(records, groups, kept, replace(settings, test_fraction=0.0))
    else:
        inner = Split(*_train_and_tune(records, groups, kept, settings, seed), test=())
    return keep_apart(records, groups, replace(inner, test=test))


def _train_and_tune(
    records: Sequence[Record], groups: Groups, kept: list[int], settings: DataRecipe, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files of the indices ``kept``, divided by group; stratified."""
    folds = _folds(records, groups, kept, seed)
    tune = {index for fold in folds[: round(FOLDS * settings.tune_fraction)] for index in fold}
    train = [index for index in kept if index not in tune]
    return _files(records, train), _files(records, sorted(tune))


def _folds(
    records: Sequence[Record], groups: Groups, kept: list[int], seed: int, count: int = FOLDS
) -> list[list[int]]:
    """The indices ``kept`` in ``count`` stratified folds that no group straddles."""
    from ml.folds import QuickFolds  # scikit-learn is not loaded where nothing is split

    folds = QuickFolds(count, shuffle=True, random_state=seed)
    labels = [records[index].label for index in kept]
    with warnings.catch_warnings():
        # A class with fewer members than folds, as rare pairs of labels are, is spread as well as
        # it can be.
        warnings.filterwarnings("ignore", "The least populated class")
        parts = [part for _, part in folds.split(kept, labels, groups[kept])]
    return [[kept[place] for place in part] for part in parts]


def _in_runs(
    records: Sequence[Record], groups: Groups, kept: list[int], settings: DataRecipe
) -> Split:
    """The indices ``kept`` in runs of subjects, as ``run_split`` has it."""
    strata: dict[tuple[str, str], dict[str, list[int]]] = {}
    for index in kept:
        stratum = strata.setdefault((records[index].source, records[index].label), {})
        stratum.setdefault(records[index].subject, []).append(index)
    parts: dict[str, list[int]] = {"train": [], "tune": [], "test": [], "dropped": []}
    for (source, label), stratum in sorted(strata.items()):
        subjects = sorted(stratum, key=_natural)
        runs = _runs(len(subjects), settings)
        if len(runs) > len(subjects):
            raise ValueError(f"too few subjects to divide in runs: {source} {label}")
        for subject, part in zip(subjects, runs, strict=True):
            parts[part] += stratum[subject]
    train, tune, test, dropped = (_files(records, sorted(part)) for part in parts.values())
    return keep_apart(records, groups, Split(train, tune, test, dropped))


def _runs(count: int, settings: DataRecipe) -> list[str]:
    """The part of each of ``count`` subjects in order: train, tune, test, with gaps between.

    Longer than ``count`` when there are too few; without a test where none is asked for.
    """
    tune = max(1, round(count * settings.tune_fraction))
    later = ["dropped"] + ["tune"] * tune
    if settings.test_fraction:
        later += ["dropped"] + ["test"] * max(1, round(count * settings.test_fraction))
    return ["train"] * max(1, count - len(later)) + later


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which ``block-10`` follows ``block-9``."""
    pieces = re.split(r"(\d+)", name)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]


def _files(records: Sequence[Record], indices: Sequence[int]) -> tuple[str, ...]:
    return tuple(records[index].file for index in indices)
