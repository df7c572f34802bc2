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
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ml.torchvision_shim  # noqa: F401  # isort: skip  (mends torchvision before Lightning)
import numpy as np
import numpy.typing as npt
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
from torch.utils.data import DataLoader

from ml.datasets.manifest import Manifest
from ml.jsonfile import write_json
from ml.losses import build_loss
from ml.metadata import encoding
from ml.metrics import auc
from ml.networks import Reader, build_network, freeze
from ml.parts import Batch, EvaluationBatches, Part, TrainBatches, derived_seed
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.splits import Split, divide, near_duplicate_groups, thumbnails
from ml.warm_start import PREFIX as BUNDLE
from ml.warm_start import find_bundle, start_from

PACKAGES = ("torch", "timm", "pytorch-lightning", "numpy", "pillow", "scikit-learn")
FITTED_BY = {field.name for field in fields(Recipe)} - {"version", "name", "gates"}
"""The parts of a recipe that decide the weights."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def split_manifest(manifest: Manifest, recipe: Recipe) -> Split:
    """The recipe's split of a manifest; subjects, or else near-duplicates, stay on one side."""
    records = manifest.records
    if all(record.subject for record in records):
        groups = np.unique([record.subject for record in records], return_inverse=True)[1]
    else:
        groups = near_duplicate_groups(thumbnails(manifest))
    return divide(records, groups, recipe.data, recipe.seed)


class Fitting(lightning.LightningModule):
    """A ``Reader`` being fitted: loss, figures on tune, frozen parts, optimizer and schedule."""

    def __init__(self, reader: Reader, recipe: Recipe, task: ReadingTask, train: Part, tune: Part):
        super().__init__()
        self.reader = reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.task = recipe, task
        self.train_batches = TrainBatches(train, recipe)
        self.tune_batches = EvaluationBatches(tune, recipe.preprocess)
        self.loss = build_loss(recipe.training, train.targets, multi_label=task.multi_label)

    def train_dataloader(self) -> DataLoader[Any]:
        """Called anew for every epoch, which decides order and augmentation."""
        self.train_batches.epoch = self.current_epoch
        return DataLoader(self.train_batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        """The tune part."""
        return DataLoader(self.tune_batches, batch_size=None)

    def forward(self, pixels: Tensor, metadata: Tensor) -> Tensor:
        """Logits (n, c) of pixels (n, channels, size, size) and metadata (n, m)."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        fed = (pixels, metadata) if metadata.shape[1] else (pixels,)
        logits: Tensor = self.reader(*fed)[0]
        return logits

    def on_train_epoch_start(self) -> None:
        """Hold still what this epoch does not teach; a resumed run finds it out anew."""
        settings = self.recipe.network
        thawed = bool(settings.unfreeze_epoch) and self.current_epoch >= settings.unfreeze_epoch
        freeze(self.reader, 0 if thawed else settings.frozen_blocks, settings.frozen_norms)

    def on_train_batch_start(self, _batch: Any, index: int) -> None:
        """Dropout, too, draws the same again when an epoch is repeated."""
        torch.manual_seed(derived_seed(self.recipe.seed, self.current_epoch, index))

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The loss of one batch, a scalar."""
        pixels, metadata, targets = batch
        loss: Tensor = self.loss(self(pixels, metadata), targets)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(targets))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Collect the answers anew."""
        self.answers: list[tuple[Tensor, Tensor]] = []

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Keep the answers: most figures are of the whole tune part, not means over batches."""
        pixels, metadata, targets = batch
        self.answers.append((self(pixels, metadata).float(), targets))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the tune part."""
        logits, targets = (torch.cat(part) for part in zip(*self.answers, strict=True))
        for name, value in tune_figures(logits, targets, self.task).items():
            shown = name == "tune_balanced_accuracy"
            self.log(name, value, prog_bar=shown)

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


def tune_figures(logits: Tensor, targets: Tensor, task: ReadingTask) -> dict[str, float]:
    """What may be monitored, of logits (n, c) and targets (n, c).

    Macro figures are means over the findings that count and for which they are defined. Where
    findings exclude each other the most probable is named and balanced accuracy is mean recall;
    else all over one half are named, and it is the mean of recall and specificity.
    """
    counted = np.array([finding.in_macro for finding in task.findings])
    scores = logits.double()
    if task.multi_label:
        loss = F.binary_cross_entropy_with_logits(scores, targets.double())
        probabilities = torch.sigmoid(scores).cpu().numpy()
        named = probabilities >= 0.5
    else:
        loss = F.cross_entropy(scores, targets.double())
        probabilities = torch.softmax(scores, dim=1).cpu().numpy()
        named = np.eye(len(counted), dtype=bool)[probabilities.argmax(axis=1)]
    shown = targets.cpu().numpy() > 0.5
    hits, absent = (named & shown).sum(axis=0), (~shown).sum(axis=0)
    recall = _ratio(hits, shown.sum(axis=0))
    specificity = _ratio((~named & ~shown).sum(axis=0), absent)
    balanced = (recall + specificity) / 2 if task.multi_label else recall
    areas = np.array([auc(p, y) for p, y in zip(probabilities.T, shown.T, strict=True)])
    f1 = _ratio(2 * hits, named.sum(axis=0) + shown.sum(axis=0))
    return {
        "tune_loss": float(loss),
        "tune_accuracy": float((named == shown).all(axis=1).mean()),
        "tune_balanced_accuracy": _mean_defined(balanced[counted]),
        "tune_auc": _mean_defined(areas[counted]),
        "tune_macro_f1": _mean_defined(f1[counted]),
    }


def _ratio(part: Counts, whole: Counts) -> Floats:
    """Part of a whole, by finding; NaN where there is none."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean_defined(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


