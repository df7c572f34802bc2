"""What to train: a typed, frozen recipe. A TOML file overrides the defaults below.

A recipe is data: it is stored beside every run and inside every bundle, so that a result can be
traced to the exact settings that made it.
"""

import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from ml.preprocess import PreprocessSpec

T = TypeVar("T")


class RecipeError(ValueError):
    """A recipe file names an unknown key, or gives a value of the wrong kind."""


@dataclass(frozen=True)
class NetworkRecipe:
    """Which network is trained, and what it starts from."""

    name: str = "efficientnet-lite0"
    init: str = "imagenet"
    """``imagenet`` (packaged weights) or ``random``."""
    dropout: float = 0.2
    drop_path: float = 0.0


@dataclass(frozen=True)
class AugmentationRecipe:
    """How far training pictures are moved and tinted. Zero switches an effect off."""

    any_orientation: bool = False
    """Mirror and turn by quarter turns; only where the picture has no up."""
    shift_px: float = 0.0
    rotation_degrees: float = 0.0
    zoom: float = 0.0
    """Scale drawn from ``1 - zoom`` to ``1 + zoom``."""
    brightness: float = 0.0
    contrast: float = 0.0
    tint: float = 0.0
    """Gain of each colour channel drawn from ``1 - tint`` to ``1 + tint``."""


@dataclass(frozen=True)
class TrainingRecipe:
    """How the weights are fitted."""

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    """Decay a step of the averaged weights that are evaluated and kept; zero keeps the last."""
    patience_epochs: int = 5
    """Stop when the tune loss has not improved for so many epochs."""


@dataclass(frozen=True)
class GateRecipe:
    """What the thresholds, which are set on the tune part, aim at."""

    accuracy: float = 0.995
    """Abstain on unsure answers until those that remain reach this accuracy ..."""
    coverage: float = 0.95
    """... but answer at least this share of the pictures."""
    sensitivity: float = 0.95
    """Each finding's operating point finds this share of it."""
    refused_own: float = 0.005
    """Share of the tune pictures that may be refused as unfamiliar."""
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
    seed: int = 0
    tune_fraction: float = 0.15
    preprocess: PreprocessSpec = field(default_factory=PreprocessSpec)
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    gates: GateRecipe = field(default_factory=GateRecipe)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a TOML file. Raises RecipeError for an unknown key or a value of the wrong kind."""
        return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))

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
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
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
        return typed_from_dict(kind, value, where)  # type: ignore[arg-type]
    if kind is float and type(value) is int:
        return float(value)
    if kind in (str, int, float, bool):
        if type(value) is not kind:
            raise RecipeError(f"{where}: expected {kind.__name__}, got {value!r}")
        return value
    return tuple(value) if isinstance(value, list) else value
