"""Fitting a network to a split: Lightning's loop with this project's batches, schedule and logs.

A run owns one folder: ``run.json`` (recipe, split hash, package versions, code revision),
``epochs.csv``, ``best.ckpt`` and ``last.ckpt``. A file named ``stop`` in it ends the run after the
current epoch. A run that was broken off resumes from its last whole epoch; every epoch draws its
order and its augmentation from (seed, epoch), so a resumed run repeats what it would have done.
"""

import csv
import json
import math
import platform
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ml.torchvision_shim  # noqa: F401  # isort: skip  (mends torchvision before Lightning)
import numpy as np
import pytorch_lightning as lightning
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from timm.optim import param_groups_weight_decay
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from ml.augmentation import augment
from ml.datasets.manifest import Manifest
from ml.jsonfile import write_json
from ml.metrics import macro_auc
from ml.networks import Reader, build_network
from ml.preprocess import PreprocessSpec
from ml.recipe import AugmentationRecipe, Recipe
from ml.splits import Split, divide, near_duplicate_groups, thumbnails

PACKAGES = ("torch", "timm", "pytorch-lightning", "numpy", "pillow", "scikit-learn")
EVALUATION_BATCH = 128
CLASS_WEIGHTS = {"balanced": 1.0, "sqrt": 0.5}
"""The power of its inverse frequency by which a class counts."""
FITTED_BY = {field.name for field in fields(Recipe)} - {"version", "name", "gates"}
"""The parts of a recipe that decide the weights."""


@dataclass(frozen=True)
class Part:
    """One part of a split, decoded once: frames (n, side, side, 3) uint8 and labels (n,)."""

    files: tuple[str, ...]
    frames: Tensor
    labels: Tensor


def split_manifest(manifest: Manifest, recipe: Recipe) -> Split:
    """The recipe's split of a manifest; subjects, or else near-duplicates, stay on one side."""
    records = manifest.records
    if all(record.subject for record in records):
        groups = np.unique([record.subject for record in records], return_inverse=True)[1]
    else:
        groups = near_duplicate_groups(thumbnails(manifest))
    return divide(records, groups, recipe.data, recipe.seed)


def read_part(
    manifest: Manifest, files: tuple[str, ...], spec: PreprocessSpec, size_px: int | None = None
) -> Part:
    """Decode and frame ``files``; ``size_px`` as in ``PreprocessSpec.frame``."""
    labels = {record.file: manifest.labels.index(record.label) for record in manifest.records}
    side = size_px or spec.size_px
    frames = np.empty((len(files), side, side, 3), np.uint8)
    for index, file in enumerate(tqdm(files, desc="decoding", unit="image")):
        frames[index] = spec.frame(manifest.open_image(file), side)
    return Part(files, torch.from_numpy(frames), torch.tensor([labels[file] for file in files]))


def centre(part: Part, size_px: int) -> Part:
    """The same part with its frames cut to the centre square of ``size_px``."""
    margin = (part.frames.shape[1] - size_px) // 2
    inner = slice(margin, margin + size_px)
    return Part(part.files, part.frames[:, inner, inner], part.labels)


class TrainBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Shuffled, augmented batches of one epoch: pixels (n, 3, size, size) and labels (n,)."""

    def __init__(
        self,
        part: Part,
        spec: PreprocessSpec,
        augmentation: AugmentationRecipe,
        batch_size: int,
        seed: int,
    ):
        self.part, self.spec, self.augmentation = part, spec, augmentation
        self.batch_size, self.seed, self.epoch = min(batch_size, len(part.files)), seed, 0

    def __len__(self) -> int:
        """Batches an epoch; what does not fill a batch waits for another epoch's order."""
        return len(self.part.files) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.part.files))
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = torch.from_numpy(order[start : start + self.batch_size])
            frames = self.part.frames[chosen]
            moved = augment(frames, self.spec.size_px, self.augmentation, generator)
            yield torch.from_numpy(self.spec.to_input(moved.numpy())), self.part.labels[chosen]


class EvaluationBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches of a part in its own order, framed exactly as in serving."""

    def __init__(self, part: Part, spec: PreprocessSpec):
        self.part, self.spec = part, spec

    def __len__(self) -> int:
        return math.ceil(len(self.part.files) / EVALUATION_BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.part.files), EVALUATION_BATCH):
            chosen = slice(start, start + EVALUATION_BATCH)
            pixels = self.spec.to_input(self.part.frames[chosen].numpy())
            yield torch.from_numpy(pixels), self.part.labels[chosen]


def derived_seed(*parts: int) -> int:
    """A seed of its own for each (seed, epoch) or (seed, epoch, batch)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def class_weights(counts: Tensor, kind: str) -> Tensor | None:
    """What each class counts in the loss (c,), by its number of training pictures (c,).

    ``balanced`` is the inverse frequency, ``sqrt`` its root; they average to 1 over the pictures.
    Raises ValueError for an unknown kind.
    """
    if kind == "none":
        return None
    if kind not in CLASS_WEIGHTS:
        raise ValueError(f"unknown class weights {kind}; known are none, balanced, sqrt")
    frequency = counts / counts.sum()
    weights = frequency.clamp(min=1e-6) ** -CLASS_WEIGHTS[kind]
    return weights / (weights * frequency).sum()


