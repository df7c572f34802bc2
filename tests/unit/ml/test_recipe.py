"""Recipes: a file overrides defaults, and nothing in it is passed over."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ml.reading_task import TASKS, ReadingTask
from ml.recipe import Recipe, RecipeError

RECIPES = Path(__file__).parents[3] / "ml" / "recipes"
LEAST = {"reading_task": "blood-cell", "version": "1"}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_names_a_reading_task(path: Path) -> None:
    recipe = Recipe.load(path)
    task = ReadingTask.named(recipe.reading_task)
    assert task.code == recipe.reading_task
    assert not set(recipe.data.leave_out) & set(task.codes)
    task.require_natural(recipe.augmentation)
    flipped = [replace(recipe.augmentation, **{name: True}) for name in task.unnatural]
    assert len(flipped) == {"chest-ct": 3, "breast-ultrasound": 2}.get(task.code, 0)
    for augmentation in flipped:
        with pytest.raises(ValueError, match=f"augmentation of {task.code} may not use"):
            task.require_natural(augmentation)


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_reading_task_is_complete(path: Path) -> None:
    task = ReadingTask.named(path.stem)
    assert task.code == path.stem
    assert list(task.codes) == sorted(set(task.codes))
    for finding in task.findings:
        assert finding.urgency in {"routine", "urgent", "asap", "stat"}
        assert finding.malignancy in {"none", "benign", "malignant"}
        assert 0 <= finding.severity <= 5


def test_what_is_quoted_first_is_of_the_models_that_learnt_from_the_house_s_data() -> None:
    chest = ReadingTask.named("chest-ct")
    assert chest.quoted_first
    assert (RECIPES / f"{chest.quoted_first.recipe}.toml").exists()
    same = {
        "title": "SARS-CoV-2 CT-Scan",
        "licence": "none stated",
        "url": "arxiv.org/abs/2003.13865",
    }
    assert chest.taught_by(same).quoted_first == chest.quoted_first
    assert chest.taught_by(same | {"own_pictures": "5 of the house"}).quoted_first is None
    assert chest.taught_by({"title": "Other slices", "licence": "CC0"}).quoted_first is None


def test_a_file_overrides_defaults(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('reading_task = "x"\nversion = "1"\n[training]\nepochs = 3\n')
    recipe = Recipe.load(path)
    assert (recipe.training.epochs, recipe.training.batch_size) == (3, 64)


def test_a_recipe_survives_json() -> None:
    recipe = Recipe.from_dict({**LEAST, "preprocess": {"size_px": 64}})
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"trainign": {}}, "unknown key trainign; known keys are reading_task, version"),
        ({"training": {"epoch": 3}}, "recipe.training: unknown key epoch; known keys are epochs"),
        ({"training": {"epochs": "3"}}, "recipe.training.epochs: expected int, got '3'"),
        ({"training": {"epochs": True}}, "recipe.training.epochs: expected int, got True"),
        ({"training": 3}, "recipe.training: expected a table"),
        ({"preprocess": {"interpolation": "magic"}}, "unknown interpolation magic"),
        ({"preprocess": {"size_px": 900}}, "size_px must lie between"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe.from_dict({**LEAST, **table})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(RecipeError, match="reading_task"):
        Recipe.from_dict({"version": "1"})
