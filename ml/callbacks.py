"""What goes on beside fitting: the table of epochs, the curves, stopping early or on request."""

import csv
import logging
import time
from pathlib import Path
from typing import Any

import ml.torchvision_shim  # noqa: F401  # isort: skip  (mends torchvision before Lightning)
from pytorch_lightning.callbacks import Callback, EarlyStopping

from ml.curves import write_curves
from ml.progress import FIGURES, Stage, report

log = logging.getLogger(__name__)


class EpochTable(Callback):
    """Writes one row an epoch to ``epochs.csv`` and draws ``curves.svg``.

    A resumed run keeps the rows before it.
    """

    COLUMNS = ("epoch", *FIGURES, "learning_rate", "seconds")

    def __init__(self, run: Path, monitor: str):
        self.path, self.chart, self.monitor = run / "epochs.csv", run / "curves.svg", monitor

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Append the row of the epoch that ends."""
        figures = trainer.callback_metrics  # for which all processes exchange what they have
        if not trainer.is_global_zero:
            return
        row = {
            "epoch": str(trainer.current_epoch),
            **{name: f"{float(figures[name]):.6f}" for name in FIGURES},
            "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.3e}",
            "seconds": f"{time.monotonic() - self.started:.1f}",
        }
        rows = [*self._rows_before(trainer.current_epoch), row]
        partial = self.path.with_suffix(".partial")  # whoever watches never meets half of it
        with partial.open("w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, self.COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.path)
        write_curves(self.chart, rows, self.monitor)
        log.info(", ".join(f"{name} {value}" for name, value in row.items()))

    def _rows_before(self, epoch: int) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as table:
            return [row for row in csv.DictReader(table) if int(row["epoch"]) < epoch]


class ProgressFile(Callback):
    """Says once a second at most how far fitting has come, and how long it will take yet."""

    SECONDS = 1.0

    def __init__(self, run: Path):
        self.run = run

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Start the clock; a resumed run begins in the middle."""
        self.started, self.said, self.first_epoch = time.monotonic(), 0.0, trainer.current_epoch
        self._say(trainer, 0)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Say it now and then."""
        if time.monotonic() - self.said >= self.SECONDS:
            self._say(trainer, index + 1)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """The end of an epoch, which is what a broken-off run goes on from, is always said."""
        self._say(trainer, trainer.num_training_batches)

    def _say(self, trainer: Any, batch: int) -> None:
        self.said = time.monotonic()
        if not trainer.is_global_zero:
            return
        epoch, epochs, batches = (
            trainer.current_epoch,
            trainer.max_epochs,
            trainer.num_training_batches,
        )
        share = batch / max(1, batches)
        done = epoch - self.first_epoch + share
        left = (self.said - self.started) / done * (epochs - epoch - share) if done else None
        report(
            self.run,
            Stage.TRAINING,
            epoch=min(epoch + 1, epochs),
            epochs=epochs,
            batch=batch,
            batches=batches,
            seconds_left=left,
        )


class Patience(EarlyStopping):
    """Ends the run when the monitored figure gets no better, also when taken up after that."""

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
        asked = trainer.strategy.reduce_boolean_decision(self.path.exists(), all=False)
        if asked:
            log.info("a stop was asked for; running the same command again goes on from here")
            trainer.should_stop = True
