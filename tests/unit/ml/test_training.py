"""Training: networks learn, a broken-off run resumes exactly, and a run becomes a bundle."""

import csv
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml import bundle as bundles
from ml import evaluate, train
from ml.parts import Part
from ml.predictor import load
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import AugmentationRecipe, NetworkRecipe, Recipe, TrainingRecipe
from ml.splits import Split
from ml.training import fit, open_run
from tests.unit.ml.factories import reading_task

ROOT = Path(__file__).parents[3]
TASK = reading_task("a", "b")

RECIPE = Recipe(
    reading_task="blood-cell",
    version="1",
    preprocess=PreprocessSpec(32, 32),
    network=NetworkRecipe("plain-cnn", "random", dropout=0.1),
    augmentation=AugmentationRecipe(any_orientation=True, shift_px=2),
    training=TrainingRecipe(
        epochs=4, batch_size=16, learning_rate=3e-3, warmup_epochs=0.5, ema_decay=0.5
    ),
)


def part(count: int = 64) -> Part:
    """Pictures of two classes that differ in colour."""
    labels = torch.arange(count) % 2
    frames = torch.full((count, 32, 32, 3), 200, dtype=torch.uint8)
    frames[:, 8:24, 8:24, 0] = torch.where(labels == 1, 40, 180).to(torch.uint8)[:, None, None]
    noise = torch.randint(-15, 15, frames.shape, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(2)[labels]
    files = tuple(map(str, range(count)))
    return Part(files, (frames + noise).to(torch.uint8), targets, torch.empty(count, 0))


def table(run: Path) -> list[dict[str, str]]:
    with (run / "epochs.csv").open(newline="") as rows:
        return list(csv.DictReader(rows))


def test_a_network_learns(tmp_path: Path) -> None:
    longer = replace(RECIPE, training=replace(RECIPE.training, epochs=12))
    reader = fit(longer, TASK, part(), part(), tmp_path)
    rows = table(tmp_path)
    assert [int(row["epoch"]) for row in rows] == list(range(12))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"]) / 2
    pixels = RECIPE.preprocess.to_input(part().frames.numpy())
    with torch.inference_mode():
        found = reader(torch.from_numpy(pixels))[0].argmax(dim=1)
    assert float((found == part().targets.argmax(dim=1)).float().mean()) > 0.95


def test_a_stopped_run_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = fit(RECIPE, TASK, part(), part(), tmp_path / "whole")
    halves = tmp_path / "halves"
    halves.mkdir()
    (halves / "stop").touch()
    fit(RECIPE, TASK, part(), part(), halves)
    assert len(table(halves)) == 1
    (halves / "stop").unlink()
    resumed = fit(RECIPE, TASK, part(), part(), halves)
    measured = ("epoch", "train_loss", "tune_loss", "tune_accuracy", "learning_rate")
    for one, other in zip(table(tmp_path / "whole"), table(halves), strict=True):
        assert [one[name] for name in measured] == [other[name] for name in measured]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_training_ends_early_when_tune_gets_no_better(tmp_path: Path) -> None:
    tune = part()
    wrong = replace(tune, targets=1 - tune.targets)
    patient = replace(RECIPE.training, epochs=40, patience_epochs=2)
    fit(replace(RECIPE, training=patient), TASK, part(), wrong, tmp_path)
    assert len(table(tmp_path)) < 40


def test_a_run_that_ended_early_is_not_trained_on(tmp_path: Path) -> None:
    tune = part()
    wrong = replace(tune, targets=1 - tune.targets)
    patient = replace(RECIPE, training=replace(RECIPE.training, epochs=40, patience_epochs=2))
    first = fit(patient, TASK, part(), wrong, tmp_path)
    ended = table(tmp_path)
    for _ in range(2):
        again = fit(patient, TASK, part(), wrong, tmp_path)
        assert table(tmp_path) == ended
        for name, value in first.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), name