class EpochTable(Callback):
    """Writes one row an epoch to ``epochs.csv``; a resumed run keeps the rows before it."""

    FIGURES = (
        "train_loss",
        "tune_loss",
        "tune_accuracy",
        "tune_balanced_accuracy",
        "tune_auc",
        "tune_macro_f1",
    )
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


def fit(recipe: Recipe, task: ReadingTask, train: Part, tune: Part, run: Path) -> Reader:
    """Train, or resume, in the folder ``run``; returns the best network by the monitored figure.

    The network is on the CPU and in evaluation mode. ``train`` may carry margins beyond the
    recipe's size; ``tune`` is framed as in serving.
    """
    torch.manual_seed(recipe.seed)
    settings = recipe.training
    mode = "min" if settings.monitor == "tune_loss" else "max"
    reader = start(recipe, task.codes)
    module = Fitting(reader, recipe, task, train, tune)
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


def start(recipe: Recipe, codes: tuple[str, ...]) -> Reader:
    """The recipe's network with the weights that it starts from, to tell ``codes`` apart.

    Raises ValueError as ``build_network``, ``find_bundle`` and ``start_from`` do.
    """
    settings = recipe.network
    source = settings.init.removeprefix(BUNDLE) if settings.init.startswith(BUNDLE) else ""
    reader = build_network(
        settings.name,
        len(codes),
        init="random" if source else settings.init,
        dropout=settings.dropout,
        drop_path=settings.drop_path,
        channels=recipe.preprocess.channels,
        metadata_count=encoding(recipe.metadata.encoding).count,
        size_px=recipe.preprocess.size_px,
    )
    if source:
        start_from(reader, find_bundle(source), codes)
    return reader


def open_run(run: Path, recipe: Recipe, split: Split, codes: tuple[str, ...]) -> dict[str, Any]:
    """Make the folder of a run, or find it again; returns what ``run.json`` keeps of its origin.

    A finished run may be bundled anew with another version or other gates. Raises ValueError when
    the folder holds a run that was fitted otherwise: by another recipe or split, or to findings
    ``codes`` that were others or in another order.
    """
    kept = run / "run.json"
    recipe_now = json.loads(json.dumps(recipe.to_dict()))
    if not kept.exists():
        run.mkdir(parents=True, exist_ok=True)
        write_json(kept, _provenance(recipe, split, codes))
    provenance: dict[str, Any] = json.loads(kept.read_bytes())
    fitted = json.loads(json.dumps(Recipe.from_dict(provenance["recipe"]).to_dict()))
    same_recipe = all(fitted[name] == recipe_now[name] for name in FITTED_BY)
    if not same_recipe or provenance["split_sha256"] != split.sha256:
        raise ValueError(f"{run} holds a run of another recipe or split; choose another folder")
    learnt = provenance.setdefault("findings", sorted(codes))  # runs that kept none had these
    if learnt != list(codes):
        raise ValueError(f"{run} holds a run for the findings {', '.join(learnt)}, in this order")
    return {**provenance, "recipe": recipe_now}


def _provenance(recipe: Recipe, split: Split, codes: tuple[str, ...]) -> dict[str, Any]:
    """What a run must keep to be traced: recipe, split hash, versions, code revision."""
    return {
        "recipe": recipe.to_dict(),
        "split_sha256": split.sha256,
        "findings": codes,
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
