"""What to train: a typed, frozen recipe. A TOML file overrides the defaults below.

A recipe is data: it is stored beside every run and inside every bundle, so that a result can be
traced to the exact settings that made it.
"""

import json
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from ml.preprocess import PreprocessSpec

T = TypeVar("T")


class RecipeError(ValueError):
    """A recipe file names an unknown key, or gives a value of the wrong kind."""


@dataclass(frozen=True)
class DataRecipe:
    """How a data set is divided, and how often each picture of the training part is shown."""

    split: str = "locked"
    """``locked`` (the published ``val`` is the test), ``subjects`` (divided here by subject),
    ``runs`` (by contiguous runs of subjects, for slices whose neighbours may be one patient) or
    ``published`` (``val`` tunes, ``test`` tests)."""
    tune_fraction: float = 0.15
    """Share of what is not test (``locked``) or of everything (``subjects``, ``runs``)."""
    test_fraction: float = 0.2
    """Share of everything; the published test of ``locked`` has its own size."""
    sampling: str = "natural"
    """``natural``, ``weighted`` (each class drawn equally often), ``oversample`` or ``undersample``
    (to ``samples_per_class``). Always after the split and of the training part alone."""
    leave_out: tuple[str, ...] = ()
    """Labels of the data that are no finding of the reading task: pictures that show one are taken
    out before the data are divided."""
    samples_per_class: int = 0
    """What over- and undersampling aim at; zero is the largest or the smallest class."""
    synthetic_brightness: float = 0.0
    """Copies that oversampling adds are made this much brighter or darker, at most."""
    smote_neighbours: int = 0
    """Above zero, oversampled metadata are interpolated between so many neighbours (SMOTE)."""


@dataclass(frozen=True)
class NetworkRecipe:
    """Which network is trained, and what it starts from."""

    name: str = "efficientnet-lite0"
    init: str = "imagenet"
    """``imagenet`` (packaged weights), ``random``, or ``bundle:<sha256 or folder>``."""
    dropout: float = 0.2
    drop_path: float = 0.0
    frozen_blocks: int = 0
    """So many leading blocks of the backbone keep their weights; -1 freezes all of it."""
    frozen_norms: bool = False
    """Norm layers keep their weights in every block."""
    unfreeze_epoch: int = 0
    """From this epoch on frozen blocks learn too; zero leaves them frozen."""


@dataclass(frozen=True)
class MetadataRecipe:
    """What is known of the patient, and how it reaches the network."""

    encoding: str = "none"
    """A name that ``ml.metadata`` knows; ``none`` feeds pixels alone."""
    field_dropout: float = 0.0
    """Share of the training pictures for which each field is made unknown, drawn by field."""


@dataclass(frozen=True)
class AugmentationRecipe:
    """How far training pictures are moved and tinted. Zero switches an effect off."""

    any_orientation: bool = False
    """Mirror and turn by quarter turns; only where the picture has no up."""
    horizontal_flip: bool = False
    vertical_flip: bool = False
    shift_px: float = 0.0
    rotation_degrees: float = 0.0
    zoom: float = 0.0
    """Scale drawn from ``1 - zoom`` to ``1 + zoom``."""
    crop_area_from: float = 0.0
    """Above zero, a random part of the picture of at least this share of its area is cut out and
    resized (torchvision's RandomResizedCrop), in place of shift, rotation and zoom's scale."""
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    tint: float = 0.0
    """Gain of each colour channel drawn from ``1 - tint`` to ``1 + tint``."""
    erasing: float = 0.0
    """Share of the pictures of which a rectangle is blanked."""
    randaugment_magnitude: int = 0
    """Two random operations of this strength, 0 to 30 (Cubuk et al. 2020)."""
    mixup: float = 0.0
    """Parameter of the beta distribution that pairs are mixed by (Zhang et al. 2018)."""
    cutmix: float = 0.0
    """The same for pasted rectangles (Yun et al. 2019)."""


