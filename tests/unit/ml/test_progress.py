"""What a run says of itself while it goes on, and of what ended it."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ml import train
from ml.bundle import INSTALLED
from ml.datasets import packed
from ml.progress import FILE, Ending
from ml.recipe import Recipe, RecipeError
from ml.recipe_schema import schema
from ml.training import Machine, fit, split_manifest
from ml.warm_start import find_bundle
from tests.unit.ml.factories import make_bundle
from tests.unit.ml.test_training import RECIPE, TASK, part

RECIPES = sorted((Path(__file__).parents[3] / "ml" / "recipes").glob("*.toml"))


def said(run: Path) -> dict[str, object]:
    return dict(json.loads((run / FILE).read_text()))


def test_a_run_says_how_far_it_is(tmp_path: Path) -> None:
    fit(RECIPE, TASK, part(), part(), tmp_path)
    now = said(tmp_path)
    assert (now["stage"], now["epoch"], now["epochs"]) == ("training", 4, 4)
    assert (now["batch"], now["batches"], now["seconds_left"]) == (4, 4, 0.0)
    assert [file.name for file in tmp_path.glob(".progress*")] == []


def test_the_time_left_is_that_of_the_epochs_left(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    fit(RECIPE, TASK, part(), part(), tmp_path)
    now = said(tmp_path)
    assert (now["epoch"], now["epochs"]) == (1, 4)
    assert isinstance(now["seconds_left"], float)
    assert now["seconds_left"] > 0


def test_a_finished_run_names_its_bundle(blood_like: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, training=replace(RECIPE.training, epochs=1))
    manifest, out = packed.read(blood_like), tmp_path / "run"
    split = split_manifest(manifest, recipe)
    bundle = train.train(recipe, manifest, split, out, machine=Machine())
    assert bundle
    assert (said(out)["stage"], said(out)["bundle_sha256"]) == ("finished", bundle.sha256)


def test_a_run_that_the_disk_has_no_room_for_does_not_begin(
    blood_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SPARE_BYTES", 10**18)
    manifest = packed.read(blood_like)
    split = split_manifest(manifest, RECIPE)
    with pytest.raises(OSError, match="GB are free") as error:
        train.train(RECIPE, manifest, split, tmp_path / "run", machine=Machine())
    assert train.ending(error.value) == Ending.DISK_FULL
    assert not (tmp_path / "run" / "cache").exists()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), Ending.OUT_OF_MEMORY),
        (RuntimeError("can't allocate memory"), Ending.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), Ending.DISK_FULL),
        (RecipeError("unknown key"), Ending.REFUSED),
        (OSError(errno.EACCES, "denied"), 1),
        (RuntimeError("something else"), 1),
    ],
)
def test_the_exit_status_tells_what_ended_a_run(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_it(_options: object) -> None:
        raise error

    monkeypatch.setattr(train, "_options", lambda: None)
    monkeypatch.setattr(train, "_train", raise_it)
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == status


def test_the_schema_says_of_every_key_what_it_takes() -> None:
    tables = {table["name"]: table for table in schema(TASK)}
    parts = ["data", "preprocess", "network", "metadata", "augmentation", "training", "gates"]
    assert [*tables] == ["", *parts]
    keys = {key["name"]: key for key in tables["training"]["keys"]}
    assert keys["epochs"] == {
        "name": "epochs",
        "type": "int",
        "default": 10,
        "choices": None,
        "about": "None fits nothing: what the network starts from is calibrated and bundled anew.",
    }
    assert keys["loss"]["choices"] == ("cross_entropy", "focal")
    assert {key["type"] for table in tables.values() for key in table["keys"]} == {
        *("int", "float", "bool", "str", "floats", "strs")
    }
    free = {
        f"{name}.{key['name']}"
        for name, table in tables.items()
        for key in table["keys"]
        if key["type"] == "str" and key["choices"] is None
    }
    assert free == {".reading_task", ".version", ".name", "network.init"}
    json.dumps(schema(TASK))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_is_as_the_schema_says(file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(file)
    values = recipe.to_dict()
    for table in schema(TASK):
        part_of = values[table["name"]] if table["name"] else values
        for key in table["keys"]:
            assert not key["choices"] or part_of[key["name"]] in key["choices"]
    copy = tmp_path / "recipe.json"
    copy.write_text(json.dumps(values))
    assert Recipe.load(copy) == recipe


def test_a_bundle_is_found_by_its_hash_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_bundle(tmp_path / "made")
    sha256 = find_bundle(str(made)).sha256
    with pytest.raises(ValueError, match="no bundle"):
        find_bundle(sha256)
    made.rename(tmp_path / sha256)
    monkeypatch.setenv(INSTALLED, str(tmp_path))
    assert find_bundle(sha256).path == tmp_path / sha256
