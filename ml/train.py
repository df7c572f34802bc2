"""Train a recipe and make its bundle.

Running the same command again resumes a broken-off run from its last whole epoch.
"""

import argparse
from pathlib import Path

from ml.assemble import assemble
from ml.datasets import packed
from ml.parts import centre, read_part
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.training import fit, open_run, split_manifest

MARGIN = 0.25
"""Training frames are kept this much wider than the network sees, for moving about in."""


def main() -> None:
    """Read the data, split it, fit, and write the bundle to ``<run>/bundle``."""
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="images.zip and manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="the run's own folder")
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe)
    task = ReadingTask.named(recipe.reading_task)
    manifest = packed.read(options.data)
    split = split_manifest(manifest, recipe)
    provenance = open_run(options.out, recipe, split, task.codes)
    spec = recipe.preprocess
    wide_px = min(spec.native_short_side_px, round(spec.size_px * (1 + MARGIN)))
    train = read_part(manifest, split.train, recipe, task, wide_px)
    tune = read_part(manifest, split.tune, recipe, task)
    reader = fit(recipe, task, train, tune, options.out)
    bundle = assemble(
        options.out / "bundle",
        recipe=recipe,
        task=task,
        reader=reader,
        train=centre(train, spec.size_px),
        tune=tune,
        test=[record for record in manifest.records if record.file in set(split.test)],
        manifest=manifest,
        provenance=provenance,
    )
    print(f"{bundle.path}: bundle {bundle.sha256}")


if __name__ == "__main__":
    main()