def test_a_killed_run_resumes_as_if_it_had_not_been(tmp_path: Path) -> None:
    """A process that is killed in mid-epoch leaves a run that ends with the same weights."""
    (tmp_path / "whole").mkdir()
    whole = fit(RECIPE, TASK, part(), part(), tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    program = (
        "import os, signal, sys; from pathlib import Path; import torch\n"
        "from ml import training; from tests.unit.ml.test_training import RECIPE, TASK, part\n"
        "torch.set_num_threads(int(sys.argv[2]))\n"
        "learn = training.Fitting.training_step\n"
        "def step(self, batch, index):\n"
        "    if (self.current_epoch, index) == (2, 1):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return learn(self, batch, index)\n"
        "training.Fitting.training_step = step\n"
        "training.fit(RECIPE, TASK, part(), part(), Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(killed), str(torch.get_num_threads())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(table(killed)) == 2
    resumed = fit(RECIPE, TASK, part(), part(), killed)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_run_folder_belongs_to_one_recipe_and_split(tmp_path: Path) -> None:
    split = Split(("a",), ("b",), ("c",))
    codes = ("a", "b")
    first = open_run(tmp_path, RECIPE, split, codes)
    assert first["split_sha256"] == split.sha256
    assert first["packages"]["torch"] == torch.__version__
    renamed = replace(RECIPE, version="2")
    assert open_run(tmp_path, renamed, split, codes)["recipe"]["version"] == "2"
    with pytest.raises(ValueError, match="another recipe or split"):
        open_run(tmp_path, replace(RECIPE, seed=9), split, codes)
    with pytest.raises(ValueError, match="another recipe or split"):
        open_run(tmp_path, RECIPE, Split(("a", "x"), ("b",), ("c",)), codes)
    with pytest.raises(ValueError, match="for the findings a, b"):
        open_run(tmp_path, RECIPE, split, ("b", "a"))


def test_the_command_makes_a_bundle_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a recipe and a packed folder to a verified bundle, and its evaluation."""
    data, run = tmp_path / "data", tmp_path / "run"
    write_packed(data)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'reading_task = "blood-cell"\nversion = "9"\n'
        "[preprocess]\nnative_short_side_px = 32\nsize_px = 32\n"
        '[network]\nname = "plain-cnn"\ninit = "random"\n'
        "[training]\nepochs = 10\nbatch_size = 16\nlearning_rate = 4e-3\n"
        "[gates]\ndirections = 8\nshort_side_below_px = 16\n"
    )
    command = ["train", "--recipe", str(recipe), "--data", str(data), "--out", str(run)]
    monkeypatch.setattr(sys, "argv", command)
    train.main()
    bundle = bundles.load(run / "bundle")
    assert bundle.sha256 in capsys.readouterr().out
    assert bundle.facts["training"]["recipe"]["version"] == "9"
    assert (bundle.path / "MODEL_CARD.md").read_text().startswith("# Blood cell, version 9")
    licence = (bundle.path / "LICENSE.md").read_text()
    assert "https://creativecommons.org/licenses/by/4.0/" in licence
    assert "started from random ones" in licence
    assert load(bundle.path, device="cpu", cache_dir=tmp_path).self_test().passed
    command = ["evaluate", "--bundle", str(bundle.path), "--data", str(data)]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path), "--cache", str(tmp_path)])
    evaluate.main()
    assert "accuracy " in capsys.readouterr().out
    assert (tmp_path / "report.json").read_text().count('"recall"') == 8


def write_packed(folder: Path) -> None:
    """A packed data set of drawn cells, each class in a colour of its own."""
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = ["file,subject,label,split"]
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, code in enumerate(ReadingTask.named("blood-cell").codes):
            for index in range(25):
                pixels = random.normal(128, 30, (32, 32, 3))
                pixels[:, :, 0] += 90 if number & 1 else -90
                pixels[:, :, 1] += 90 if number & 2 else -90
                pixels[:, :, 2] += 90 if number & 4 else -90
                name = f"{code}/{index}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "one.png")
                archive.write(folder / "one.png", name)
                rows.append(f"{name},,{code},{'val' if index < 4 else 'train'}")
    (folder / "one.png").unlink()
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
