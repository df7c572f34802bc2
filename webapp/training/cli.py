"""Trainings from the command line: `flask training run|list|cancel|retry`."""

import json
from collections.abc import Iterable
from typing import Any

import click
from flask.cli import AppGroup

from webapp.cli import refusals
from webapp.datasets.queries import get_snapshot
from webapp.errors import Invalid
from webapp.training import queries, services
from webapp.training.models import Device

training = AppGroup("training", help="Train models on snapshots.")


@training.command("run")
@click.option("--recipe", "recipe_name", required=True, help="Its name, as in ml/recipes.")
@click.option("--snapshot", "snapshot_id", type=int, required=True, help="Its number.")
@click.option("--init", default="", help="imagenet, random, or bundle:SHA256; else what serves.")
@click.option("--device", type=click.Choice([one.value for one in Device]), default="auto")
@click.option("--set", "settings", multiple=True, help="table.key=value in place of the recipe's.")
def run_training(
    recipe_name: str, snapshot_id: int, init: str, device: str, settings: tuple[str, ...]
) -> None:
    """Ask for a training; a trainer takes it up, and the page shows how it goes."""
    with refusals():
        recipe, snapshot = queries.get_recipe(recipe_name), get_snapshot(snapshot_id)
        try:
            run = services.request_run(
                actor=None,
                snapshot=snapshot,
                recipe=recipe,
                init=init,
                overrides=_overrides(settings),
                device=Device(device),
            )
        except Invalid as error:
            wrong = ", ".join(f"{name} ({reason})" for name, reason in error.facts.items())
            raise click.ClickException(f"refused: {wrong.replace('_', ' ')}") from error
    click.echo(f"Training {run.id} is asked for: /training/{run.id}")


@training.command("list")
def list_trainings() -> None:
    """List trainings, one a line, the latest first: number, state, recipe, progress."""
    for run in queries.latest_runs():
        percent = f"{run.share_done:.0%}" if run.state.is_open else ""
        click.echo("\t".join((str(run.id), run.state, run.recipe_name, percent, run.why)))


@training.command("cancel")
@click.argument("run_id", type=int)
def cancel_training(run_id: int) -> None:
    """End a training; nothing of it is kept."""
    with refusals():
        services.cancel(actor=None, run=queries.get_run(run_id))


@training.command("retry")
@click.argument("run_id", type=int)
def retry_training(run_id: int) -> None:
    """Have a failed training taken up again."""
    with refusals():
        services.retry(actor=None, run=queries.get_run(run_id))


def _overrides(settings: Iterable[str]) -> dict[str, Any]:
    """Values as JSON has them; what is none is text."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        name, is_given, text = setting.partition("=")
        if not is_given:
            raise click.ClickException(f"{setting!r} is not of the form table.key=value")
        try:
            overrides[name] = json.loads(text)
        except ValueError:
            overrides[name] = text
    return overrides
