"""Demonstration cases from the command line: `flask demo add`, `flask demo remove`."""

import click
from flask.cli import AppGroup

from webapp.accounts.models import Site, User
from webapp.cli import named_sites, named_user, refusals
from webapp.triage import demonstration

demo = AppGroup("demo", help="Add and remove cases that show how Firstlook works.")
USER = click.option("--user", "username", default="clinician", show_default=True, help="Who acts.")
SITE = click.option("--site", "site_name", help="Where; without it, at the user's first site.")


@demo.command("add")
@USER
@SITE
def add(username: str, site_name: str | None) -> None:
    """Add demonstration cases of every reading task, from published pictures."""
    user = named_user(username)
    with refusals():
        added = demonstration.add(actor=user, site=_site(user, site_name))
    click.echo(f"{len(added)} demonstration cases are added.")


@demo.command("remove")
@USER
@SITE
def remove(username: str, site_name: str | None) -> None:
    """Void the demonstration cases of a site; what was read is kept."""
    user = named_user(username)
    with refusals():
        removed = demonstration.remove(actor=user, site=_site(user, site_name))
    click.echo(f"{removed} demonstration cases are removed.")


def _site(user: User, name: str | None) -> Site:
    if name is not None:
        return named_sites((name,))[0]
    if not user.sites:
        raise click.ClickException(f"{user.username!r} belongs to no site")
    return min(user.sites, key=lambda site: site.name)
