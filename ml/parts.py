"""The parts of a split as a network sees them: decoded once, then served in batches."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import IterableDataset
from tqdm import tqdm

from ml.augmentation import augment, brighten, mix
from ml.datasets.manifest import Manifest, Record
from ml.metadata import MetadataSpec, encoding
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.sampling import Draw, Floats, Indices, draw, neighbours, smote

EVALUATION_BATCH = 128

Frames = npt.NDArray[np.uint8]

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
    *,
    cache: Path | None = None,
) -> Part:
    """Decode and frame ``files``; ``size_px`` as in ``PreprocessSpec.frame``.

    With ``cache``, a folder, the frames are kept there and read from there the next time. Raises
    ValueError as ``targets_of`` does.
    """
    spec, known = recipe.preprocess, encoding(recipe.metadata.encoding)
    by_file = {record.file: record for record in manifest.records}
    records = [by_file[file] for file in files]
    targets = targets_of(records, task)
    side = size_px or spec.size_px
    frames = (
        _cached_frames(manifest, files, spec, side, cache)
        if cache
        else _decode(manifest, files, spec, np.empty(_shape(files, spec, side), np.uint8))
    )
    vectors = np.empty((len(files), known.count), np.float32)
    for index, record in enumerate(records):
        vectors[index] = known.encode(record.metadata).vector
    return Part(tuple(files), torch.from_numpy(frames), targets, torch.from_numpy(vectors))


def _shape(files: Sequence[str], spec: PreprocessSpec, side: int) -> tuple[int, int, int, int]:
    return len(files), side, side, spec.channels


def _decode(manifest: Manifest, files: Sequence[str], spec: PreprocessSpec, into: Frames) -> Frames:
    for index, file in enumerate(tqdm(files, desc="decoding", unit="image")):
        into[index] = spec.frame(manifest.open_image(file), into.shape[1])
    return into


def _cached_frames(
    manifest: Manifest, files: Sequence[str], spec: PreprocessSpec, side: int, folder: Path
) -> Frames:
    """Frames mapped from a file that is named by all that decides them.

    That is the files' names, the bytes of the first, middle and last of them, the preprocessing,
    and the side. The file appears under its name only when it is whole.
    """
    samples = [files[0], files[len(files) // 2], files[-1]]
    digest = hashlib.sha256(json.dumps([list(files), asdict(spec), side]).encode())
    for file in samples:
        digest.update(manifest.read(file))
    kept = folder / f"{digest.hexdigest()[:32]}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            partial = kept.with_suffix(".partial")
            shape = _shape(files, spec, side)
            frames = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
            _decode(manifest, files, spec, frames)
            frames.flush()
            partial.replace(kept)
    return np.load(kept, mmap_mode="c")


def centre(part: Part, size_px: int) -> Part:
    """The same part with its frames cut to the centre square of ``size_px``."""
    margin = (part.frames.shape[1] - size_px) // 2
    inner = slice(margin, margin + size_px)
    return replace(part, frames=part.frames[:, inner, inner])


class TrainBatches(IterableDataset[Batch]):
    """One epoch's augmented batches, as the recipe samples them; all by (seed, epoch).

    A step of the optimizer takes ``accumulate_batches`` times ``batch_size`` pictures. They come
    in ``pieces`` batches, which several processes share out among themselves, so neither number
    changes what a step sees.
    """

    def __init__(self, part: Part, recipe: Recipe):
        self.part, self.recipe, self.epoch = part, recipe, 0
        self.metadata_spec = encoding(recipe.metadata.encoding)
        self.pieces = recipe.training.accumulate_batches
        """Batches a step, over all processes."""
        self.rank, self.ranks = 0, 1
        """Which of how many processes this is; their number divides ``pieces``."""
        targets, data = part.targets.numpy(), recipe.data
        drawn = len(draw(targets, data, np.random.default_rng(recipe.seed)).order)
        wanted = recipe.training.batch_size * recipe.training.accumulate_batches
        self.step_size = min(wanted, drawn)
        self.steps = drawn // self.step_size
        """Steps an epoch; what does not fill one waits for another epoch's order."""
        self.neighbours = (
            neighbours(part.metadata.numpy(), targets, data.smote_neighbours)
            if data.smote_neighbours
            else None
        )

    def __len__(self) -> int:
        """Batches an epoch in this process."""
        return self.steps * self.pieces // self.ranks

    def __iter__(self) -> Iterator[Batch]:
        recipe = self.recipe
        random = np.random.default_rng((recipe.seed, self.epoch))
        drawn = draw(self.part.targets.numpy(), recipe.data, random)
        metadata = self._metadata(drawn, random)
        for step in range(self.steps):
            rows = np.arange(step * self.step_size, (step + 1) * self.step_size)
            batches = np.array_split(rows, self.pieces)
            for piece in range(self.rank, self.pieces, self.ranks):
                seed = derived_seed(recipe.seed, self.epoch, step, piece)
                generator = torch.Generator().manual_seed(seed)
                yield self._batch(drawn, metadata, batches[piece], generator)

    def _metadata(self, drawn: Draw, random: np.random.Generator) -> Tensor:
        """The metadata (k, m) of a draw, the copies' moved and some fields made unknown."""
        vectors = self.part.metadata.numpy()
        if self.neighbours:
            vectors = smote(vectors, drawn, self.neighbours, random)
        else:
            vectors = vectors[drawn.order]
        share = self.recipe.metadata.field_dropout
        return torch.from_numpy(drop_fields(vectors, self.metadata_spec, share, random))

    def _batch(
        self, drawn: Draw, metadata: Tensor, rows: Indices, generator: torch.Generator
    ) -> Batch:
        recipe, part = self.recipe, self.part
        chosen = torch.from_numpy(drawn.order[rows])
        frames = part.frames[chosen]
        copies = torch.from_numpy(drawn.copies[rows])
        if recipe.data.synthetic_brightness and copies.any():
            reach = recipe.data.synthetic_brightness
            frames[copies] = brighten(frames[copies], reach, generator)
        changes = recipe.augmentation
        moved = augment(frames, recipe.preprocess.size_px, changes, generator)
        pixels = torch.from_numpy(recipe.preprocess.to_input(moved.numpy()))
        batch = pixels, metadata[rows], part.targets[chosen]
        return mix(*batch, changes, generator) if changes.mixup or changes.cutmix else batch


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
    vectors: Floats, known: MetadataSpec, share: float, random: np.random.Generator
) -> Floats:
    """Metadata (n, m) with each field made unknown for that share of the pictures."""
    for field in known.fields if share else ():
        dropped = random.random(len(vectors)) < share
        vectors = np.where(dropped[:, None], known.blank(vectors, field), vectors)
    return vectors


def derived_seed(*parts: int) -> int:
    """A seed of its own for each (seed, epoch) or (seed, epoch, batch)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
