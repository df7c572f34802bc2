"""Measure a bundle: ``report.html``, ``report.json`` and ``predictions.csv``.

The test part is the one that the bundle was never fitted to: its recipe's split is made again and
must have the hash that the bundle states. ``--part all`` is for data that the bundle never met.
"""

import argparse
import csv
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from tqdm import tqdm

from ml import metrics
from ml import predictor as predictors
from ml.bundle import WEIGHTS, BundleError
from ml.datasets import packed
from ml.datasets.manifest import SEPARATOR, Manifest, Record
from ml.decode import decode
from ml.engines import EngineError
from ml.jsonfile import write_json
from ml.metrics import NAN, Outcome
from ml.predict import DEFAULT_CACHE
from ml.predictor import BATCH, ImageAssessment, Predictor
from ml.recipe import DataRecipe, typed_from_dict
from ml.report import page, picture_of
from ml.splits import Split, split_manifest

PARTS = ("test", "tune", "all")
SMALL_GROUP = 20
"""A subgroup with fewer subjects than this is marked."""
UNKNOWN = "unknown"
AGE_BANDS = ((30, "under 30"), (45, "30 to 44"), (60, "45 to 59"), (75, "60 to 74"))
OLDEST = "75 and over"
SUBGROUP_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
ERROR_COUNT = 12
LATENCY_IMAGES = 50
WARM_UP = 3
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of what a network counts rather than learns."""


class EvaluationError(Exception):
    """The data are not what the bundle can be measured on."""


def assess(
    predictor: Predictor,
    manifest: Manifest,
    records: Sequence[Record],
    heard: Callable[[int], object] = lambda read_count: None,
) -> list[ImageAssessment]:
    """Read the pictures of ``records``, in order, with what is known of their patients; ``heard``
    is told how many are read, again and again."""
    answers: list[ImageAssessment] = []
    for start in tqdm(range(0, len(records), BATCH), desc="evaluating", unit="batch"):
        batch = records[start : start + BATCH]
        images = [manifest.open_image(record.file) for record in batch]
        answers += predictor.predict(images, [record.metadata for record in batch])
        heard(len(answers))
    return answers


def report(
    facts: Mapping[str, Any],
    records: Sequence[Record],
    answers: Sequence[ImageAssessment],
    *,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Figures of the bundle that ``facts`` (its ``bundle.json``) describes, as plain values.

    Every picture counts in the figures, abstained or not; intervals are by subject where the data
    set names subjects, else by picture. Raises EvaluationError.
    """
    outcome = outcome_of(facts, records, answers)
    codes = codes_of(facts)
    groups = subjects_of(records)
    columns = [(outcome.probabilities[:, k], outcome.truth[:, k]) for k in range(len(codes))]
    malignant = malignancy_outcome(facts, outcome)
    return {
        "multi_label": outcome.multi_label,
        **metrics.summary(outcome, codes, groups, resamples=resamples),
        "malignancy": malignant and malignancy(facts, malignant, groups, resamples=resamples),
        "abstention": abstention(outcome, answers),
        "curves": {
            code: {
                "roc": metrics.roc_curve(*column),
                "precision_recall": metrics.precision_recall_curve(*column),
            }
            for code, column in zip(codes, columns, strict=True)
        },
        "reliability": metrics.reliability(outcome, groups, resamples=resamples),
        "risk_coverage": metrics.risk_coverage_curve(outcome),
        "subgroups": subgroups(outcome, malignant, records, resamples=resamples),
        "worst_errors": worst_errors(codes, outcome, records, answers),
    }


