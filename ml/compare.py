"""Compare runs, bundles or evaluations on the same pictures.

Each RUN is a training run, a bundle, or a folder that ``python -m ml.evaluate`` wrote; differences
are to the first one. What has no ``predictions.csv`` yet is measured on ``--data``; without that it
is listed with its bundle's own figures, which were not taken on the same pictures.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml import metrics
from ml.bundle import FACTS, BundleError
from ml.datasets.manifest import SEPARATOR
from ml.engines import EngineError
from ml.evaluate import EvaluationError, evaluate, size
from ml.jsonfile import write_json
from ml.metrics import NAN, Floats, Outcome
from ml.predict import DEFAULT_CACHE
from ml.report import environment, interval, number

FIGURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
    "kappa": "Kappa",
    "log_loss": "Log loss",
    "expected_calibration_error": "Calibration error",
}
LOWER_IS_BETTER = {"log_loss", "expected_calibration_error"}
DRAWN = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
"""Figures whose differences are drawn."""


class ComparisonError(Exception):
    """The runs cannot be compared."""


@dataclass(frozen=True)
class Predictions:
    """A ``predictions.csv``: pictures, whose they are, and what was true and answered."""

    files: tuple[str, ...]
    subjects: npt.NDArray[np.str_]
    outcome: Outcome

    def of(self, files: Sequence[str]) -> Outcome:
        """The answers to some of the pictures, in their order."""
        place = {file: index for index, file in enumerate(self.files)}
        return self.outcome.of(np.array([place[file] for file in files]))


@dataclass(frozen=True)
class Entry:
    """One of those that are compared."""

    name: str
    report: Mapping[str, Any]
    """Its ``report.json``."""
    facts: Mapping[str, Any]
    """``network`` and, where known, ``size`` and ``latency``."""
    predictions: Predictions | None

    @property
    def codes(self) -> tuple[str, ...]:
        """The findings it names."""
        return tuple(self.report["findings"])


def open_entry(name: str, folder: Path, measure: Callable[[Path], Path] | None = None) -> Entry:
    """The run, bundle or evaluation in ``folder``.

    ``measure`` takes a bundle without predictions and returns an evaluation's folder. Raises
    ComparisonError when the folder is none of the three.
    """
    for place in (folder, folder / "evaluation"):
        if (place / "predictions.csv").exists() and (place / "report.json").exists():
            return _evaluation(name, place)
    bundle = next((p for p in (folder, folder / "bundle") if (p / FACTS).exists()), None)
    if bundle is None:
        raise ComparisonError(f"{folder} holds no evaluation, bundle or finished run")
    table = folder / "predictions.csv"
    if measure and not table.exists():
        return _evaluation(name, measure(bundle))
    report = json.loads((bundle / "report.json").read_bytes())
    facts = json.loads((bundle / FACTS).read_bytes())
    predictions = read_predictions(table, report) if table.exists() else None
    described = {"network": facts["network"]["name"], "size": size(bundle)}
    return Entry(name, report, described, predictions)


def _evaluation(name: str, folder: Path) -> Entry:
    report = json.loads((folder / "report.json").read_bytes())
    predictions = read_predictions(folder / "predictions.csv", report)
    return Entry(name, report, report, predictions)


def read_predictions(path: Path, report: Mapping[str, Any]) -> Predictions:
    """The table that goes with a ``report.json``. Raises ComparisonError for another table."""
    codes = tuple(report["findings"])
    with path.open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    missing = {"file", "label", "prediction", *(f"p_{code}" for code in codes)} - set(
        rows[0] if rows else ()
    )
    if missing:
        raise ComparisonError(f"{path} lacks {', '.join(sorted(missing))}")

    def chosen(column: str) -> metrics.Bools:
        named = [set(row[column].split(SEPARATOR)) for row in rows]
        return np.array([[code in names for code in codes] for names in named])

    outcome = Outcome(
        truth=chosen("label"),
        probabilities=np.array([[float(row[f"p_{code}"]) for code in codes] for row in rows]),
        predicted=chosen("prediction"),
        multi_label=bool(report.get("multi_label", False)),
        in_macro=tuple(row.get("in_macro", True) for row in report["findings"].values()),
    )
    subjects = np.array([row.get("subject") or row["file"] for row in rows])
    return Predictions(tuple(row["file"] for row in rows), subjects, outcome)


def compare(entries: Sequence[Entry], *, resamples: int = 1000) -> dict[str, Any]:
    """The figures of all entries, and their paired differences to the first, as plain values.

    Figures and differences are taken on the pictures that all entries with predictions share, and
    each resample draws the same subjects for all. Raises ComparisonError.
    """
    first = entries[0]
    others = [entry.name for entry in entries if set(entry.codes) != set(first.codes)]
    if others:
        raise ComparisonError(f"{', '.join(others)} names other findings than {first.name}")
    paired = [entry for entry in entries if entry.predictions]
    files, subjects = shared_pictures(paired)
    outcomes = {
        entry.name: entry.predictions.of(files) for entry in paired if entry.predictions and files
    }

    def measure(weights: Floats) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for name, outcome in outcomes.items():
            figures = metrics.overall(outcome, weights)
            for figure in FIGURES:
                found[f"{name}\n{figure}"] = figures[figure]
                if first.name in outcomes:
                    difference = figures[figure] - found[f"{first.name}\n{figure}"]
                    found[f"{name}\n{figure}\ndifference"] = difference
        return found

    figures = metrics.estimate(measure, subjects, resamples=resamples) if outcomes else {}
    return {
        "reference": first.name,
        "image_count": len(files),
        "subject_count": len(np.unique(subjects)),
        "entries": [_row(entry, figures, is_first=entry is first) for entry in entries],
    }


def shared_pictures(entries: Sequence[Entry]) -> tuple[list[str], npt.NDArray[np.str_]]:
    """The files that all entries answered, and whose they are.

    Raises ComparisonError when there is none, or when two entries differ in what a picture shows.
    """
    tables = [entry.predictions for entry in entries if entry.predictions]
    if not tables:
        return [], np.array([], dtype=np.str_)
    common = set(tables[0].files).intersection(*(table.files for table in tables[1:]))
    files = [file for file in tables[0].files if file in common]
    if not files:
        raise ComparisonError("the predictions share no picture; evaluate all on the same data")
    for entry, table in zip(entries, tables, strict=True):
        if not np.array_equal(table.of(files).truth, tables[0].of(files).truth):
            raise ComparisonError(f"{entry.name} was told otherwise what the pictures show")
    whose = dict(zip(tables[0].files, tables[0].subjects, strict=True))
    return files, np.array([whose[file] for file in files])


def _row(
    entry: Entry, figures: Mapping[str, metrics.Estimate], *, is_first: bool
) -> dict[str, Any]:
    """One entry of the comparison; its bundle's own figures where it was not paired."""
    size_of, latency = entry.facts.get("size") or {}, entry.facts.get("latency") or {}
    paired = f"{entry.name}\naccuracy" in figures
    found, differences = {}, {}
    for name in FIGURES:
        if paired:
            found[name] = figures[f"{entry.name}\n{name}"].entry()
        else:
            found[name] = entry.report.get(name) or {"value": NAN, "interval": (NAN, NAN)}
        difference = figures.get(f"{entry.name}\n{name}\ndifference")
        if difference and not is_first:
            differences[name] = difference.entry()
            differences[name]["verdict"] = verdict(name, differences[name]["interval"])
    return {
        "name": entry.name,
        "network": entry.facts.get("network", ""),
        "paired": paired,
        "parameter_count": size_of.get("parameter_count"),
        "weights_bytes": size_of.get("weights_bytes"),
        "median_ms": latency.get("median_ms"),
        "figures": found,
        "differences": differences,
    }


