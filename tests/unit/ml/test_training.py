"""Training: networks learn, a broken-off run resumes exactly, and a run becomes a bundle."""

import csv
import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ml import bundle as bundles
from ml import evaluate, train
from ml.datasets.manifest import Manifest
from ml.networks import Reader
from ml.parts import Batch, Part
from ml.predictor import load
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import AugmentationRecipe, MetadataRecipe, NetworkRecipe, Recipe, TrainingRecipe
from ml.runs import notes, open_run, provenance
from ml.splits import Split
from ml.training import Fitting, Machine, fit, start, tune_figures
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


def test_the_weights_that_are_kept_are_the_average_of_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[dict[str, torch.Tensor]] = []

    def note(module: Fitting, *_: object) -> None:
        learnt = module.reader.named_parameters()
        steps.append({name: value.detach().clone() for name, value in learnt})

    monkeypatch.setattr(Fitting, "on_train_batch_end", note)
    training = replace(RECIPE.training, epochs=1, ema_decay=0.75)
    kept = fit(replace(RECIPE, training=training), TASK, part(), part(), tmp_path)
    assert len(steps) == 4
    for name, value in kept.named_parameters():
        average = steps[0][name]
        for step in steps[1:]:
            average = 0.75 * average + 0.25 * step[name]
        torch.testing.assert_close(value, average)
        assert not torch.equal(value, steps[-1][name]), name


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
    split, codes = Split(("a",), ("b",), ("c",)), ("a", "b")
    open_run(tmp_path, RECIPE, split, codes)
    first = provenance(tmp_path, RECIPE)
    assert first["split_sha256"] == split.sha256
    assert first["packages"]["torch"] == torch.__version__
    assert first["code_revision"] == first["bundled_by"]
    renamed = replace(RECIPE, version="2")
    open_run(tmp_path, renamed, split, codes)
    assert provenance(tmp_path, renamed)["recipe"]["version"] == "2"
    assert notes(tmp_path)["recipe"]["version"] == "1"
    with pytest.raises(ValueError, match="another recipe or split"):
        open_run(tmp_path, replace(RECIPE, seed=9), split, codes)
    with pytest.raises(ValueError, match="another recipe or split"):
        open_run(tmp_path, RECIPE, Split(("a", "x"), ("b",), ("c",)), codes)
    with pytest.raises(ValueError, match="for the findings a, b, in this order"):
        open_run(tmp_path, RECIPE, split, ("b", "a"))


def test_a_run_keeps_the_bundle_that_it_started_from(tmp_path: Path, tiny_bundle: Path) -> None:
    started = replace(RECIPE, network=NetworkRecipe("plain-cnn", f"bundle:{tiny_bundle}"))
    open_run(tmp_path, started, Split(("a",), ("b",), ("c",)), ("a", "b"))
    assert notes(tmp_path)["started_from_bundle"] == bundles.load(tiny_bundle).sha256


def test_a_run_logs_its_epochs_and_draws_its_curves(tmp_path: Path) -> None:
    fit(RECIPE, TASK, part(), part(), tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert "starting from" in log
    assert log.count("tune_macro_f1") == 4
    drawing = ElementTree.fromstring((tmp_path / "curves.svg").read_text())
    lines = drawing.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [4] * 6
    broken = replace(part(), frames=part().frames[:, :, :, :2])
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="broadcast"):
        fit(RECIPE, TASK, broken, part(), tmp_path / "other")
    assert "ended by an error" in (tmp_path / "other" / "log.txt").read_text()


def test_several_findings_a_picture_are_learnt(tmp_path: Path) -> None:
    """Colour decides the first finding and brightness the second, apart from each other."""
    both = part()
    bright = torch.arange(64) // 2 % 2
    frames = both.frames.float() - 60 * (1 - bright)[:, None, None, None]
    targets = torch.stack((both.targets[:, 0], bright.float()), dim=1)
    several = replace(both, frames=frames.clamp(0, 255).byte(), targets=targets)
    task = reading_task("red", "bright", multi_label=True)
    training = replace(RECIPE.training, epochs=40, monitor="tune_auc", patience_epochs=40)
    fit(replace(RECIPE, training=training), task, several, several, tmp_path)
    best = max(table(tmp_path), key=lambda row: float(row["tune_auc"]))
    assert float(best["tune_auc"]) > 0.98
    assert max(float(row["tune_macro_f1"]) for row in table(tmp_path)) > 0.9


