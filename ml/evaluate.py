"""Measure a bundle on the locked test of a data set: ``report.json`` and ``predictions.csv``."""

import argparse
import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ml import predictor as predictors
from ml.datasets import packed
from ml.datasets.manifest import Manifest, Record
from ml.jsonfile import write_json
from ml.metrics import accuracy, confusion, summary
from ml.predict import DEFAULT_CACHE
from ml.predictor import BATCH, ImageAssessment, Predictor
from ml.splits import LOCKED_TEST


def assess(
    predictor: Predictor, manifest: Manifest, records: Sequence[Record]
) -> list[ImageAssessment]:
    """Read the pictures of ``records``, in order."""
    answers: list[ImageAssessment] = []
    for start in tqdm(range(0, len(records), BATCH), desc="evaluating", unit="batch"):
        batch = records[start : start + BATCH]
        answers += predictor.predict([manifest.open_image(record.file) for record in batch])
    return answers


def report(
    codes: tuple[str, ...], records: Sequence[Record], answers: Sequence[ImageAssessment]
) -> dict[str, Any]:
    """Figures over all pictures, and what abstaining costs and gains.

    Every picture counts in the figures, abstained or not; intervals are by subject where the
    data set names subjects, else by picture.
    """
    labels = np.array([codes.index(record.label) for record in records])
    probabilities = np.array([[answer.probabilities[code] for code in codes] for answer in answers])
    groups = np.array([record.subject or record.file for record in records])
    answered = np.array([not answer.abstained for answer in answers])
    reasons = [answer.reason for answer in answers if answer.reason]
    counts = confusion(labels[answered], probabilities[answered].argmax(axis=1), len(codes))
    return {
        **summary(probabilities, labels, codes, groups),
        "abstention": {
            "coverage": float(answered.mean()),
            "accuracy_when_answered": accuracy(counts),
            "reasons": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        },
    }


def main() -> None:
    """Write the report and the predictions, and print the headline."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluate", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="images.zip and manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps exported networks")
    options = parser.parse_args()
    predictor = predictors.load(
        options.bundle,
        device=options.device,
        cache_dir=options.cache,
        threads=os.cpu_count() or 1,
    )
    codes = predictor.bundle.codes
    manifest = packed.read(options.data)
    records = [record for record in manifest.records if record.split == LOCKED_TEST]
    answers = assess(predictor, manifest, records)
    figures = report(codes, records, answers)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(
        options.out / "report.json",
        {"bundle_sha256": predictor.bundle.sha256, "engine": predictor.engine, **figures},
    )
    write_predictions(options.out / "predictions.csv", codes, records, answers)
    low, high = figures["accuracy"]["interval"]
    print(f"accuracy {figures['accuracy']['value']:.4f} ({low:.4f} to {high:.4f})")


def write_predictions(
    path: Path,
    codes: tuple[str, ...],
    records: Sequence[Record],
    answers: Sequence[ImageAssessment],
) -> None:
    """One row a picture: what it shows, what was answered, and how probable each finding was."""
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        header = ["file", "label", "prediction", "abstained", "reason"]
        writer.writerow([*header, *(f"p_{code}" for code in codes)])
        for record, answer in zip(records, answers, strict=True):
            decision = [answer.prediction, str(answer.abstained).lower(), answer.reason or ""]
            probabilities = [f"{answer.probabilities[code]:.8f}" for code in codes]
            writer.writerow([record.file, record.label, *decision, *probabilities])


if __name__ == "__main__":
    main()