def verdict(name: str, limits: tuple[float, float]) -> str:
    """``better`` or ``worse`` when the interval of a difference leaves zero out, else empty."""
    low, high = limits
    if not (low > 0 or high < 0):
        return ""
    return "better" if (low > 0) != (name in LOWER_IS_BETTER) else "worse"


def page(comparison: Mapping[str, Any]) -> str:
    """The comparison as HTML that needs nothing else."""
    template = environment().get_template("compare.html")
    return template.render(comparison=comparison, labels=FIGURES, drawn=DRAWN)


def write_csv(path: Path, comparison: Mapping[str, Any]) -> None:
    """One row an entry; each figure with its limits, and its difference with those."""
    described = ("name", "network", "paired", "parameter_count", "weights_bytes", "median_ms")
    kinds = ("", "_low", "_high", "_difference", "_difference_low", "_difference_high")
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow([*described, *(f"{name}{kind}" for name in FIGURES for kind in kinds)])
        for row in comparison["entries"]:
            cells = ["" if row[name] is None else row[name] for name in described]
            for name in FIGURES:
                for entry in (row["figures"][name], row["differences"].get(name)):
                    cells += _cells(entry)
            writer.writerow(cells)


def _cells(entry: Mapping[str, Any] | None) -> list[str]:
    values = (entry["value"], *entry["interval"]) if entry else (None, None, None)
    return ["" if value is None or value != value else f"{value:.6f}" for value in values]


