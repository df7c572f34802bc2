"""Every family of networks goes the whole way, small: it learns, resumes, is exported, serves.

One thread each: run with ``-n 2`` this takes both of two cores (``make recipes-smoke``).
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ml import bundle as bundles
from ml.engines import OnnxEngine, write_onnx
from ml.losses import build_loss
from ml.metadata import encoding
from ml.networks import FAMILIES, NETWORKS, Reader
from ml.parts import Part, TrainBatches
from ml.predictor import Predictor
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import DataRecipe, MetadataRecipe, NetworkRecipe, Recipe, TrainingRecipe
from ml.schedules import build_optimizer, rate_factor
from ml.training import better, fit, start
from tests.unit.ml.factories import parts_of_bundle, reading_task

RECIPES = sorted((Path(__file__).parents[3] / "ml" / "recipes").glob("*.toml"))
RATES = {
    "basic-cnn-fusion": 4e-3,
    "breast-cnn": 4e-3,
    "efficientnet": 3e-4,
    "mvitv2": 3e-4,
    "plain-cnn": 4e-3,
    "vgg": 1e-4,
}
"""Learning rates at which a family learns in so few steps; of the others it is 1e-3."""
LARGE = ("convnext", "mvitv2", "resnetv2", "vgg")
"""Families that learn as well from eight pictures a step, and take long over sixteen."""
SIZE_PX = 64
STEPS = 12
"""Of an epoch; two are trained."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two processes with two threads each would stand in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_recipe(family: str) -> Recipe:
    """A few steps of eight or sixteen pictures, by the family's smallest network."""
    name = FAMILIES[family][0]
    batch_size = 8 if family in LARGE else 16
    return Recipe(
        "test",
        "1",
        data=DataRecipe(sampling="oversample", samples_per_class=STEPS * batch_size // 2),
        preprocess=PreprocessSpec(SIZE_PX, SIZE_PX),
        network=NetworkRecipe(name, "random", dropout=0.0),
        metadata=MetadataRecipe("ham-19" if NETWORKS[name].reads_metadata else "none"),
        training=TrainingRecipe(
            epochs=2,
            batch_size=batch_size,
            learning_rate=RATES.get(family, 1e-3),
            weight_decay=0.0,
            warmup_epochs=0.5,
        ),
    )


def sixteen(recipe: Recipe) -> Part:
    """Noisy pictures, half of them reddish and half bluish."""
    labels = torch.arange(16) % 2
    colours = torch.tensor([[190, 90, 90], [90, 90, 190]])[labels]
    shape = (16, SIZE_PX, SIZE_PX, 3)
    noise = torch.randint(-20, 20, shape, generator=torch.Generator().manual_seed(0))
    frames = (colours[:, None, None] + noise).to(torch.uint8)
    known = encoding(recipe.metadata.encoding).encode({"age": 50}).vector
    metadata = torch.from_numpy(np.repeat(known[None], 16, axis=0))
    return Part(tuple(map(str, range(16))), frames, torch.eye(2)[labels], metadata)


def answers(reader: Reader, part: Part, recipe: Recipe) -> torch.Tensor:
    """Logits of all pictures of a part."""
    pixels = torch.from_numpy(recipe.preprocess.to_input(part.frames.numpy()))
    fed = (pixels, part.metadata) if reader.metadata_count else (pixels,)
    with torch.no_grad():
        logits: torch.Tensor = reader(*fed)[0]
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_learns_resumes_is_exported_and_serves(family: str, tmp_path: Path) -> None:
    recipe, task = small_recipe(family), reading_task("reddish", "bluish")
    part, run = sixteen(recipe), tmp_path / "run"
    run.mkdir()
    torch.manual_seed(recipe.seed)
    untrained = start(recipe, task.codes).train()
    before = float(F.cross_entropy(answers(untrained, part, recipe), part.targets))
    del untrained

    (run / "stop").touch()
    fit(recipe, task, part, part, run)
    assert [row["epoch"] for row in rows(run)] == ["0"]
    assert {"best.ckpt", "last.ckpt"} <= {file.name for file in run.iterdir()}
    (run / "stop").unlink()
    reader = fit(recipe, task, part, part, run)
    assert [row["epoch"] for row in rows(run)] == ["0", "1"]
    assert float(rows(run)[1]["train_loss"]) < before / 2

    spec, name = recipe.preprocess, recipe.network.name
    known = recipe.metadata.encoding
    facts, tensors = parts_of_bundle(reader, name, task, spec, encoding=known)
    bundle = bundles.save(tmp_path / "bundle", facts, tensors)
    write_onnx(bundle, tmp_path / "network.onnx")
    predictor = Predictor(bundle, OnnxEngine(tmp_path / "network.onnx", threads=1))
    images = [Image.fromarray(frame.numpy()) for frame in part.frames[:2]]
    served = predictor.predict(images, [{"age": 50}] * 2)
    expected = torch.softmax(answers(reader, part, recipe)[:2], dim=1)
    for answer, probabilities in zip(served, expected.tolist(), strict=True):
        assert not answer.abstained
        assert list(answer.probabilities.values()) == pytest.approx(probabilities, abs=0.02)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "epochs.csv").open(newline="") as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_batches_a_loss_and_a_schedule(path: Path) -> None:
    """All that a recipe names exists and goes together, at 64 px."""
    recipe = Recipe.load(path)
    task = ReadingTask.named(recipe.reading_task)
    spec = replace(recipe.preprocess, native_short_side_px=SIZE_PX, size_px=SIZE_PX)
    per_class = min(recipe.data.samples_per_class, 12)
    small = replace(recipe, preprocess=spec, data=replace(recipe.data, samples_per_class=per_class))
    count, classes = 8 * len(task.codes), len(task.codes)
    random = torch.Generator().manual_seed(0)
    shape = (count, SIZE_PX + 8, SIZE_PX + 8, spec.channels)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
    known = encoding(recipe.metadata.encoding)
    vector = torch.from_numpy(known.encode({}).vector)
    targets = torch.eye(classes)[torch.arange(count) % classes]
    part = Part(tuple(map(str, range(count))), frames, targets, vector.repeat(count, 1))
    batches = TrainBatches(part, small)
    pixels, metadata, shown = next(iter(batches))
    assert pixels.shape[1:] == (spec.channels, SIZE_PX, SIZE_PX)
    assert pixels.isfinite().all()
    assert metadata.shape == (len(pixels), known.count)
    loss = build_loss(recipe.training, targets, multi_label=task.multi_label)
    assert math.isfinite(float(loss(torch.zeros_like(shown), shown)))
    build_optimizer(torch.nn.Linear(2, 2), recipe.training)
    factor = rate_factor(recipe.training, batches.steps)
    assert 0 < factor(batches.steps) <= 1
    assert better(recipe.training.monitor) in ("min", "max")


