"""The parts of a split as a network sees them: decoded once, then served in batches."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset
from tqdm import tqdm

from ml.augmentation import augment
from ml.datasets.manifest import Manifest, Record
from ml.metadata import MetadataSpec, encoding
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import Recipe

EVALUATION_BATCH = 128

Batch = tuple[Tensor, Tensor, Tensor]
"""Pixels (n, channels, size, size), metadata (n, m), targets (n, c)."""


@dataclass(frozen=True)
class Part:
    """One part of a split, decoded once."""

    files: tuple[str, ...]
    frames: Tensor
    """(n, side, side, channels) uint8."""
    targets: Tensor
    """(n, c) float32 in the order of the reading task's codes: one-hot, or 0 and 1 a finding."""
    metadata: Tensor
    """(n, m) float32 as ``ml.metadata`` encodes; m is 0 when nothing is used."""


def targets_of(records: Sequence[Record], task: ReadingTask) -> Tensor:
    """What the pictures show (n, c), by the task's codes.

    Raises ValueError when a label is no finding of the task, or when a picture shows several
    although the task's findings exclude each other.
    """
    targets = torch.zeros(len(records), len(task.codes))
    for row, record in zip(targets, records, strict=True):
        strays = set(record.labels) - set(task.codes)
        if strays or (len(record.labels) != 1 and not task.multi_label):
            raise ValueError(
                f"{record.file}: {record.label} is not of {task.code}, whose findings are "
                f"{', '.join(task.codes)}"
            )
        for label in record.labels:
            row[task.codes.index(label)] = 1
    return targets


def read_part(
    manifest: Manifest,
    files: Sequence[str],
    recipe: Recipe,
    task: ReadingTask,
    size_px: int | None = None,
) -> Part:
    """Decode and frame ``files``; ``size_px`` as in ``PreprocessSpec.frame``.

    Raises ValueError as ``targets_of`` does.
    """
    spec, known = recipe.preprocess, encoding(recipe.metadata.encoding)
    by_file = {record.file: record for record in manifest.records}
    records = [by_file[file] for file in files]
    targets = targets_of(records, task)
    side = size_px or spec.size_px
    frames = np.empty((len(files), side, side, spec.channels), np.uint8)
    for index, file in enumerate(tqdm(files, desc="decoding", unit="image")):
        frames[index] = spec.frame(manifest.open_image(file), side)
    vectors = np.empty((len(files), known.count), np.float32)
    for index, record in enumerate(records):
        vectors[index] = known.encode(record.metadata).vector
    return Part(tuple(files), torch.from_numpy(frames), targets, torch.from_numpy(vectors))


def centre(part: Part, size_px: int) -> Part:
    """The same part with its frames cut to the centre square of ``size_px``."""
    margin = (part.frames.shape[1] - size_px) // 2
    inner = slice(margin, margin + size_px)
    return replace(part, frames=part.frames[:, inner, inner])


class TrainBatches(IterableDataset[Batch]):
    """Shuffled, augmented batches of one epoch, some of whose metadata are made unknown."""

    def __init__(self, part: Part, recipe: Recipe):
        self.part, self.recipe, self.epoch = part, recipe, 0
        self.batch_size = min(recipe.training.batch_size, len(part.files))

    def __len__(self) -> int:
        """Batches an epoch; what does not fill a batch waits for another epoch's order."""
        return len(self.part.files) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        recipe, part = self.recipe, self.part
        random = np.random.default_rng((recipe.seed, self.epoch))
        order = random.permutation(len(part.files))
        known = encoding(recipe.metadata.encoding)
        metadata = drop_fields(part.metadata, known, recipe.metadata.field_dropout, random)
        generator = torch.Generator().manual_seed(derived_seed(recipe.seed, self.epoch))
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = torch.from_numpy(order[start : start + self.batch_size])
            moved = augment(
                part.frames[chosen], recipe.preprocess.size_px, recipe.augmentation, generator
            )
            pixels = torch.from_numpy(recipe.preprocess.to_input(moved.numpy()))
            yield pixels, metadata[chosen], part.targets[chosen]


class EvaluationBatches(IterableDataset[Batch]):
    """Batches of a part in its own order, framed exactly as in serving."""

    def __init__(self, part: Part, spec: PreprocessSpec):
        self.part, self.spec = part, spec

    def __len__(self) -> int:
        return math.ceil(len(self.part.files) / EVALUATION_BATCH)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.part.files), EVALUATION_BATCH):
            chosen = slice(start, start + EVALUATION_BATCH)
            pixels = self.spec.to_input(self.part.frames[chosen].numpy())
            yield torch.from_numpy(pixels), self.part.metadata[chosen], self.part.targets[chosen]


def drop_fields(
    metadata: Tensor, known: MetadataSpec, share: float, random: np.random.Generator
) -> Tensor:
    """Metadata (n, m) with each field made unknown for that share of the pictures."""
    vectors = metadata.numpy()
    for field in known.fields if share else ():
        dropped = random.random(len(vectors)) < share
        vectors = np.where(dropped[:, None], known.blank(vectors, field), vectors)
    return torch.from_numpy(vectors)


def derived_seed(*parts: int) -> int:
    """A seed of its own for each (seed, epoch) or (seed, epoch, batch)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
