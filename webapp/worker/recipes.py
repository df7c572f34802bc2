"""Tells the web which recipes there are: `python -m webapp.worker.recipes`.

The trainer runs it whenever it starts, so that what can be asked for is what it knows.
"""

import sys
from itertools import takewhile
from pathlib import Path

from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.recipe_schema import schema
from webapp.config import REPOSITORY, InvalidSettings
from webapp.core import create_core
from webapp.training import services

RECIPES = REPOSITORY / "ml" / "recipes"


def write(folder: Path = RECIPES) -> None:
    """Write every recipe in the folder to the database, with what may be in one."""
    services.write_recipes(recipes=[_told(file) for file in sorted(folder.glob("*.toml"))])


def _told(file: Path) -> services.Recipe:
    recipe = Recipe.load(file)
    task = ReadingTask.named(recipe.reading_task)
    return services.Recipe(file.stem, _about(file), recipe.to_dict(), schema(task))


def _about(file: Path) -> str:
    """The remark that a file begins with."""
    lines = file.read_text(encoding="utf-8").splitlines()
    remark = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.lstrip("# ").strip() for line in remark)


def main() -> int:
    """Write them; the exit status says whether the settings can be used."""
    try:
        app = create_core()
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    with app.app_context():
        write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