def test_figures_of_several_findings_leave_out_other() -> None:
    task = reading_task("a", "b", "other", multi_label=True, other="other")
    logits = torch.tensor([[2.0, -1.0, 9.0], [-2.0, 1.0, 9.0], [1.0, 1.0, 9.0], [-1.0, -2.0, 9.0]])
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 0]])
    found = tune_figures(logits, targets, task)
    assert found["tune_accuracy"] == 0
    assert found["tune_macro_f1"] == pytest.approx((0.5 + 1) / 2)
    assert found["tune_balanced_accuracy"] == pytest.approx((0.5 + 1) / 2)
    assert found["tune_auc"] == pytest.approx((0.75 + 1) / 2)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    assert found["tune_loss"] == pytest.approx(float(expected))


def test_figures_of_one_finding_are_those_of_the_most_probable() -> None:
    task = reading_task("a", "b", "c")
    logits = torch.tensor([[3.0, 0, 0], [0, 3.0, 0], [0, 3.0, 0], [3.0, 0, 0]])
    targets = torch.eye(3)[[0, 1, 0, 0]]
    found = tune_figures(logits, targets, task)
    assert found["tune_accuracy"] == 0.75
    assert found["tune_balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["tune_macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)


def fused_recipe(**training: object) -> Recipe:
    return replace(
        RECIPE,
        network=NetworkRecipe("basic-cnn-fusion", "random", dropout=0.1),
        metadata=MetadataRecipe("ham-19", field_dropout=0.2),
        training=replace(RECIPE.training, **training),  # type: ignore[arg-type]
    )


def test_metadata_are_learnt_from(tmp_path: Path) -> None:
    """The pictures are all alike: only age tells the findings apart."""
    blind = part()
    metadata = torch.zeros(64, 19)
    metadata[:, 0] = torch.where(blind.targets[:, 1] == 1, 1.5, -1.5)
    metadata[:, [3, 17]] = 1
    aged = replace(blind, frames=torch.full_like(blind.frames, 128), metadata=metadata)
    fused = fused_recipe(epochs=12, monitor="tune_balanced_accuracy", patience_epochs=12)
    fit(fused, TASK, aged, aged, tmp_path)
    assert max(float(row["tune_balanced_accuracy"]) for row in table(tmp_path)) > 0.95


def weights(reader: Reader) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in reader.state_dict().items()}


def frozen_recipe(epochs: int, **network: object) -> Recipe:
    training = replace(RECIPE.training, epochs=epochs, ema_decay=0.0)
    resnet = NetworkRecipe("resnet10-fusion", "random", **network)  # type: ignore[arg-type]
    return replace(RECIPE, network=resnet, metadata=MetadataRecipe("ham-19"), training=training)


def test_a_frozen_backbone_stands_still_until_it_is_thawed(tmp_path: Path) -> None:
    with_metadata = replace(part(), metadata=torch.zeros(64, 19))
    moved = {}
    for name, settings in {
        "frozen": {"frozen_blocks": -1},
        "thawed": {"frozen_blocks": -1, "unfreeze_epoch": 1},
    }.items():
        recipe = frozen_recipe(2, **settings)
        torch.manual_seed(recipe.seed)
        before = weights(start(recipe, TASK.codes))
        (tmp_path / name).mkdir()
        after = weights(last_weights(recipe, with_metadata, tmp_path / name))
        moved[name] = {key for key in after if not torch.equal(before[key], after[key])}
    backbone = {key for key in after if key.startswith("backbone.")}
    assert not moved["frozen"] & backbone
    assert "head.weight" in moved["frozen"]
    assert {key for key in backbone if key.endswith("conv1.weight")} <= moved["thawed"]


