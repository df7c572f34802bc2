"""Erasing from the command line: `flask patient erase --site NAME`."""

import click
from flask.cli import AppGroup

from webapp.cli import named_sites, refusals
from webapp.erasures import services

patients = AppGroup("patient", help="Erase patients.")


@patients.command("erase")
@click.option("--site", "site_name", required=True, help="Whose patient it is.")
@click.option(
    "--identifier",
    prompt="Identifier that the site knows the patient by",
    confirmation_prompt="Once more",
    help="Asked for twice if it is not given, which keeps it out of the shell's history.",
)
@click.option("--reason", prompt="Reason", help="It is kept; leave the identifier out of it.")
def erase(site_name: str, identifier: str, reason: str) -> None:
    """Remove a patient's pictures, identifiers and notes; what counts them is kept."""
    (site,) = named_sites((site_name,))
    with refusals():
        erasure = services.erase_named(actor=None, site=site, identifier=identifier, reason=reason)
    for title, counts in (("removed", erasure.removed), ("remains", erasure.remains)):
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        click.echo(f"{title}: {said}")
    if erasure.blobs_left:
        click.echo(f"{len(erasure.blobs_left)} pictures are removed as soon as the store lets go.")
    click.echo("Backups made before still hold the patient: see docs/deploy.md.")