def as_text(comparison: Mapping[str, Any]) -> str:
    """The comparison for a terminal: a line an entry, differences below."""
    rows = comparison["entries"]
    width = max(len(row["name"]) for row in rows)
    shown = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
    lines = [" ".join([" " * width, *(f"{FIGURES[name]:>26}" for name in shown)])]
    for row in rows:
        cells = [_text(row["figures"][name]) for name in shown]
        own = "" if row["paired"] else "  (own pictures)"
        lines.append(" ".join([f"{row['name']:<{width}}", *cells]) + own)
        if row["differences"]:
            cells = [_text(row["differences"][name], signed=True) for name in shown]
            lines.append(" ".join([" " * width, *cells]) + "  difference")
    counts = f"{comparison['image_count']} pictures of {comparison['subject_count']} subjects"
    return "\n".join([*lines, f"{counts}; differences are to {comparison['reference']}"])


def _text(entry: Mapping[str, Any], *, signed: bool = False) -> str:
    value = number(entry["value"])
    value = f"+{value}" if signed and entry["value"] and entry["value"] > 0 else value
    limits = interval(entry["interval"])
    return f"{value} ({limits})".rjust(26) if limits else value.rjust(26)


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart. Raises ComparisonError for one twice."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ComparisonError("a run is named twice")
    depth = 1
    while True:
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
        depth += 1


def main() -> int:
    """Write and print the comparison. Exit status: 0, or 2 when there is nothing to compare."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--data", type=Path, help="data set for those without predictions")
    parser.add_argument("--part", choices=("test", "all"), default="test", help="of --data")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps exported networks")
    options = parser.parse_args()
    try:
        names = distinct_names(options.runs)
        entries = [
            open_entry(name, folder, _measure(options, name) if options.data else None)
            for name, folder in zip(names, options.runs, strict=True)
        ]
        comparison = compare(entries)
        write(options.out, comparison)
    except (ComparisonError, EvaluationError, BundleError, EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(as_text(comparison))
    return 0


def write(out: Path, comparison: Mapping[str, Any]) -> None:
    """``compare.html``, ``compare.csv`` and ``compare.json`` in the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "compare.json", comparison)
    write_csv(out / "compare.csv", comparison)
    (out / "compare.html").write_text(page(comparison), encoding="utf-8")


def _measure(options: argparse.Namespace, name: str) -> Callable[[Path], Path]:
    """Evaluates a bundle into a folder below ``--out``."""

    def measure(bundle: Path) -> Path:
        out: Path = options.out / "evaluations" / name
        evaluate(
            bundle,
            options.data,
            out,
            part=options.part,
            device=options.device,
            cache_dir=options.cache,
        )
        return out

    return measure


if __name__ == "__main__":
    sys.exit(main())
