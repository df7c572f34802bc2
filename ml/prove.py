"""A candidate against the champion on one locked test set, picture by picture.

Both read the same pictures; every difference is paired, with an interval by subject. What comes of
it is data, for a change plan to judge.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml import compare, evaluate, metrics
from ml.compare import Entry, Predictions
from ml.datasets.manifest import Manifest, Record
from ml.evaluate import EvaluationError
from ml.jsonfile import nan_to_null
from ml.metrics import Floats, Outcome, Tally
from ml.predictor import ImageAssessment, Predictor

Heard = Callable[[int, int], object]
"""Takes how many readings are done, and of how many: two of each picture."""

SIDES = ("champion", "candidate")
PARTS: Mapping[str, tuple[str, ...]] = {
    "network": ("network",),
    "preprocess": ("preprocess",),
    "metadata": ("metadata",),
    "decision": ("calibration", "decision", "malignancy", "conformal", "conformal_coverage"),
    "operating_points": ("operating_points",),
    "abstention": ("abstention",),
    "intended_use": ("intended_use", "not_for"),
    "licence": ("licence",),
}
"""What of a bundle may differ beside its weights, and where ``bundle.json`` says it."""


@dataclass(frozen=True)
class Proof:
    """What came of it: figures as plain values, and a CSV table of all answers."""

    result: dict[str, Any]
    predictions: bytes


@dataclass(frozen=True)
class _Side:
    """What one of the two said."""

    predictor: Predictor
    answers: Sequence[ImageAssessment]
    outcome: Outcome

    @property
    def held(self) -> metrics.Bools:
        """Whether it abstained (n,)."""
        return np.array([answer.abstained for answer in self.answers])


def prove(
    champion: Predictor,
    candidate: Predictor,
    manifest: Manifest,
    *,
    resamples: int = 1000,
    heard: Heard = lambda read_count, to_read_count: None,
) -> Proof:
    """Have both read all pictures of ``manifest``, and compare; ``heard`` is told how far it is.

    Raises EvaluationError when their findings differ, or a picture shows none of them.
    """
    codes = evaluate.codes_of(champion.bundle.facts)
    if evaluate.codes_of(candidate.bundle.facts) != codes:
        raise EvaluationError("the two name different findings")
    records = manifest.records
    count, to_read_count = len(records), 2 * len(records)
    sides = [
        _read(champion, manifest, lambda read: heard(read, to_read_count)),
        _read(candidate, manifest, lambda read: heard(count + read, to_read_count)),
    ]
    groups = evaluate.subjects_of(records)
    result = {
        "image_count": len(records),
        "subject_count": len(np.unique(groups)),
        "multi_label": sides[0].outcome.multi_label,
        "changed": changed_parts(champion.bundle.facts, candidate.bundle.facts),
        "figures": _figures(sides, records, groups, resamples),
        "findings": _findings(codes, sides, groups, resamples),
        "subgroups": _subgroups(codes, sides, records, groups, resamples),
        "abstention": _abstention(sides, groups, resamples),
        "latency": _latency(champion, candidate, manifest),
        "size": {
            name: evaluate.size(side.predictor.bundle.path)
            for name, side in zip(SIDES, sides, strict=True)
        },
    }
    return Proof(nan_to_null(result), _table(codes, records, sides))


def changed_parts(champion: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[str]:
    """The parts of a bundle, by their names in PARTS, of which the two say different things."""
    return [
        part
        for part, names in PARTS.items()
        if any(champion.get(name) != candidate.get(name) for name in names)
    ]


def _read(predictor: Predictor, manifest: Manifest, heard: Callable[[int], object]) -> _Side:
    answers = evaluate.assess(predictor, manifest, manifest.records, heard)
    facts = predictor.bundle.facts
    return _Side(predictor, answers, evaluate.outcome_of(facts, manifest.records, answers))


def _figures(
    sides: Sequence[_Side],
    records: Sequence[Record],
    groups: npt.NDArray[np.str_],
    resamples: int,
) -> dict[str, Any]:
    """The figures over all findings by name: of each side, and their paired difference."""
    files = tuple(record.file for record in records)
    codes = evaluate.codes_of(sides[0].predictor.bundle.facts)
    entries = [
        Entry(
            name,
            {"findings": {code: {} for code in codes}},
            {},
            Predictions(files, groups, side.outcome),
        )
        for name, side in zip(SIDES, sides, strict=True)
    ]
    champion, candidate = compare.compare(entries, resamples=resamples)["entries"]
    return {
        name: {
            "champion": champion["figures"][name],
            "candidate": candidate["figures"][name],
            "difference": candidate["differences"][name],
        }
        for name in compare.FIGURES
    }


def _findings(
    codes: Sequence[str],
    sides: Sequence[_Side],
    groups: npt.NDArray[np.str_],
    resamples: int,
    index: npt.NDArray[np.int64] | None = None,
) -> list[dict[str, Any]]:
    """The sensitivity for each finding that occurs among the pictures ``index``, or among all."""
    index = np.arange(len(groups)) if index is None else index
    champion, candidate = (side.outcome.of(index) for side in sides)
    whose = groups[index]

    def measure(weights: Floats) -> dict[str, Floats]:
        before = Tally.of(champion.truth, champion.predicted, weights).recall
        after = Tally.of(candidate.truth, candidate.predicted, weights).recall
        return {"champion": before, "candidate": after, "difference": after - before}

    estimates = metrics.estimate(measure, whose, resamples=resamples)
    return [
        {
            "code": code,
            "image_count": int(shown.sum()),
            "subject_count": len(np.unique(whose[shown])),
            **{name: estimate.entry(column) for name, estimate in estimates.items()},
        }
        for column, (code, shown) in enumerate(zip(codes, champion.truth.T, strict=True))
        if shown.any()
    ]


def _subgroups(
    codes: Sequence[str],
    sides: Sequence[_Side],
    records: Sequence[Record],
    groups: npt.NDArray[np.str_],
    resamples: int,
) -> list[dict[str, Any]]:
    """The same for every subgroup by which the pictures differ."""
    return [
        {
            "kind": kind,
            "name": name,
            "image_count": len(index),
            "subject_count": len(np.unique(groups[index])),
            "findings": _findings(codes, sides, groups, resamples, index),
        }
        for kind, name, index in evaluate.subgroup_indices(records)
    ]


def _abstention(
    sides: Sequence[_Side], groups: npt.NDArray[np.str_], resamples: int
) -> dict[str, Any]:
    """The share of pictures without an answer, and how right the answers are that were given."""
    champion, candidate = (side.held for side in sides)

    def measure(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        before, after = weights @ champion / total, weights @ candidate / total
        return {"champion": before, "candidate": after, "difference": after - before}

    shares = metrics.estimate(measure, groups, resamples=resamples)
    answered = {
        name: float(side.outcome.right[~side.held].mean()) if not side.held.all() else metrics.NAN
        for name, side in zip(SIDES, sides, strict=True)
    }
    return {name: share.entry() for name, share in shares.items()} | {
        "accuracy_when_answered": answered
    }


def _latency(champion: Predictor, candidate: Predictor, manifest: Manifest) -> dict[str, Any]:
    """How long one picture takes: both in turns, so that whatever else the machine does slows both,
    and the ratio of their medians holds on other machines too."""
    before, after = [], []
    for record in evaluate.timed(manifest.records):
        data = manifest.read(record.file)
        before.append(evaluate.time_taken_ms(champion, data, record))
        after.append(evaluate.time_taken_ms(candidate, data, record))
    times = [evaluate.timing(took_ms[evaluate.WARM_UP :]) for took_ms in (before, after)]
    return {
        **dict(zip(SIDES, times, strict=True)),
        "ratio": times[1]["median_ms"] / times[0]["median_ms"],
    }


def _table(codes: Sequence[str], records: Sequence[Record], sides: Sequence[_Side]) -> bytes:
    """One row a picture: what it shows, and what each side said of it."""
    said = ("prediction", "abstained", "reason", *(f"p_{code}" for code in codes))
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(
        ["file", "subject", "label", *(f"{side}_{name}" for side in SIDES for name in said)]
    )
    for record, *answers in zip(records, *(side.answers for side in sides), strict=True):
        cells = [record.file, record.subject, record.label]
        for answer in answers:
            cells += [answer.prediction, str(answer.abstained).lower(), answer.reason or ""]
            cells += [f"{answer.probabilities[code]:.8f}" for code in codes]
        writer.writerow(cells)
    return stream.getvalue().encode()
