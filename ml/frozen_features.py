"""Ask whether metadata help, apart from how a network was trained.

The recipe's network, as it is before it has seen the data set (weights of ImageNet), describes
every picture once. For each of five folds by subject a logistic regression reads these features
alone, and another one the features with the recipe's encoded metadata. Each picture is answered by
regressions that never met its subject, and the two are compared picture by picture.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ml import metrics
from ml.assemble import read_all
from ml.compare import Entry, Predictions, as_text, compare, write
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.networks import build_network
from ml.parts import Part, read_part
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.splits import Split, cross_folds, groups_of, keep_apart

PENALTY = 0.01
"""Inverse strength of the regressions' ridge penalty; fixed beforehand, so nothing is tuned."""

Table = npt.NDArray[np.floating[Any]]


def image_features(recipe: Recipe, part: Part, network: str) -> Table:
    """What ``network`` with the recipe's start tells of each picture (n, f)."""
    task = ReadingTask.named(recipe.reading_task)
    reader = build_network(
        network, len(task.codes), init="imagenet", size_px=recipe.preprocess.size_px
    ).eval()
    blind = replace(part, metadata=part.metadata[:, :0])
    return read_all(reader, blind, recipe.preprocess)[1]


def answers_by_fold(
    inputs: Table, labels: npt.NDArray[np.int64], folds: Sequence[Split], files: Sequence[str]
) -> metrics.Floats:
    """Probabilities (n, c) of all files, each by a regression that was fitted without its fold."""
    place = {file: index for index, file in enumerate(files)}
    class_count = int(labels.max()) + 1
    found = np.full((len(files), class_count), np.nan)
    for fold in folds:
        learnt = [place[file] for file in fold.train + fold.tune]
        asked = [place[file] for file in fold.test]
        regression = make_pipeline(
            StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000)
        ).fit(inputs[learnt], labels[learnt])
        found[np.ix_(asked, regression.classes_)] = regression.predict_proba(inputs[asked])
    return np.nan_to_num(found)


def measure(recipe: Recipe, manifest: Manifest, network: str, folds: int = 5) -> dict[str, Any]:
    """The comparison of features alone with features and metadata, as ``ml.compare`` gives it."""
    task = ReadingTask.named(recipe.reading_task)
    manifest = manifest.without(recipe.data.leave_out)
    files = tuple(record.file for record in manifest.records)
    part = read_part(manifest, files, recipe, task)
    features, labels = image_features(recipe, part, network), part.targets.argmax(dim=1).numpy()
    subjects, united = groups_of(manifest)
    splits = [
        keep_apart(manifest.records, united, split)
        for split in cross_folds(manifest.records, subjects, recipe.data, recipe.seed, folds)
    ]
    truth = part.targets.numpy() > 0.5
    whose = np.array([record.subject or record.file for record in manifest.records])
    report: dict[str, Any] = {"findings": {code: {} for code in task.codes}}

    def entry(name: str, inputs: Table) -> Entry:
        probabilities = answers_by_fold(inputs, labels, splits, files)
        predicted = np.eye(len(task.codes), dtype=bool)[probabilities.argmax(axis=1)]
        outcome = metrics.Outcome(truth, probabilities, predicted)
        return Entry(name, report, {"network": network}, Predictions(files, whose, outcome))

    joined = np.concatenate([features, part.metadata.numpy()], axis=1)
    return compare([entry("image", features), entry("image and metadata", joined)])


def main() -> None:
    """Measure, write ``compare.html``, ``.csv`` and ``.json``, and print the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.frozen_features",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", type=Path, required=True, help="one with metadata")
    parser.add_argument("--data", type=Path, required=True, help="images.zip and manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--network", default="efficientnet-lite0", help="has weights of ImageNet")
    options = parser.parse_args()
    recipe, manifest = Recipe.load(options.recipe), packed.read(options.data)
    comparison = measure(recipe, manifest, options.network)
    write(options.out, comparison)
    print(as_text(comparison))


if __name__ == "__main__":
    main()
