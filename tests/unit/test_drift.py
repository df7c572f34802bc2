"""The rule of drift, on what the shipped models were tuned on: brighter images are noticed, and
chance is not."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml import bundle as bundles
from ml import reference as model_reference
from ml.datasets import packed
from ml.decode import decode
from ml.gates import measure
from webapp.config import REPOSITORY
from webapp.monitoring import drift
from webapp.monitoring.drift import Sample, Verdict, compare
from webapp.monitoring.past import sample_of_figures

REFERENCES = [
    *sorted((REPOSITORY / "ml" / "references").glob("*.json")),
    *sorted((REPOSITORY / "ml" / "bundles").glob("*/*/reference.json")),
]
LOOKS = 200
PICTURES = 40

each = pytest.mark.parametrize(
    "path", REFERENCES, ids=lambda path: f"{path.parts[-3]}-{path.stem[:9]}"
)


def reference(path: Path) -> Sample:
    return sample_of_figures(json.loads(path.read_text()))


def resampled(of: Sample, count: int, random: np.random.Generator) -> Sample:
    """So many cases drawn from a sample, with replacement."""
    numbers = {name: random.choice(values, count) for name, values in of.numbers.items()}
    kinds = list(of.answers)
    share = np.array(list(of.answers.values())) / of.count
    drawn = random.multinomial(count, share)
    return Sample(numbers, dict(zip(kinds, map(int, drawn), strict=True)))


def drifted(of: Sample, recent: Sample) -> set[str]:
    return {one.name for one in compare(of, recent) if one.verdict is Verdict.DRIFTED}


@each
@pytest.mark.parametrize("count", [60, 500])
def test_images_that_are_brighter_by_30_percent_are_noticed(path: Path, count: int) -> None:
    of = reference(path)
    random = np.random.default_rng(1)
    recent = resampled(of, count, random)
    brighter = np.minimum(np.asarray(recent.numbers["brightness"]) * 1.3, 255)
    recent = Sample({**recent.numbers, "brightness": brighter}, recent.answers)
    assert drifted(of, recent) == {"brightness"}


@pytest.mark.parametrize(
    ("bundle", "folder"),
    [
        ("blood-cell/1.1.0", "blood-pbc"),  # on a bright ground, which clips first
        ("breast-ultrasound/1.0.0", "breast-busi"),
        ("chest-ct/1.0.3", "chest-ct"),
        ("dermoscopy/1.0.1", "skin-ham10000"),
        ("fundus/1.0.0", "eye-odir5k"),
    ],
)
def test_pictures_that_are_brighter_by_30_percent_are_noticed_and_they_themselves_are_not(
    data_dir: Path, bundle: str, folder: str
) -> None:
    """Their pixels are made brighter, as far as white, and measured as in serving."""
    model = bundles.load(REPOSITORY / "ml" / "bundles" / bundle)
    figures = model_reference.of(model)
    assert figures
    of = sample_of_figures(figures)
    manifest, spec = packed.read(data_dir / folder), model.preprocess
    some = manifest.records[:: len(manifest.records) // PICTURES][:PICTURES]
    brightness: dict[float, list[float]] = {1.0: [], 1.3: []}
    for record in some:
        image = decode(manifest.read(record.file), spec.native_short_side_px)
        for factor, found in brightness.items():
            pixels = np.clip(np.asarray(image, np.float32) * factor, 0, 255).astype(np.uint8)
            lit = Image.fromarray(pixels)
            found.append(measure(lit, spec.frame(lit)).brightness)
    known = Sample({"brightness": of.numbers["brightness"]}, {"same": of.count})
    noticed = {
        factor: drifted(known, Sample({"brightness": found}, {"same": len(found)}))
        for factor, found in brightness.items()
    }
    assert noticed == {1.0: set(), 1.3: {"brightness"}}


@each
def test_resamples_of_the_reference_are_noticed_in_less_than_one_of_20_looks(
    path: Path,
) -> None:
    of = reference(path)
    random = np.random.default_rng(2)
    noticed = sum(bool(drifted(of, resampled(of, 100, random))) for _ in range(LOOKS))
    assert noticed / LOOKS < 0.05


def test_without_the_demand_that_it_matters_chance_stays_below_one_of_20_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two halves of the same images, apart: what the rule is made for, at the edge."""
    monkeypatch.setattr(drift, "MATTERS", 0.0)
    random = np.random.default_rng(3)
    noticed = 0
    for _ in range(LOOKS):
        halves = []
        for count in (400, 100):
            answers = Counter(random.choice(["a", "b", "c"], count, p=[0.7, 0.2, 0.1]).tolist())
            names = ["brightness", "contrast", "sharpness", "short_side_px", "probability"]
            halves.append(Sample({name: random.normal(size=count) for name in names}, answers))
        noticed += bool(drifted(*halves))
    assert 0 < noticed / LOOKS < 0.05


@each
def test_other_answers_are_noticed(path: Path) -> None:
    of = reference(path)
    recent = resampled(of, 200, np.random.default_rng(4))
    abstained = Sample(recent.numbers, {None: 120, **dict.fromkeys(of.answers, 0), "new": 80})
    assert "answers" in drifted(of, abstained)


def test_a_mere_fifth_is_the_least_that_counts() -> None:
    of = Sample({"brightness": np.arange(1000.0)}, {"a": 1000})
    for moved, verdict in ((150, Verdict.STEADY), (250, Verdict.DRIFTED)):
        recent = Sample({"brightness": np.arange(1000.0) + moved}, {"a": 1000})
        brightness, answers = compare(of, recent)
        assert brightness.verdict is verdict
        assert brightness.distance == pytest.approx(moved / 1000, abs=0.002)
        assert answers.verdict is Verdict.STEADY
    assert brightness.then[1] == pytest.approx(499.5)
    assert brightness.now[1] == pytest.approx(749.5)


def test_too_few_cases_say_nothing() -> None:
    of = Sample({"brightness": np.arange(1000.0)}, {"a": 1000})
    recent = Sample({"brightness": [255.0] * 29}, {"b": 29})
    assert {one.verdict for one in compare(of, recent)} == {Verdict.TOO_FEW}


def test_the_furthest_two_distributions_lie_apart_by_hand() -> None:
    first, second = np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0])
    assert drift.furthest(first, second) == 0.5  # at 2 half of the first, and none of the second
    assert drift.furthest(first, first) == 0
    assert drift.furthest(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.5