def codes_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings' codes, in the order of the network's outputs."""
    return tuple(finding["code"] for finding in facts["findings"])


def outcome_of(
    facts: Mapping[str, Any], records: Sequence[Record], answers: Sequence[ImageAssessment]
) -> Outcome:
    """Truth and answers as arrays. Raises EvaluationError for a label that is no finding."""
    codes = codes_of(facts)
    if not records:
        raise EvaluationError("there is no picture to measure on")
    strays = sorted({label for record in records for label in record.labels} - set(codes))
    if strays:
        raise EvaluationError(
            f"labels {', '.join(strays)} are no findings of the bundle: {', '.join(codes)}"
        )
    points, decision = facts["operating_points"], facts.get("decision", {}).get("weights", {})
    return Outcome(
        truth=_chosen(codes, [record.labels for record in records]),
        probabilities=np.array([[each.probabilities[c] for c in codes] for each in answers]),
        predicted=_chosen(codes, [each.prediction.split(SEPARATOR) for each in answers]),
        multi_label=bool(facts["reading_task"].get("multi_label", False)),
        in_macro=tuple(bool(finding.get("in_macro", True)) for finding in facts["findings"]),
        thresholds=tuple(_number(points.get(code, {}).get("threshold")) for code in codes),
        decision_weights=tuple(float(decision.get(code, 1.0)) for code in codes),
    )


def subjects_of(records: Sequence[Record]) -> npt.NDArray[np.str_]:
    """Whose each picture is (n,); where nobody says, each is its own."""
    return np.array([record.subject or record.file for record in records])


def malignancy_outcome(facts: Mapping[str, Any], outcome: Outcome) -> Outcome | None:
    """The same answers as one finding, malignant, whose probability is the malignant ones' sum.

    None where the reading task's findings are not partly malignant.
    """
    malignant = np.array([each["malignancy"] == "malignant" for each in facts["findings"]])
    if malignant.all() or not malignant.any():
        return None
    total = np.minimum(outcome.probabilities[:, malignant].sum(axis=1, keepdims=True), 1.0)
    shown = outcome.truth @ malignant
    stated = facts.get("malignancy") or {}
    if not stated and malignant.sum() == 1:
        stated = {"threshold": outcome.thresholds[int(malignant.argmax())]}
    threshold = _number(stated.get("threshold"))
    return Outcome(
        truth=shown[:, None],
        probabilities=total,
        predicted=total >= threshold,
        multi_label=True,
        thresholds=(threshold,),
    )


def malignancy(
    facts: Mapping[str, Any],
    outcome: Outcome,
    groups: npt.NDArray[np.str_],
    *,
    resamples: int = 1000,
) -> dict[str, Any]:
    """The figures of ``malignancy_outcome``: ranking, calibration, operating points, curves."""
    figures = metrics.summary(outcome, ("malignant",), groups, resamples=resamples)
    finding = figures["findings"]["malignant"]
    of_finding = ("image_count", "auc", "auc_interval", "average_precision")
    at_points = ("average_precision_interval", "operating_point", "sensitivity_at_specificity")
    calibration = ("expected_calibration_error", "brier_score", "log_loss")
    score, positive = outcome.probabilities[:, 0], outcome.truth[:, 0]
    return {
        "malignant_findings": [
            each["code"] for each in facts["findings"] if each["malignancy"] == "malignant"
        ],
        **{name: finding[name] for name in (*of_finding, *at_points)},
        **{name: figures[name] for name in calibration},
        "note": metrics.note(positive, np.array([True])),
        "reliability": metrics.reliability(outcome, groups, resamples=resamples),
        "curves": {
            "roc": metrics.roc_curve(score, positive),
            "precision_recall": metrics.precision_recall_curve(score, positive),
        },
    }


def abstention(outcome: Outcome, answers: Sequence[ImageAssessment]) -> dict[str, Any]:
    """What abstaining costs (answers) and gains (accuracy of those that remain)."""
    answered = np.array([not answer.abstained for answer in answers])
    reasons = [answer.reason for answer in answers if answer.reason]
    right = outcome.right[answered]
    return {
        "coverage": float(answered.mean()),
        "accuracy_when_answered": float(right.mean()) if len(right) else NAN,
        "reasons": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
    }


def age_band(record: Record) -> str:
    """The band of the metadata field ``age``, in years."""
    age = _number(record.metadata.get("age"))
    if not np.isfinite(age):
        return UNKNOWN
    return next((name for below, name in AGE_BANDS if age < below), OLDEST)


def _stated(name: str) -> Callable[[Record], str]:
    return lambda record: record.metadata.get(name, "").strip().lower() or UNKNOWN


SUBGROUPS: dict[str, Callable[[Record], str]] = {
    "age": age_band,
    "sex": _stated("sex"),
    "body site": _stated("localization"),
    "source": lambda record: record.source or UNKNOWN,
}
BAND_ORDER = [*(name for _, name in AGE_BANDS), OLDEST]


def subgroups(
    outcome: Outcome, malignant: Outcome | None, records: Sequence[Record], *, resamples: int = 1000
) -> list[dict[str, Any]]:
    """Figures by age band, sex, body site and source, of each by which the data set differs."""
    groups = subjects_of(records)
    return [
        {"kind": kind, "name": name, **_subgroup(outcome, malignant, groups, index, resamples)}
        for kind, name, index in subgroup_indices(records)
    ]


def subgroup_indices(
    records: Sequence[Record],
) -> Iterator[tuple[str, str, npt.NDArray[np.int64]]]:
    """Each subgroup by its kind and name, with the pictures of it; none of a kind by which the
    records do not differ."""
    for kind, name_of in SUBGROUPS.items():
        names = np.array([name_of(record) for record in records])
        present = sorted(set(names.tolist()), key=_subgroup_order)
        for name in present if len(present) > 1 else ():
            yield kind, name, np.flatnonzero(names == name)


def _subgroup_order(name: str) -> tuple[bool, int, str]:
    """Age bands by age, names by alphabet, what is not known last."""
    return name == UNKNOWN, BAND_ORDER.index(name) if name in BAND_ORDER else 0, name


def _subgroup(
    outcome: Outcome,
    malignant: Outcome | None,
    groups: npt.NDArray[np.str_],
    index: npt.NDArray[np.int64],
    resamples: int,
) -> dict[str, Any]:
    """The figures of the pictures ``index``."""

    def measure(weights: metrics.Floats) -> dict[str, metrics.Floats]:
        figures = metrics.overall(outcome.of(index), weights)
        chosen = {name: figures[name] for name in SUBGROUP_FIGURES}
        if malignant:
            found = metrics.by_finding(malignant.of(index), weights)
            chosen["malignancy_auc"] = found["auc"][:, 0]
            chosen["malignancy_sensitivity"] = found["operating_sensitivity"][:, 0]
        return chosen

    figures = metrics.estimate(measure, groups[index], resamples=resamples)
    subject_count = len(np.unique(groups[index]))
    return {
        "image_count": len(index),
        "subject_count": subject_count,
        "small": subject_count < SMALL_GROUP,
        **{name: each.entry() for name, each in figures.items()},
    }


def worst_errors(
    codes: Sequence[str],
    outcome: Outcome,
    records: Sequence[Record],
    answers: Sequence[ImageAssessment],
) -> list[dict[str, Any]]:
    """The wrong answers that were given most surely, by log loss; at most ERROR_COUNT."""
    wrong = np.flatnonzero(~outcome.right)
    order = wrong[np.argsort(-outcome.log_losses[wrong], kind="stable")]
    return [
        {
            "file": records[index].file,
            "label": records[index].label,
            "prediction": answers[index].prediction,
            "probabilities": {
                code: answers[index].probabilities[code]
                for k, code in enumerate(codes)
                if outcome.truth[index, k] or outcome.predicted[index, k]
            },
            "abstained": answers[index].abstained,
            "reason": answers[index].reason,
        }
        for index in order[:ERROR_COUNT].tolist()
    ]


def recorded_split(facts: Mapping[str, Any], manifest: Manifest) -> Split:
    """The division that a bundle was fitted by, made again.

    Raises EvaluationError when it is not the one that the bundle states: other data, then.
    """
    recipe = facts["training"]["recipe"]
    settings = recipe.get("data") or {"tune_fraction": recipe["tune_fraction"]}
    data = typed_from_dict(DataRecipe, settings, "recipe.data")
    stated = facts["training"]["split_sha256"]
    try:
        split = split_manifest(manifest, data, recipe["seed"])
    except ValueError as error:  # too few pictures, or none that the publisher meant for training
        raise EvaluationError(
            f"these data cannot be divided as the bundle's were ({error}): measure on all of them "
            "with --part all"
        ) from error
    if split.sha256 != stated:
        raise EvaluationError(
            f"the split of these data is {split.sha256}, the bundle's is {stated}: these are not "
            "the data it was fitted to; measure on all of them with --part all"
        )
    return split


def part_of(facts: Mapping[str, Any], manifest: Manifest, part: str) -> list[Record]:
    """The records of ``test``, ``tune`` or ``all``. Raises EvaluationError."""
    if part == "all":
        left_out = facts["training"].get("recipe", {}).get("data", {}).get("leave_out", ())
        return list(manifest.without(left_out).records)
    split = recorded_split(facts, manifest)
    chosen = set(split.test if part == "test" else split.tune)
    return [record for record in manifest.records if record.file in chosen]


def latency(
    predictor: Predictor, manifest: Manifest, records: Sequence[Record], threads: int
) -> dict[str, Any]:
    """How long one picture takes, from its bytes to its answer, in milliseconds."""
    took_ms = [
        time_taken_ms(predictor, manifest.read(record.file), record) for record in timed(records)
    ][WARM_UP:]
    return timing(took_ms) | {"thread_count": threads}


def timed(records: Sequence[Record]) -> list[Record]:
    """Pictures to take the time of, spread over all; the first WARM_UP are to get going."""
    spread = np.linspace(0, len(records) - 1, min(LATENCY_IMAGES, len(records))).astype(int)
    return [records[index] for index in [*np.resize(spread, WARM_UP), *spread]]


def time_taken_ms(predictor: Predictor, data: bytes, record: Record) -> float:
    """How long one picture takes, from its bytes to its answer."""
    started = time.perf_counter()
    predictor.predict([decode(data)], [record.metadata])
    return (time.perf_counter() - started) * 1000


def timing(took_ms: Sequence[float]) -> dict[str, Any]:
    """The median and the 95 % quantile of times, and of how many."""
    return {
        "median_ms": float(np.median(took_ms)),
        "p95_ms": float(np.quantile(took_ms, 0.95)),
        "image_count": len(took_ms),
    }


def size(bundle_dir: Path) -> dict[str, int]:
    """Bytes of a bundle's folder and of its weights, and how many parameters the network has."""
    files = [file for file in bundle_dir.rglob("*") if file.is_file()]
    with safe_open(bundle_dir / WEIGHTS, "numpy") as stored:
        learnt = [
            name
            for name in stored.keys()  # noqa: SIM118  (no mapping: it cannot be iterated)
            if name.startswith("network.") and not name.endswith(STATISTICS)
        ]
        parameters = sum(math.prod(stored.get_slice(name).get_shape()) for name in learnt)
    return {
        "bundle_bytes": sum(file.stat().st_size for file in files),
        "weights_bytes": (bundle_dir / WEIGHTS).stat().st_size,
        "parameter_count": parameters,
    }