@dataclass(frozen=True)
class TrainingRecipe:
    """How the weights are fitted."""

    epochs: int = 10
    """None fits nothing: what the network starts from is calibrated and bundled anew."""
    batch_size: int = 64
    accumulate_batches: int = 1
    """Batches whose gradients are summed before a step."""
    optimizer: str = "adamw"
    """``adam``, ``adamw``, ``radam`` or ``sgd``."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    schedule: str = "cosine"
    """``cosine`` (to zero), ``constant``, ``step`` or ``plateau``."""
    warmup_epochs: float = 1.0
    step_epochs: int = 5
    """Epochs between the steps of ``step``, or without gain before ``plateau`` takes one."""
    step_factor: float = 0.1
    loss: str = "cross_entropy"
    """``cross_entropy`` or ``focal`` (Lin et al. 2017), of one finding or of each by itself."""
    focal_gamma: float = 2.0
    class_weights: str = "none"
    """``none``, ``balanced`` (inverse frequency) or ``sqrt`` (its root); they average to 1."""
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    """Decay a step of the averaged weights that are evaluated and kept; zero keeps the last."""
    monitor: str = "tune_loss"
    """What decides which epoch is kept: ``tune_loss``, ``tune_balanced_accuracy``, ``tune_auc`` or
    ``tune_macro_f1``."""
    patience_epochs: int = 5
    """Stop when ``monitor`` has not improved for so many epochs."""


@dataclass(frozen=True)
class GateRecipe:
    """What the thresholds, which are set on the tune part, aim at."""

    accuracy: float = 0.995
    """Abstain on unsure answers until those that remain reach this accuracy ..."""
    coverage: float = 0.95
    """... but answer at least this share of the pictures."""
    sensitivity: float = 0.95
    """Each finding's operating point finds at least this share of it; it is never over a half."""
    operating: str = "sensitivity"
    """``sensitivity``, or ``f1``: each finding's operating point has the highest F1 instead."""
    conformal_coverage: float = 0.9
    """The set of findings that is given beside the answer holds the truth this often."""
    decision: str = "most_probable"
    """``most_probable``, or ``balanced``: the finding whose probability stands out most from its
    share of the training pictures, so that rare ones are named as readily as common ones."""
    refused_own: float = 0.005
    """Share of the tune pictures that may be refused as unfamiliar."""
    margin: float = 1.0
    """How far the limits of what is unfamiliar lie from the middle of the tune pictures, in times
    of where that share would put them; over 1 where few subjects stand for all that may come."""
    directions: int = 128
    """Principal directions outside which a picture's features are foreign."""
    short_side_below_px: int = 64
    contrast_below: float = 5.0
    """Standard deviation of grey values of 0 to 255 under which a picture is blank."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run does, its data apart."""

    reading_task: str
    version: str
    name: str = ""
    """Names the bundle's folder; empty is the reading task's code."""
    serves: bool = True
    """Whether the bundle may serve its reading task where none does yet, or is one to compare."""
    seed: int = 0
    data: DataRecipe = field(default_factory=DataRecipe)
    preprocess: PreprocessSpec = field(default_factory=PreprocessSpec)
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    metadata: MetadataRecipe = field(default_factory=MetadataRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    gates: GateRecipe = field(default_factory=GateRecipe)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a TOML file, or a JSON file of the same tables.

        Raises RecipeError for an unknown key or a value of the wrong kind.
        """
        read = json.loads if path.suffix == ".json" else tomllib.loads
        return cls.from_dict(read(path.read_text(encoding="utf-8")))

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Self:
        """The recipe of a parsed TOML or JSON table; the inverse of ``to_dict``."""
        return typed_from_dict(cls, table)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, fit for JSON."""
        return asdict(self)


def typed_from_dict(kind: type[T], table: dict[str, Any], where: str = "recipe") -> T:
    """Build the dataclass ``kind`` from plain values, refusing what it does not know.

    Raises RecipeError naming the place, the key and what would have been right.
    """
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]  # T is a dataclass
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise RecipeError(
            f"{where}: unknown key {', '.join(unknown)}; known keys are {', '.join(known)}"
        )
    values = {
        name: _typed(known[name].type, value, f"{where}.{name}") for name, value in table.items()
    }
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {error}") from error


def _typed(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise RecipeError(f"{where}: expected a table, got {value!r}")
        return typed_from_dict(kind, value, where)  # type: ignore[arg-type]  # checked above
    if kind is float and type(value) is int:
        return float(value)
    if kind in (str, int, float, bool):
        if type(value) is not kind:
            raise RecipeError(f"{where}: expected {kind.__name__}, got {value!r}")
        return value
    return tuple(value) if isinstance(value, list) else value
