"""What a recipe may say, as plain data: for forms of programs that do not know ``ml``."""

import ast
import inspect
import textwrap
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args

from ml.losses import CLASS_WEIGHTS
from ml.metadata import ENCODINGS
from ml.networks import NETWORKS
from ml.preprocess import EXTRACTIONS, FRAMINGS, RESAMPLING
from ml.progress import FIGURES
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.sampling import WAYS
from ml.schedules import OPTIMIZERS, SCHEDULES

CHOICES: dict[str, tuple[str, ...]] = {
    "data.split": ("locked", "subjects", "runs", "published"),
    "data.sampling": tuple(WAYS),
    "preprocess.framing": FRAMINGS,
    "preprocess.extraction": EXTRACTIONS,
    "preprocess.interpolation": tuple(RESAMPLING),
    "network.name": tuple(sorted(NETWORKS)),
    "metadata.encoding": tuple(ENCODINGS),
    "training.optimizer": tuple(OPTIMIZERS),
    "training.schedule": SCHEDULES,
    "training.loss": ("cross_entropy", "focal"),
    "training.class_weights": ("none", *CLASS_WEIGHTS),
    "training.monitor": tuple(figure for figure in FIGURES if figure != "train_loss"),
    "gates.operating": ("sensitivity", "f1"),
    "gates.decision": ("most_probable", "balanced"),
}
"""The texts that a key takes, where it does not take any text."""


def schema(task: ReadingTask) -> list[dict[str, Any]]:
    """The tables of a recipe in order, each with its keys; without what its task finds unnatural.

    A table has ``name`` (empty for the recipe itself), ``about`` and ``keys``; a key ``name``,
    ``type`` (``int``, ``float``, ``bool``, ``str``, or ``floats`` or ``strs`` for several),
    ``default`` (None where it is needed), ``choices`` (None where any value will do) and ``about``.
    """
    parts = [part for part in fields(Recipe) if is_dataclass(part.type)]
    tables = [_table("", Recipe), *(_table(part.name, part.type) for part in parts)]
    for table in tables:
        if table["name"] == "augmentation":
            table["keys"] = [key for key in table["keys"] if key["name"] not in task.unnatural]
    return tables


def _table(name: str, kind: Any) -> dict[str, Any]:
    said = _said_of_fields(kind)
    plain = [entry for entry in fields(kind) if not is_dataclass(entry.type)]
    return {
        "name": name,
        "about": _one_line(kind.__doc__),
        "keys": [_key(name, entry, said.get(entry.name, "")) for entry in plain],
    }


def _key(table: str, entry: Field[Any], about: str) -> dict[str, Any]:
    default = None if entry.default is MISSING else entry.default
    return {
        "name": entry.name,
        "type": _type(entry.type),
        "default": list(default) if isinstance(default, tuple) else default,
        "choices": CHOICES.get(f"{table}.{entry.name}"),
        "about": about,
    }


def _type(kind: Any) -> str:
    several = get_args(kind)
    name: str = (several[0] if several else kind).__name__
    return f"{name}s" if several else name


def _said_of_fields(kind: Any) -> dict[str, str]:
    """The text that stands below each field of a dataclass in its source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  (what the source of a class is)
    said = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                said[name] = _one_line(str(text))
    return said


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "")
