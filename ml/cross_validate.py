"""Measure a recipe on every picture of a data set, each by a network that never met it.

The recipe is trained anew for each fold, or with each source left out, exactly as
``python -m ml.train`` does it: early stopping, calibration, thresholds and gates are set inside
the fold. Running the same command again goes on where it broke off.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ml import metrics
from ml.bundle import Bundle
from ml.compare import Predictions, read_predictions
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.jsonfile import write_json
from ml.metrics import Outcome, Tally
from ml.recipe import Recipe
from ml.splits import Split, cross_folds, groups_of, keep_apart, source_folds
from ml.train import train
from ml.training import Machine

HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")


@dataclass(frozen=True)
class Fold:
    """What one fold's bundle answered on the pictures that were kept from it."""

    name: str
    report: Mapping[str, Any]
    """The bundle's ``report.json``."""
    predictions: Predictions
    over: metrics.Bools
    """(n, c): whose probability reaches the fold's own operating point."""

    @classmethod
    def of(cls, name: str, bundle: Bundle) -> "Fold":
        """The fold that wrote ``bundle``, whose answers lie beside it."""
        report = json.loads((bundle.path / "report.json").read_bytes())
        predictions = read_predictions(bundle.path.parent / "predictions.csv", report)
        points = bundle.facts["operating_points"]
        thresholds = [float(points[code]["threshold"] or np.nan) for code in report["findings"]]
        return cls(name, report, predictions, predictions.outcome.probabilities >= thresholds)


def splits_by(manifest: Manifest, recipe: Recipe, kind: str, folds: int) -> dict[str, Split]:
    """The splits by name: ``kind`` is ``fold`` (so many) or ``source`` (each left out once).

    No subject and no near-duplicate is on two sides. Raises ValueError for an unknown kind.
    """
    manifest = manifest.without(recipe.data.leave_out)
    subjects, united = groups_of(manifest)
    arguments = (manifest.records, subjects, recipe.data, recipe.seed)
    if kind == "source":
        found = source_folds(*arguments)
    elif kind == "fold":
        numbered = enumerate(cross_folds(*arguments, folds), start=1)
        found = {f"fold-{number}": split for number, split in numbered}
    else:
        raise ValueError(f"unknown kind {kind}; known are fold, source")
    return {name: keep_apart(manifest.records, united, split) for name, split in found.items()}


def pooled(folds: Sequence[Fold], *, resamples: int = 1000) -> dict[str, Any]:
    """The figures over the pictures of all folds, and what the folds' operating points did there.

    ``at_operating_points`` has sensitivity and specificity of each finding, by code.
    """
    outcomes = [fold.predictions.outcome for fold in folds]
    together = replace(
        outcomes[0],
        truth=np.concatenate([outcome.truth for outcome in outcomes]),
        probabilities=np.concatenate([outcome.probabilities for outcome in outcomes]),
        predicted=np.concatenate([outcome.predicted for outcome in outcomes]),
    )
    subjects = np.concatenate([fold.predictions.subjects for fold in folds])
    codes = tuple(folds[0].report["findings"])
    over = np.concatenate([fold.over for fold in folds])
    return {
        **metrics.summary(together, codes, subjects, resamples=resamples),
        "at_operating_points": _at_points(together, over, codes, subjects, resamples),
    }


def _at_points(
    outcome: Outcome,
    over: metrics.Bools,
    codes: tuple[str, ...],
    subjects: np.ndarray[Any, Any],
    resamples: int,
) -> dict[str, Any]:
    def measure(weights: metrics.Floats) -> dict[str, metrics.Floats]:
        tally = Tally.of(outcome.truth, over, weights)
        return {"sensitivity": tally.recall, "specificity": tally.specificity}

    figures = metrics.estimate(measure, subjects, resamples=resamples)
    return {
        code: {name: figure.entry(index) for name, figure in figures.items()}
        for index, code in enumerate(codes)
    }


def cross_validate(
    recipe: Recipe, manifest: Manifest, out: Path, *, kind: str, folds: int
) -> dict[str, Any]:
    """Train and measure every fold below ``out``; the figures, also in ``out/report.json``."""
    done = []
    for name, split in splits_by(manifest, recipe, kind, folds).items():
        run = out / name
        bundle = train(recipe, manifest, split, run, machine=Machine(), cache=out / "cache")
        done.append(Fold.of(name, cast(Bundle, bundle)))  # None comes of several processes only
    figures = {
        "name": recipe.name or recipe.reading_task,
        "kind": kind,
        "folds": {fold.name: _brief(fold.report) for fold in done},
        "pooled": pooled(done),
    }
    write_json(out / "report.json", figures)
    return figures


def _brief(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of a fold's report, what is compared between folds."""
    return {name: report[name] for name in ("image_count", "subject_count", *HEADLINE, "findings")}


def main() -> None:
    """Cross-validate, and print a line a fold and one for all together."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.cross_validate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="images.zip and manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="a folder for all runs")
    parser.add_argument("--by", choices=("fold", "source"), default="fold")
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    figures = cross_validate(
        Recipe.load(options.recipe),
        packed.read(options.data),
        options.out,
        kind=options.by,
        folds=options.folds,
    )
    for name, row in {**figures["folds"], "pooled": figures["pooled"]}.items():
        cells = [f"{figure} {_text(row[figure])}" for figure in HEADLINE]
        print(f"{name} ({row['image_count']} pictures): {', '.join(cells)}")


def _text(entry: Mapping[str, Any]) -> str:
    low, high = entry["interval"]
    if entry["value"] is None or entry["value"] != entry["value"]:
        return "undefined"
    return f"{entry['value']:.4f} ({low:.4f} to {high:.4f})"


if __name__ == "__main__":
    main()
