"""Bundles from the command line: `flask bundle install PATH`."""

import time
from pathlib import Path

import click
from flask.cli import AppGroup

from webapp.bundles import services
from webapp.bundles.archive import BundleArchive, pack
from webapp.bundles.models import Installation
from webapp.bundles.refusals import sentence
from webapp.db import db
from webapp.errors import Invalid

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 15

bundle = AppGroup("bundle", help="Install models from outside.")


@bundle.command("install")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--sha256", help="The hash that the bundle should have.")
def install(path: Path, sha256: str | None) -> None:
    """Have a bundle, a folder or a ZIP of it, verified, tested and registered; waits for that.

    The worker for administration does it. If this is stopped meanwhile, the work still waits.
    """
    try:
        data = pack(path) if path.is_dir() else path.read_bytes()
        BundleArchive(data)
    except Invalid as error:
        raise click.ClickException(sentence({"reason": error.reason, **error.facts})) from error
    installation = services.request(
        actor=None, archive=data, file_name=path.name, expected_sha256=sha256
    )
    _wait(installation)
    _report(installation)


def _wait(installation: Installation) -> None:
    told_at = time.monotonic() + PATIENCE_SECONDS
    while installation.state.is_open:
        if installation.started_at is None and time.monotonic() > told_at:
            click.echo("No worker has taken it yet: does `honcho start steward` run?", err=True)
            told_at = float("inf")
        time.sleep(LOOK_SECONDS)
        db.session.refresh(installation)
        db.session.rollback()  # nothing is held open while it waits


def _report(installation: Installation) -> None:
    if installation.problems:
        raise click.ClickException("\n".join(map(sentence, installation.problems)))
    version = installation.model_version
    if version is None:
        raise click.ClickException(f"{installation.last_error}")
    click.echo(f"{version.reading_task.code} {version.version} is installed: {version.id}")
