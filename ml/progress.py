"""What a run says to whoever watches it: ``progress.json`` in its folder, and its exit status.

The file is replaced as a whole, so that a reader never meets half of it.
"""

import enum
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml.jsonfile import write_json

FILE = "progress.json"
STOP = "stop"
"""A file of this name in a run's folder asks it to end after the epoch that it is at."""
FIGURES = (
    "train_loss",
    "tune_loss",
    "tune_accuracy",
    "tune_balanced_accuracy",
    "tune_auc",
    "tune_macro_f1",
)
"""Of each epoch, as ``epochs.csv`` has them."""


class Stage(enum.StrEnum):
    """What a run is at."""

    READING = "reading"
    """Pictures are decoded, once for all epochs."""
    TRAINING = "training"
    BUNDLING = "bundling"
    """What was learnt is calibrated, tested and made into a bundle."""
    FINISHED = "finished"


class Ending(enum.IntEnum):
    """Exit statuses of ``ml.train`` beside success and the 1 of an unforeseen error."""

    REFUSED = 3
    """The recipe, the data or the run's folder do not go together."""
    OUT_OF_MEMORY = 4
    DISK_FULL = 5


def report(run: Path, stage: Stage, **facts: Any) -> None:
    """Say what the run in this folder is at.

    While it trains, ``facts`` are ``epoch`` (from 1), ``epochs``, ``batch``, ``batches`` and
    ``seconds_left``, which counts the epochs that patience may spare.
    """
    partial = run / f".{FILE}.{os.getpid()}"
    write_json(partial, {"stage": stage, **facts, "at": datetime.now(UTC).isoformat()})
    partial.replace(run / FILE)