class Fitting(lightning.LightningModule):
    """Cross-entropy on a ``Reader``, AdamW, linear warm-up and a cosine down to zero."""

    def __init__(
        self, reader: Reader, recipe: Recipe, train: TrainBatches, tune: EvaluationBatches
    ):
        super().__init__()
        self.reader = reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.train_batches, self.tune_batches = recipe, train, tune
        counts = torch.bincount(train.part.labels, minlength=reader.head.out_features)
        self.class_weights: Tensor | None
        weights = class_weights(counts, recipe.training.class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def train_dataloader(self) -> DataLoader[Any]:
        """Called anew for every epoch, which decides order and augmentation."""
        self.train_batches.epoch = self.current_epoch
        return DataLoader(self.train_batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        """The tune part."""
        return DataLoader(self.tune_batches, batch_size=None)

    def on_train_batch_start(self, _batch: Any, index: int) -> None:
        """Dropout, too, draws the same again when an epoch is repeated."""
        torch.manual_seed(derived_seed(self.recipe.seed, self.current_epoch, index))

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """The loss of one batch, a scalar."""
        pixels, labels = batch
        logits, _ = self.reader(pixels.contiguous(memory_format=torch.channels_last))
        smoothing = self.recipe.training.label_smoothing
        loss = F.cross_entropy(logits, labels, self.class_weights, label_smoothing=smoothing)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        """Log loss and accuracy on the tune part."""
        pixels, labels = batch
        logits, _ = self.reader(pixels.contiguous(memory_format=torch.channels_last))
        correct = (logits.argmax(dim=1) == labels).float().mean()
        self.log("tune_loss", F.cross_entropy(logits, labels), batch_size=len(labels))
        self.log("tune_accuracy", correct, batch_size=len(labels), prog_bar=True)
        self.answers.append((logits, labels))

    def on_validation_epoch_start(self) -> None:
        """Collect the answers anew."""
        self.answers: list[tuple[Tensor, Tensor]] = []

    def on_validation_epoch_end(self) -> None:
        """Log what is a figure of the whole tune part, not a mean over its batches."""
        logits, labels = (torch.cat(part) for part in zip(*self.answers, strict=True))
        found = (logits.argmax(dim=1) == labels).float()
        recalls = [found[labels == label].mean() for label in labels.unique()]
        self.log("tune_balanced_accuracy", torch.stack(recalls).mean(), prog_bar=True)
        scores = torch.softmax(logits.double(), dim=1).cpu().numpy()
        self.log("tune_auc", macro_auc(scores, labels.cpu().numpy()))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay on biases and norms; a LambdaLR, which resumes with more epochs."""
        settings = self.recipe.training
        groups = param_groups_weight_decay(self.reader, settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        warmup = settings.warmup_epochs * len(self.train_batches)
        total = settings.epochs * len(self.train_batches)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class EpochTable(Callback):
    """Writes one row an epoch to ``epochs.csv``; a resumed run keeps the rows before it."""

    FIGURES = ("train_loss", "tune_loss", "tune_accuracy", "tune_balanced_accuracy", "tune_auc")
    COLUMNS = ("epoch", *FIGURES, "learning_rate", "seconds")

    def __init__(self, path: Path):
        self.path = path

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Append the row of the epoch that ends."""
        kept = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as table:
                rows = list(csv.DictReader(table))
            kept = [row for row in rows if int(row["epoch"]) < trainer.current_epoch]
        figures = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch,
            **{name: f"{float(figures[name]):.6f}" for name in self.FIGURES},
            "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.3e}",
            "seconds": f"{time.monotonic() - self.started:.1f}",
        }
        with self.path.open("w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, self.COLUMNS)
            writer.writeheader()
            writer.writerows([*kept, row])


class Patience(EarlyStopping):
    """Ends the run when the tune loss gets no better, also when it is taken up after that."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Without this, starting a run again that had ended would train one epoch more."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class StopRequest(Callback):
    """Ends the run after a whole epoch once the run's folder holds a file named ``stop``."""

    def __init__(self, path: Path):
        self.path = path

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Look for the file; a stop in mid-epoch could not be resumed exactly."""
        if self.path.exists():
            trainer.should_stop = True


def fit(recipe: Recipe, train: Part, tune: Part, labels: tuple[str, ...], run: Path) -> Reader:
    """Train, or resume, in the folder ``run``; returns the best network by tune loss, on the CPU.

    ``train`` may carry margins beyond the recipe's size; ``tune`` is framed as in serving.
    """
    torch.manual_seed(recipe.seed)
    settings = recipe.training
    reader = build_network(
        recipe.network.name,
        len(labels),
        init=recipe.network.init,
        dropout=recipe.network.dropout,
        drop_path=recipe.network.drop_path,
    )
    batches = TrainBatches(
        train, recipe.preprocess, recipe.augmentation, settings.batch_size, recipe.seed
    )
    mode = "min" if settings.monitor == "tune_loss" else "max"
    module = Fitting(reader, recipe, batches, EvaluationBatches(tune, recipe.preprocess))
    callbacks: list[Callback] = [
        ModelCheckpoint(
            run, "best", monitor=settings.monitor, mode=mode, enable_version_counter=False
        ),
        ModelCheckpoint(run, "last", enable_version_counter=False),  # of every epoch, good or not
        Patience(settings.monitor, mode=mode, patience=settings.patience_epochs),
        EpochTable(run / "epochs.csv"),
        StopRequest(run / "stop"),
        TQDMProgressBar(refresh_rate=10),
    ]
    if settings.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=settings.ema_decay))
    cuda = torch.cuda.is_available()
    trainer = lightning.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=1,
        precision="bf16-mixed" if cuda else "32-true",
        max_epochs=settings.epochs,
        callbacks=callbacks,
        logger=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=run,
    )
    last = run / "last.ckpt"
    trainer.fit(module, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    kept = torch.load(run / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(kept)
    return reader.cpu().eval()


def open_run(run: Path, recipe: Recipe, split: Split) -> dict[str, Any]:
    """Make the folder of a run, or find it again; returns what ``run.json`` keeps of its origin.

    A finished run may be bundled anew with another version or other gates. Raises ValueError when
    the folder holds a run that was fitted otherwise: by another recipe or split.
    """
    kept = run / "run.json"
    recipe_now = json.loads(json.dumps(recipe.to_dict()))
    if not kept.exists():
        run.mkdir(parents=True, exist_ok=True)
        write_json(kept, _provenance(recipe, split))
    provenance: dict[str, Any] = json.loads(kept.read_bytes())
    fitted = json.loads(json.dumps(Recipe.from_dict(provenance["recipe"]).to_dict()))
    same_recipe = all(fitted[name] == recipe_now[name] for name in FITTED_BY)
    if not same_recipe or provenance["split_sha256"] != split.sha256:
        raise ValueError(f"{run} holds a run of another recipe or split; choose another folder")
    return {**provenance, "recipe": recipe_now}


def _provenance(recipe: Recipe, split: Split) -> dict[str, Any]:
    """What a run must keep to be traced: recipe, split hash, versions, code revision."""
    return {
        "recipe": recipe.to_dict(),
        "split_sha256": split.sha256,
        "images": {
            "train": len(split.train),
            "tune": len(split.tune),
            "test": len(split.test),
            "dropped": len(split.dropped),
        },
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "code_revision": code_revision(),
    }


def code_revision() -> str:
    """The commit this code is at, ``-modified`` when changed since; ``unknown`` outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-modified"]
    answer = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"
