"""A run's folder: what it keeps of its origin, and its log."""

import json
import logging
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ml.jsonfile import write_json
from ml.recipe import Recipe
from ml.splits import Split
from ml.warm_start import bundle_of

PACKAGES = ("torch", "timm", "pytorch-lightning", "numpy", "pillow", "scikit-learn")
FITTED_BY = {field.name for field in fields(Recipe)} - {"version", "name", "serves", "gates"}
"""The parts of a recipe that decide the weights."""


def open_run(run: Path, recipe: Recipe, split: Split, codes: tuple[str, ...]) -> None:
    """Make the folder of a run, or find it again.

    A finished run may be bundled anew with another version or other gates. Raises ValueError when
    the folder holds a run that was fitted otherwise: by another recipe or split, or to findings
    ``codes`` that were others or in another order.
    """
    if not (run / "run.json").exists():
        run.mkdir(parents=True, exist_ok=True)
        note(run, **_origin(recipe, split, codes))
    kept = notes(run)
    same_recipe = fitted_alike(Recipe.from_dict(kept["recipe"]), recipe)
    if not same_recipe or kept["split_sha256"] != split.sha256:
        raise ValueError(f"{run} holds a run of another recipe or split; choose another folder")
    learnt = kept.get("findings", sorted(codes))  # runs that kept none had them in this order
    if learnt != list(codes):
        raise ValueError(f"{run} holds a run for the findings {', '.join(learnt)}, in this order")


def fitted_alike(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes make the same weights of the same pictures."""
    first, second = one.to_dict(), other.to_dict()
    return all(_plain(first[name]) == _plain(second[name]) for name in FITTED_BY)


def provenance(run: Path, recipe: Recipe) -> dict[str, Any]:
    """What a bundle keeps of the run that it is made from, by ``recipe`` and the code as it is.

    ``code_revision`` is that which fitted the weights, ``bundled_by`` that which bundles them.
    """
    return {**notes(run), "recipe": _plain(recipe.to_dict()), "bundled_by": code_revision()}


def notes(run: Path) -> dict[str, Any]:
    """What ``run.json`` holds; nothing when there is none."""
    file = run / "run.json"
    return dict(json.loads(file.read_bytes())) if file.exists() else {}


def note(run: Path, **facts: Any) -> None:
    """Add facts to ``run.json``."""
    write_json(run / "run.json", notes(run) | facts)


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Append what this package logs to ``file``, and the error that ends it."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("ml")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    except BaseException:
        logger.exception("ended by an error")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()


def code_revision() -> str:
    """The commit this code is at, ``-modified`` when changed since; ``unknown`` outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-modified"]
    answer = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def _origin(recipe: Recipe, split: Split, codes: tuple[str, ...]) -> dict[str, Any]:
    """What a run must keep to be traced: recipe, split hash, versions, code revision."""
    started_from = bundle_of(recipe.network.init)
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
        "started_from_bundle": started_from.sha256 if started_from else None,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "code_revision": code_revision(),
    }


def _plain(value: Any) -> Any:
    """As it is after it was written as JSON and read again."""
    return json.loads(json.dumps(value))
