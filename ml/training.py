"""Fitting a network to a split: Lightning's loop with this project's batches, schedule and logs.

A run owns one folder: ``run.json`` (recipe, split hash, package versions, code revision),
``log.txt``, ``epochs.csv``, ``curves.svg``, ``progress.json``, ``best.ckpt`` and ``last.ckpt``. A
file named ``stop`` in it ends the run after the current epoch. A run that was broken off resumes
from its last whole epoch; every epoch draws its order and its augmentation from (seed, epoch), so a
resumed run repeats what it would have done.
"""

import gc
import logging
import math
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import ml.torchvision_shim  # noqa: F401  # isort: skip  (mends torchvision before Lightning)
import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader

from ml import splits
from ml.callbacks import EpochTable, Patience, ProgressFile, StopRequest
from ml.datasets.manifest import Manifest
from ml.losses import build_loss
from ml.metadata import encoding
from ml.metrics import auc
from ml.networks import Reader, build_network, freeze
from ml.parts import Batch, EvaluationBatches, Part, TrainBatches, derived_seed
from ml.progress import FIGURES, STOP
from ml.reader import CorrectedReader
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.runs import logging_to, note, notes
from ml.schedules import build_optimizer, rate_factor
from ml.splits import Split
from ml.warm_start import bundle_of, start_from

log = logging.getLogger(__name__)

NO_NEWS = ("Checkpoint directory .* exists", "Your `IterableDataset` has", "`isinstance.treespec")
"""How Lightning's warnings begin that are none here: a run's folder holds more than checkpoints,
the batches' length is known, and its own use of torch is its own."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Machine:
    """What a run is computed on. It is no part of the recipe: a step sees the same pictures."""

    devices: int = 1
    """GPUs (processes, on a CPU) a node."""
    nodes: int = 1
    precision: str = ""
    """As Lightning names it; empty is ``bf16-mixed`` on a GPU and ``32-true`` on a CPU."""

    @property
    def ranks(self) -> int:
        """Processes that share the work."""
        return self.devices * self.nodes


def split_manifest(manifest: Manifest, recipe: Recipe) -> Split:
    """The recipe's split of a manifest; subjects and near-duplicates stay on one side."""
    return splits.split_manifest(manifest, recipe.data, recipe.seed)