def evaluate(
    bundle_dir: Path,
    data: Path,
    out: Path,
    *,
    part: str = "test",
    device: str = "auto",
    cache_dir: Path = DEFAULT_CACHE,
) -> dict[str, Any]:
    """Measure a bundle on a data set's part, write the three files to ``out``, return the figures.

    Raises EvaluationError, BundleError, EngineError, OSError.
    """
    threads = os.cpu_count() or 1
    predictor = predictors.load(bundle_dir, device=device, cache_dir=cache_dir, threads=threads)
    facts = predictor.bundle.facts
    manifest = packed.read(data)
    records = part_of(facts, manifest, part)
    answers = assess(predictor, manifest, records)
    figures = {
        "bundle_sha256": predictor.bundle.sha256,
        "engine": predictor.engine,
        "reading_task": dict(facts["reading_task"]),
        "name": facts.get("name") or facts["reading_task"]["code"],
        "version": facts["version"],
        "network": facts["network"]["name"],
        "part": part,
        "split_sha256": None if part == "all" else facts["training"]["split_sha256"],
        **report(facts, records, answers),
        "latency": latency(predictor, manifest, records, threads),
        "size": size(bundle_dir),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", figures)
    write_predictions(out / "predictions.csv", codes_of(facts), records, answers)
    pictures = {
        error["file"]: picture_of(manifest.open_image(error["file"]))
        for error in figures["worst_errors"]
    }
    (out / "report.html").write_text(page(facts, figures, pictures), encoding="utf-8")
    return figures


def write_predictions(
    path: Path,
    codes: tuple[str, ...],
    records: Sequence[Record],
    answers: Sequence[ImageAssessment],
) -> None:
    """One row a picture: what it shows, what was answered, and how probable each finding was."""
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        header = ["file", "subject", "label", "prediction", "abstained", "reason"]
        writer.writerow([*header, *(f"p_{code}" for code in codes)])
        for record, answer in zip(records, answers, strict=True):
            decision = [answer.prediction, str(answer.abstained).lower(), answer.reason or ""]
            probabilities = [f"{answer.probabilities[code]:.8f}" for code in codes]
            writer.writerow([record.file, record.subject, record.label, *decision, *probabilities])


def _chosen(codes: Sequence[str], lists: Sequence[Sequence[str]]) -> metrics.Bools:
    """Which of the codes (c,) each of n lists names: (n, c)."""
    return np.array([[code in names for code in codes] for names in lists])


def _number(value: Any) -> float:
    """A number, or NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return NAN


def main() -> int:
    """Write the report and print the headline. Exit status: 0, or 2 when it cannot be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="images.zip and manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--part", choices=PARTS, default="test")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps exported networks")
    options = parser.parse_args()
    try:
        figures = evaluate(
            options.bundle,
            options.data,
            options.out,
            part=options.part,
            device=options.device,
            cache_dir=options.cache,
        )
    except (EvaluationError, BundleError, EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc"):
        low, high = figures[name]["interval"]
        print(f"{name.replace('_', ' ')} {figures[name]['value']:.4f} ({low:.4f} to {high:.4f})")
    print(options.out / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
