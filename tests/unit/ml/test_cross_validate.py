"""Measuring on every picture: each one is answered once, by what never met it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ml import cross_validate, frozen_features
from ml.bundle import load
from ml.compare import read_predictions
from ml.cross_validate import Fold, pooled
from ml.datasets import packed
from ml.recipe import Recipe
from ml.splits import cross_folds, groups_of
from tests.unit.ml.test_training import write_packed

RECIPE = """
reading_task = "blood-cell"
version = "9"
[preprocess]
native_short_side_px = 32
size_px = 32
[network]
name = "plain-cnn"
init = "random"
[training]
epochs = 4
batch_size = 16
learning_rate = 4e-3
[gates]
directions = 8
short_side_below_px = 16
"""


def test_every_picture_is_answered_once_by_a_fold_that_never_met_it(
    blood_like: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out, recipe = blood_like, tmp_path / "out", tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    command = ["cross_validate", "--recipe", str(recipe), "--data", str(data), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--folds", "2"])
    cross_validate.main()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[-3:]] == ["fold-1", "fold-2", "pooled"]
    figures = json.loads((out / "report.json").read_bytes())
    files: list[str] = []
    for name in figures["folds"]:
        bundle = load(out / name / "bundle")
        fold = Fold.of(name, bundle)
        files += fold.predictions.files
        images = bundle.facts["training"]["images"]
        assert images["test"] == len(fold.predictions.files)
        assert images["train"] + images["tune"] + images["test"] + images["dropped"] == 88
    every = {record.file for record in packed.read(data).records}
    assert sorted(files) == sorted(every)
    assert figures["pooled"]["image_count"] == 88
    assert 0 <= figures["pooled"]["at_operating_points"]["basophil"]["sensitivity"]["value"] <= 1


def test_pooled_figures_use_each_folds_own_points(tmp_path: Path) -> None:
    """Worked by hand: the same probability is over one fold's point and under the other's."""
    report = {"findings": {"a": {}, "b": {}}}
    folds = []
    for name, point in (("one", 0.5), ("two", 0.7)):
        table = tmp_path / f"{name}.csv"
        rows = [f"{name}-{n}.png,,{'a' if n < 2 else 'b'},a,0.6,0.4" for n in range(4)]
        table.write_text("\n".join(["file,subject,label,prediction,p_a,p_b", *rows]) + "\n")
        answers = read_predictions(table, report)
        over = answers.outcome.probabilities >= np.array([point, 0.9])
        folds.append(Fold(name, report, answers, over))
    found = pooled(folds, resamples=20)
    assert found["image_count"] == 8
    assert found["accuracy"]["value"] == pytest.approx(0.5)
    at_points = found["at_operating_points"]["a"]
    assert at_points["sensitivity"]["value"] == pytest.approx(0.5)
    assert at_points["specificity"]["value"] == pytest.approx(0.5)


def test_an_unknown_kind_of_fold_is_named(blood_like: Path) -> None:
    manifest = packed.read(blood_like)
    with pytest.raises(ValueError, match="unknown kind patient; known are fold, source"):
        cross_validate.splits_by(manifest, Recipe("blood-cell", "9"), "patient", 5)


def test_a_source_that_is_left_out_is_not_learnt(blood_like: Path) -> None:
    table = blood_like / "manifest.csv"
    rows = table.read_text().splitlines()
    here = [f"{row},{'near' if number // 2 % 2 else 'far'}" for number, row in enumerate(rows[1:])]
    table.write_text("\n".join([f"{rows[0]},source", *here]) + "\n")
    manifest = packed.read(blood_like)
    splits = cross_validate.splits_by(manifest, Recipe("blood-cell", "9"), "source", 5)
    source = {record.file: record.source for record in manifest.records}
    assert set(splits) == {"near", "far"}
    for name, split in splits.items():
        assert {source[file] for file in split.test} == {name}
        assert name not in {source[file] for file in split.train + split.tune}


def test_metadata_that_tell_the_class_show_their_gain(tmp_path: Path) -> None:
    """Two inputs: noise, and the truth itself; only the second answers rightly."""
    write_packed(tmp_path / "data")
    manifest, recipe = packed.read(tmp_path / "data"), Recipe("blood-cell", "9")
    folds = cross_folds(manifest.records, groups_of(manifest)[0], recipe.data, 0)
    files = [record.file for record in manifest.records]
    codes = sorted({record.label for record in manifest.records})
    labels = np.array([codes.index(record.label) for record in manifest.records])
    noise = np.random.default_rng(0).normal(size=(len(files), 4))
    told = np.concatenate([noise, 20 * np.eye(len(codes))[labels]], axis=1)
    blind = frozen_features.answers_by_fold(noise, labels, folds, files)
    seeing = frozen_features.answers_by_fold(told, labels, folds, files)
    assert seeing.sum(axis=1) == pytest.approx(np.ones(len(files)))
    assert (seeing.argmax(axis=1) == labels).mean() > 0.95
    assert (blind.argmax(axis=1) == labels).mean() < 0.4