class Fitting(lightning.LightningModule):
    """A ``Reader`` being fitted: loss, figures on tune, frozen parts, optimizer and schedule."""

    def __init__(self, reader: Reader, recipe: Recipe, task: ReadingTask, train: Part, tune: Part):
        super().__init__()
        # torch's annotation of `to` leaves memory_format out.
        self.reader = reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.task = recipe, task
        self.train_batches = TrainBatches(train, recipe)
        self.tune_batches = EvaluationBatches(tune, recipe.preprocess)
        self.loss = build_loss(recipe.training, train.targets, multi_label=task.multi_label)

    def train_dataloader(self) -> DataLoader[Any]:
        """Called anew for every epoch, which decides order and augmentation."""
        self.train_batches.epoch = self.current_epoch
        self.train_batches.rank = self.global_rank
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
        seeds = (self.recipe.seed, self.current_epoch, index, self.global_rank)
        torch.manual_seed(derived_seed(*seeds))
        if self.recipe.training.schedule == "plateau":
            self._warm_up()

    def _warm_up(self) -> None:
        """The learning rate up to the end of warm-up; thereafter it is the plateau's to lower."""
        settings, steps = self.recipe.training, self.train_batches.steps
        if self.global_step <= math.ceil(settings.warmup_epochs * steps):
            rate = settings.learning_rate * rate_factor(settings, steps)(self.global_step)
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = rate

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The loss of one batch, a scalar."""
        pixels, metadata, targets = batch
        loss: Tensor = self.loss(self(pixels, metadata), targets)
        count = len(targets)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=count, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Collect the answers anew."""
        self.answers: list[tuple[Tensor, Tensor]] = []

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Keep the answers: most figures are of the whole tune part, not means over batches."""
        pixels, metadata, targets = batch
        self.answers.append((self(pixels, metadata).float(), targets))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the tune part.

        Every process reads all of it; the first one's weights are those that are kept, so its
        figures count.
        """
        logits, targets = (torch.cat(part) for part in zip(*self.answers, strict=True))
        figures = self.trainer.strategy.broadcast(tune_figures(logits, targets, self.task))
        for name, value in figures.items():
            self.log(name, value, prog_bar=name == self.recipe.training.monitor, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and a schedule that resumes with more epochs, as a LambdaLR does."""
        settings = self.recipe.training
        optimizer = build_optimizer(self.reader, settings)
        if settings.schedule == "plateau":
            plateau = ReduceLROnPlateau(
                optimizer, better(settings.monitor), settings.step_factor, settings.step_epochs
            )
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": plateau, "monitor": settings.monitor},
            }
        schedule = LambdaLR(optimizer, rate_factor(settings, self.train_batches.steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def better(monitor: str) -> Literal["min", "max"]:
    """Whether less or more of a figure is better. Raises ValueError for an unknown one."""
    if monitor not in FIGURES:
        raise ValueError(f"unknown monitor {monitor}; known are {', '.join(FIGURES)}")
    return "min" if monitor == "tune_loss" else "max"


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


def fit(
    recipe: Recipe,
    task: ReadingTask,
    train: Part,
    tune: Part,
    run: Path,
    machine: Machine = Machine(),
) -> Reader:
    """Train, or resume, in the folder ``run``; returns the best network by the monitored figure.

    The network is on the CPU and in evaluation mode; in every process but the first, which alone
    writes to the folder, it is as training left it. ``train`` may carry margins beyond the
    recipe's size; ``tune`` is framed as in serving. When memory runs out, the batches are halved
    once, the steps staying as they are, and the run is taken up from its last whole epoch.
    A recipe of no epochs yields what it starts from.
    """
    if not recipe.training.epochs:
        return start(recipe, task.codes).eval()
    with logging_to(run / "log.txt"):
        reader = _attempt(recipe, task, train, tune, run, machine)
        if reader is None:
            gc.collect()
            torch.cuda.empty_cache()
            facts = {"at": datetime.now(UTC).isoformat(), "batches_a_step_times": 2}
            note(run, out_of_memory=facts)
            log.warning("out of memory: going on with half as large batches, twice as many a step")
            reader = _attempt(recipe, task, train, tune, run, machine)
        if reader is None:
            raise MemoryError("half as large batches do not fit into memory either")
    return reader


def _attempt(
    recipe: Recipe, task: ReadingTask, train: Part, tune: Part, run: Path, machine: Machine
) -> Reader | None:
    """As ``fit``; None when memory ran out."""
    try:
        return _fit(recipe, task, train, tune, run, machine)
    except (RuntimeError, MemoryError) as error:
        if machine.ranks > 1 or not is_out_of_memory(error):
            raise  # another process would wait for ever for this one's gradients
    return None


def is_first_process() -> bool:
    """Whether this is the one that writes, of the processes that trained together."""
    return getattr(rank_zero_only, "rank", 0) == 0


def is_out_of_memory(error: Exception) -> bool:
    """Whether a computation failed for want of memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate" in str(error)


def _fit(
    recipe: Recipe, task: ReadingTask, train: Part, tune: Part, run: Path, machine: Machine
) -> Reader:
    torch.manual_seed(recipe.seed)
    settings = recipe.training
    reader = start(recipe, task.codes)
    module = Fitting(reader, recipe, task, train, tune)
    batches = module.train_batches
    batches.ranks = machine.ranks
    batches.pieces = math.lcm(settings.accumulate_batches, machine.ranks)
    batches.pieces *= notes(run).get("out_of_memory", {}).get("batches_a_step_times", 1)
    trainer = _trainer(recipe, run, machine, accumulate=batches.pieces // machine.ranks)
    last = run / "last.ckpt"
    log.info("%s from %s", *(("resuming", last) if last.exists() else ("starting", settings)))
    with warnings.catch_warnings():
        for known in NO_NEWS:
            warnings.filterwarnings("ignore", known)
        trainer.fit(module, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    log.info("ended after %d epochs", trainer.current_epoch)
    if trainer.is_global_zero:
        kept = torch.load(run / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(kept)
    return reader.cpu().eval()


def _trainer(recipe: Recipe, run: Path, machine: Machine, accumulate: int) -> lightning.Trainer:
    settings, network = recipe.training, recipe.network
    monitor, mode = settings.monitor, better(settings.monitor)
    callbacks: list[Callback] = [
        ModelCheckpoint(run, "best", monitor=monitor, mode=mode, enable_version_counter=False),
        ModelCheckpoint(run, "last", enable_version_counter=False),  # of every epoch, good or not
        Patience(monitor, mode=mode, patience=settings.patience_epochs),
        EpochTable(run, monitor),
        ProgressFile(run),
        StopRequest(run / STOP),
        TQDMProgressBar(refresh_rate=10),
    ]
    if settings.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=settings.ema_decay))
    cuda = torch.cuda.is_available()
    frozen = network.frozen_blocks or network.frozen_norms
    together = "ddp_find_unused_parameters_true" if frozen else "ddp"
    return lightning.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy=together if machine.ranks > 1 else "auto",
        # Lightning names the precisions one by one; a flag is any text, which it checks itself.
        precision=machine.precision or ("bf16-mixed" if cuda else "32-true"),  # type: ignore[arg-type]
        max_epochs=settings.epochs,
        accumulate_grad_batches=accumulate,
        callbacks=callbacks,
        logger=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=run,
    )


def start(recipe: Recipe, codes: tuple[str, ...]) -> Reader:
    """The recipe's network with the weights that it starts from, to tell ``codes`` apart.

    Raises ValueError as ``build_network``, ``find_bundle`` and ``start_from`` do.
    """
    settings, spec = recipe.network, recipe.preprocess
    bundle = bundle_of(settings.init)
    known = encoding(recipe.metadata.encoding)
    reader = build_network(
        settings.name,
        len(codes),
        init="random" if bundle else settings.init,
        dropout=settings.dropout,
        drop_path=settings.drop_path,
        channels=spec.channels,
        metadata_count=known.count,
        size_px=spec.size_px,
    )
    if bundle:
        start_from(reader, bundle, codes)
    if isinstance(reader, CorrectedReader):
        reader.unknown.copy_(torch.from_numpy(known.encode({}).vector))
    return reader