def last_weights(recipe: Recipe, taught: Part, run: Path) -> Reader:
    """The network at the end of training, which need not be the best."""
    reader = fit(recipe, TASK, taught, taught, run)
    kept = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    prefix = "reader."
    reader.load_state_dict({name.removeprefix(prefix): kept[name] for name in kept})
    return reader


def test_a_thawing_run_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    with_metadata = replace(part(), metadata=torch.zeros(64, 19))
    recipe = frozen_recipe(3, frozen_blocks=-1, unfreeze_epoch=2)
    (tmp_path / "whole").mkdir()
    whole = weights(last_weights(recipe, with_metadata, tmp_path / "whole"))
    halves = tmp_path / "halves"
    halves.mkdir()
    (halves / "stop").touch()
    fit(recipe, TASK, with_metadata, with_metadata, halves)
    (halves / "stop").unlink()
    resumed = weights(last_weights(recipe, with_metadata, halves))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_accumulated_batches_make_the_same_step(tmp_path: Path) -> None:
    """A network without batch norm learns the same from one batch of 16 or four of 4."""
    still = replace(RECIPE, augmentation=AugmentationRecipe())
    still = replace(still, network=NetworkRecipe("plain-cnn", "random", dropout=0.0))
    found = []
    for batch_size, accumulate in ((16, 1), (4, 4)):
        run = tmp_path / str(accumulate)
        run.mkdir()
        settings = replace(still.training, batch_size=batch_size, accumulate_batches=accumulate)
        found.append(weights(fit(replace(still, training=settings), TASK, part(), part(), run)))
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-5), name


def test_a_plateau_lowers_the_rate_after_its_warm_up(tmp_path: Path) -> None:
    tune = part()
    wrong = replace(tune, targets=1 - tune.targets)
    settings = replace(
        RECIPE.training, epochs=6, schedule="plateau", step_epochs=1, step_factor=0.1,
        warmup_epochs=1.0, patience_epochs=6, ema_decay=0.0, learning_rate=3e-3,
    )  # fmt: skip
    fit(replace(RECIPE, training=settings), TASK, part(), wrong, tmp_path)
    rates = [float(row["learning_rate"]) for row in table(tmp_path)]
    assert rates[0] == pytest.approx(3e-3 * 4 / 5)
    assert rates[1] == pytest.approx(3e-3)
    assert rates[-1] < 1e-3


