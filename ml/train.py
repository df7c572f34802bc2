"""Train a recipe and make its bundle.

Running the same command again resumes a broken-off run from its last whole epoch. A file named
``stop`` in the run's folder ends it after the current epoch. ``progress.json`` there says how far
it is. The exit status tells whoever started it what ended it: see ``ml.progress.Ending``.
"""

import argparse
import errno
import shutil
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml.assemble import assemble
from ml.bundle import Bundle
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.parts import centre, read_part
from ml.progress import Ending, Stage, report
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.runs import open_run, provenance
from ml.splits import Split
from ml.training import Machine, fit, is_first_process, is_out_of_memory, split_manifest
from ml.warm_start import bundle_of

MARGIN = 0.25
"""Training frames are kept this much wider than the network sees, for moving about in."""
SPARE_BYTES = 500_000_000
"""Of the disk, for checkpoints and the bundle."""


def train(
    recipe: Recipe,
    manifest: Manifest,
    split: Split,
    out: Path,
    *,
    machine: Machine,
    cache: Path | None = None,
    data: Mapping[str, Any] | None = None,
) -> Bundle | None:
    """Fit a recipe to a split in the folder ``out`` and write the bundle to ``<out>/bundle``.

    ``data`` is what the data say of themselves: the bundle tells it of its data and its licence.
    None in every process but the first of those that train together. Raises ValueError where
    ``out`` holds another run, a part of the split is empty, or the augmentation is unnatural.
    """
    task = ReadingTask.named(recipe.reading_task)
    task.require_natural(recipe.augmentation)
    for name, files in (("train", split.train), ("tune", split.tune), ("test", split.test)):
        if not files:
            raise ValueError(f"the split has no picture in its part {name}")
    open_run(out, recipe, split, task.codes)
    report(out, Stage.READING)
    spec, cache = recipe.preprocess, cache or out / "cache"
    wide_px = min(spec.native_short_side_px, round(spec.size_px * (1 + MARGIN)))
    if not cache.exists():
        _require_room(out, len(split.train + split.tune) * wide_px**2 * spec.channels)
    train = read_part(manifest, split.train, recipe, task, wide_px, cache=cache)
    tune = read_part(manifest, split.tune, recipe, task, cache=cache)
    reader = fit(recipe, task, train, tune, out, machine)
    if not is_first_process():
        return None
    report(out, Stage.BUNDLING)
    bundle = assemble(
        out / "bundle",
        recipe=recipe,
        task=task.taught_by(data or {}, _facts_of(recipe.network.init)),
        reader=reader,
        train=centre(train, spec.size_px),
        tune=tune,
        test=[record for record in manifest.records if record.file in set(split.test)],
        manifest=manifest,
        provenance={**provenance(out, recipe), "data": dict(data or {})},
    )
    report(out, Stage.FINISHED, bundle_sha256=bundle.sha256)
    return bundle


def _facts_of(init: str) -> Mapping[str, Any] | None:
    """What the bundle says of itself that a network starts from, where it starts from one."""
    started = bundle_of(init)
    return started.facts if started else None


def _require_room(out: Path, cache_bytes: int) -> None:
    """Raises OSError, as the disk itself would in the middle of the run."""
    needed, free = cache_bytes + SPARE_BYTES, shutil.disk_usage(out).free
    if free < needed:
        text = f"the run needs {needed / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, text, str(out))


def main() -> None:
    """Read the data, split it, train, and say where the bundle is."""
    options = _options()
    try:
        _train(options)
    except Exception as error:
        traceback.print_exc()
        sys.exit(ending(error))


def ending(error: Exception) -> int:
    """The exit status for what ended a run."""
    if is_out_of_memory(error):
        return Ending.OUT_OF_MEMORY
    if getattr(error, "errno", None) == errno.ENOSPC:
        return Ending.DISK_FULL
    return Ending.REFUSED if isinstance(error, ValueError) else 1


def _train(options: argparse.Namespace) -> None:
    recipe = Recipe.load(options.recipe)
    manifest = packed.read(options.data)
    bundle = train(
        recipe,
        manifest,
        split_manifest(manifest, recipe),
        options.out,
        machine=Machine(options.devices, options.nodes, options.precision),
        cache=options.cache,
        data=packed.read_facts(options.data),
    )
    if bundle:
        print(f"{bundle.path}: bundle {bundle.sha256}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="images.zip and manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="the run's own folder")
    parser.add_argument("--cache", type=Path, help="keeps decoded pictures; else <out>/cache")
    parser.add_argument("--devices", type=int, default=1, help="GPUs a node (processes on a CPU)")
    parser.add_argument("--nodes", type=int, default=1, help="machines that train together")
    parser.add_argument(
        "--precision",
        default="",
        help="as Lightning names it; else bf16-mixed on a GPU, 32-true on a CPU",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