def noisy(random: np.random.Generator, per_class: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of eight colours in heavy noise, and what they are."""
    labels = np.arange(8 * per_class) % 8
    signs = np.stack([(labels >> bit & 1) * 2 - 1 for bit in range(3)], axis=1)
    pixels = random.normal(128, 40, (len(labels), 16, 16, 3)) + 50 * signs[:, None, None]
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), torch.from_numpy(labels)


@pytest.mark.parametrize("permuted", [False, True])
def test_permuted_labels_teach_nothing_that_holds(permuted: bool, tmp_path: Path) -> None:
    """If a network trained on them did well on other pictures, the figures would be wrong.

    Each true kind gets every label equally often, so that nothing is left to be learnt but the
    pictures themselves, which the network learns by heart.
    """
    random = np.random.default_rng(0)
    (taught, labels), (asked, truth) = noisy(random, 16), noisy(random, 16)
    given = torch.arange(128) // 8 % 8 if permuted else labels
    task = reading_task(*"abcdefgh")
    recipe = Recipe(
        "test",
        "1",
        data=DataRecipe(sampling="oversample", samples_per_class=80),
        preprocess=PreprocessSpec(16, 16),
        network=NetworkRecipe("resnet10-fusion", "random", dropout=0.0),
        metadata=MetadataRecipe("ham-19"),
        training=TrainingRecipe(
            epochs=4 if permuted else 2,  # by heart takes longer
            batch_size=32,
            learning_rate=1e-3,
            weight_decay=0.0,
        ),
    )
    nothing = torch.zeros(128, 19)
    files = tuple(map(str, range(128)))
    train = Part(files, taught, torch.eye(8)[given], nothing)
    test = Part(files, asked, torch.eye(8)[truth], nothing)
    reader = fit(recipe, task, train, train, tmp_path)
    by_heart = answers(reader, train, recipe).argmax(dim=1) == given
    right = answers(reader, test, recipe).argmax(dim=1) == truth
    assert float(by_heart.float().mean()) > 0.8
    if permuted:
        assert float(right.float().mean()) < 0.25  # chance is 0.125
    else:
        assert float(right.float().mean()) > 0.9