def test_running_out_of_memory_halves_the_batches_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on from its last whole epoch, its steps as they were, and says so."""
    sizes: list[tuple[int, int]] = []
    learn = Fitting.training_step

    def greedy(self: Fitting, batch: Batch, index: int) -> torch.Tensor:
        sizes.append((self.current_epoch, len(batch[2])))
        if self.current_epoch == 2 and len(batch[2]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return learn(self, batch, index)

    monkeypatch.setattr(Fitting, "training_step", greedy)
    fit(RECIPE, TASK, part(), part(), tmp_path)
    assert [size for epoch, size in sizes if epoch < 2] == [16] * 8
    assert [size for epoch, size in sizes if epoch >= 2] == [16] + [8] * 16
    assert notes(tmp_path)["out_of_memory"]["batches_a_step_times"] == 2
    assert len(table(tmp_path)) == 4
    steps = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert steps == 16

    def greedier(self: Fitting, batch: Batch, index: int) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Fitting, "training_step", greedier)
    (tmp_path / "again").mkdir()
    with pytest.raises(MemoryError, match="half as large"):
        fit(RECIPE, TASK, part(), part(), tmp_path / "again")


def test_other_errors_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Fitting, batch: Batch, index: int) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Fitting, "training_step", wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(RECIPE, TASK, part(), part(), tmp_path)
    assert not notes(tmp_path)


def test_precision_is_chosen_by_flag(tmp_path: Path) -> None:
    seen = set()
    learn = F.cross_entropy

    def watched(logits: torch.Tensor, *others: object, **options: object) -> torch.Tensor:
        seen.add(logits.dtype)
        return learn(logits, *others, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "cross_entropy", watched)
        fit(RECIPE, TASK, part(), part(), tmp_path, Machine(precision="bf16-mixed"))
    assert torch.bfloat16 in seen


def test_an_unknown_monitor_is_refused_at_once(tmp_path: Path) -> None:
    wrong = replace(RECIPE, training=replace(RECIPE.training, monitor="luck"))
    with pytest.raises(ValueError, match="unknown monitor luck; known are train_loss"):
        fit(wrong, TASK, part(), part(), tmp_path)


def test_a_chest_that_is_mirrored_is_not_learnt_from(tmp_path: Path) -> None:
    mirrored = Recipe("chest-ct", "1", augmentation=AugmentationRecipe(horizontal_flip=True))
    nobody, nothing = Manifest((), lambda file: b""), Split((), (), ())
    with pytest.raises(ValueError, match="may not use horizontal_flip"):
        train.train(mirrored, nobody, nothing, tmp_path / "run", machine=Machine())
    assert not (tmp_path / "run").exists()


def test_the_command_makes_a_bundle_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a recipe and a packed folder to a verified bundle, and its evaluation."""
    data, run = tmp_path / "data", tmp_path / "run"
    write_packed(data)
    terms, missing = "terms of one's own", {"image_count": 8, "missing_count": 3}
    said = {"title": "Drawn cells", "licence": terms, "own_pictures": "5 pictures of the house"}
    (data / "dataset.json").write_text(json.dumps(said | {"locked_test": missing}))
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
    card = (bundle.path / "MODEL_CARD.md").read_text()
    assert card.startswith("# Blood cell, version 9")
    assert f"Drawn cells; 5 pictures of the house. Licence {terms}." in card
    assert "Of the 11 pictures of the locked test 8 were there" in card
    licence = (bundle.path / "LICENSE.md").read_text()
    assert "started from random ones" in licence
    assert (bundle.facts["licence"], bundle.facts["training"]["data"]["title"]) == (
        terms,
        "Drawn cells",
    )
    for text in (card, licence, (bundle.path / "selftest" / "SOURCES.md").read_text()):
        assert terms in text
        assert "CC BY 4.0" not in text
    assert load(bundle.path, device="cpu", cache_dir=tmp_path).self_test().passed
    command = ["evaluate", "--bundle", str(bundle.path), "--data", str(data)]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path), "--cache", str(tmp_path)])
    evaluate.main()
    assert "accuracy " in capsys.readouterr().out
    assert (tmp_path / "report.json").read_text().count('"recall"') == 8


def test_two_processes_train_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share each step's pictures over gloo; the first writes the run and its bundle."""
    data, alone, together = tmp_path / "data", tmp_path / "alone", tmp_path / "together"
    write_packed(data)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'reading_task = "blood-cell"\nversion = "9"\n'
        "[preprocess]\nnative_short_side_px = 32\nsize_px = 32\n"
        '[network]\nname = "plain-cnn"\ninit = "random"\ndropout = 0.0\n'
        "[training]\nepochs = 2\nbatch_size = 16\nlearning_rate = 4e-3\n"
        "[gates]\ndirections = 8\nshort_side_below_px = 16\n"
    )
    asked = ["--recipe", str(recipe), "--data", str(data), "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr(sys, "argv", ["train", *asked, "--out", str(alone)])
    train.main()
    done = subprocess.run(
        [sys.executable, "-m", "ml.train", *asked, "--out", str(together), "--devices", "2"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": bundle ") == 1
    assert "distributed_backend=gloo" in done.stderr
    for one, other in zip(table(alone), table(together), strict=True):
        for name in ("train_loss", "tune_loss"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=2e-4)
    assert bundles.load(together / "bundle").facts["training"]["bundled_by"]


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
