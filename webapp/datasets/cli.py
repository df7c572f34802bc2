"""Data sets and snapshots from the command line: `flask dataset ...`, `flask snapshot ...`."""

import json
import time
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup

from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import reading_task_by_code, reading_tasks
from webapp.cli import refusals
from webapp.datasets import queries, services
from webapp.datasets.models import Dataset, Problem, Standing
from webapp.db import db

dataset_commands = AppGroup("dataset", help="Register and list data sets to learn from.")
snapshot_commands = AppGroup("snapshot", help="Freeze what can be learnt from, and list it.")

ASKS_EVERY_SECONDS = 0.5
PATIENCE_SECONDS = 15
"""So long a data set may wait to be begun before it is asked whether anything runs."""


@dataset_commands.command("register")
@click.argument("manifest", type=click.Path(exists=True, path_type=Path))
@click.option("--task", "code", required=True, help="The code of the reading task.")
@click.option("--name", help="What to call it; else as dataset.json beside the manifest says.")
@click.option("--licence", help="Its terms; else as dataset.json says.")
@click.option("--source", help="Who published it, and where; else as dataset.json says.")
def register(
    manifest: Path, code: str, name: str | None, licence: str | None, source: str | None
) -> None:
    """Have the data set of MANIFEST, a manifest.csv or its folder, checked and copied here.

    A worker does it (make run starts it); this command waits for it, and may be ended meanwhile.
    """
    folder = (manifest.parent if manifest.is_file() else manifest).resolve()
    facts = _facts(folder)
    with refusals():
        dataset = services.register(
            actor=None,
            reading_task=_task(code),
            name=name or (facts.get("title") or folder.name)[: services.NAME_LENGTH_MAX],
            licence=licence or facts.get("licence") or "",
            source=source or " ".join(filter(None, (facts.get("publisher"), facts.get("url")))),
            files=folder,
        )
    _wait(dataset)
    _report(dataset)


@dataset_commands.command("list")
def list_datasets() -> None:
    """List data sets, one a line: number, reading task, state, pictures, name, content hash."""
    for dataset in queries.datasets():
        cells = (
            dataset.id,
            dataset.reading_task.code,
            dataset.standing.value,
            dataset.image_count or 0,
            dataset.name,
            dataset.content_sha256 or "-",
        )
        click.echo("\t".join(map(str, cells)))


@snapshot_commands.command("freeze")
@click.option("--task", "code", required=True, help="The code of the reading task.")
@click.option("--dataset", "dataset_id", type=int, help="The number of the base data set.")
@click.option("--agreement", is_flag=True, help="Also learn from agreement with the model alone.")
@click.option("--note", default="", help="What it is for.")
def freeze(code: str, dataset_id: int | None, agreement: bool, note: str) -> None:
    """Freeze what clinicians have decided so far, beside a data set."""
    with refusals():
        snapshot = services.freeze(
            actor=None,
            reading_task=_task(code),
            dataset=None if dataset_id is None else queries.get_dataset(dataset_id),
            includes_agreement=agreement,
            note=note,
        )
    counts = snapshot.counts
    click.echo(
        f"Snapshot {snapshot.id}: {counts['images']} own pictures of {counts['patients']} patients"
    )


@snapshot_commands.command("list")
def list_snapshots() -> None:
    """List snapshots, one a line: number, reading task, own pictures, base, when."""
    for snapshot in queries.snapshots():
        cells = (
            snapshot.id,
            snapshot.reading_task.code,
            snapshot.counts["images"],
            snapshot.dataset.name if snapshot.dataset else "-",
            snapshot.created_at.isoformat(timespec="seconds"),
        )
        click.echo("\t".join(map(str, cells)))


def _task(code: str) -> ReadingTask:
    task = reading_task_by_code(code)
    if task is None:
        known = ", ".join(task.code for task in reading_tasks()) or "none: install a model first"
        raise click.ClickException(f"there is no reading task {code!r}; known are {known}")
    return task


def _facts(folder: Path) -> dict[str, Any]:
    """What the data preparation wrote beside the manifest; nothing where it wrote none."""
    path = folder / "dataset.json"
    facts: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return facts


def _wait(dataset: Dataset) -> None:
    began, is_hinted = time.monotonic(), False
    while dataset.standing.is_open:
        is_late = time.monotonic() - began > PATIENCE_SECONDS
        if dataset.standing is Standing.WAITING and is_late and not is_hinted:
            click.echo("It waits for a worker: does the service run? (make run)", err=True)
            is_hinted = True
        time.sleep(ASKS_EVERY_SECONDS)
        db.session.rollback()
        db.session.refresh(dataset)


def _report(dataset: Dataset) -> None:
    for found in dataset.problems:
        examples = ", ".join(found["examples"])
        click.echo(f"{Problem(found['kind']).label} {found['count'] or ''} {examples}".strip())
    if not dataset.is_registered:
        raise click.ClickException(
            f"data set {dataset.id} is {dataset.standing.value}"
            + (f": {dataset.last_error}" if dataset.last_error else "")
        )
    click.echo(f"Data set {dataset.id}: {dataset.image_count} pictures, {dataset.content_sha256}")
    for code, count in (dataset.counts or {}).items():
        click.echo(f"  {code}\t{count}")
