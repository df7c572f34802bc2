"""The command line of one installation: `flask user|site|audit|store|backup|restore ...`."""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext

from webapp import audit, backup, storage
from webapp.accounts import queries, services
from webapp.accounts.models import Site, User
from webapp.db import now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.permissions import Role

ROLE = click.Choice([role.value for role in Role])

users = AppGroup("user", help="Add, list and change users.")
sites = AppGroup("site", help="Add and list hospitals and departments.")
record = AppGroup("audit", help="Check the record of what was done and seen.")
store = AppGroup("store", help="Look after the store of pictures.")

FORGOTTEN_AFTER = dt.timedelta(days=1)
"""Whoever has stored something names it within seconds, or, of a data set, minutes."""


def init_app(app: Flask) -> None:
    """Make the commands known to `flask`."""
    for command in (users, sites, record, store, back_up, restore):
        app.cli.add_command(command)


@users.command("add")
@click.argument("username")
@click.option("--name", "full_name", required=True, help="The person's name.")
@click.option("--role", "roles", type=ROLE, multiple=True, required=True)
@click.option("--site", "site_names", multiple=True, help="Name of a site; may be repeated.")
def add_user(
    username: str, full_name: str, roles: tuple[str, ...], site_names: tuple[str, ...]
) -> None:
    """Add a user and show their one-time password."""
    with refusals():
        _, password = services.create_user(
            actor=None,
            username=username,
            full_name=full_name,
            roles=_roles(roles),
            sites=named_sites(site_names),
        )
    _show_one_time_password(password)


@users.command("list")
def list_users() -> None:
    """List users, one a line, with their roles and sites."""
    for user in queries.all_users():
        state = "disabled" if not user.is_active else "active"
        if user.is_active and user.password_is_one_time:
            state = "one-time password"
        roles = ",".join(sorted(user.roles))
        site_names = ",".join(sorted(site.name for site in user.sites))
        click.echo("\t".join((user.username, user.full_name, state, roles, site_names)))


@users.command("disable")
@click.argument("username")
def disable_user(username: str) -> None:
    """Let a user no longer sign in, and end their sessions."""
    with refusals():
        services.disable_user(actor=None, user=named_user(username))


@users.command("enable")
@click.argument("username")
def enable_user(username: str) -> None:
    """Let a disabled user sign in again."""
    services.enable_user(actor=None, user=named_user(username))


@users.command("reset-password")
@click.argument("username")
def reset_password(username: str) -> None:
    """Make and show a one-time password, and end the user's sessions."""
    _show_one_time_password(services.reset_password(actor=None, user=named_user(username)))


@users.command("set-password")
@click.argument("username")
@click.password_option(help="Asked for if it is not given, which keeps it off the screen.")
def set_password(username: str, password: str) -> None:
    """Give a user a lasting password, and end their sessions."""
    with refusals():
        services.set_password(actor=None, user=named_user(username), password=password)


@users.command("roles")
@click.argument("username")
@click.argument("roles", type=ROLE, nargs=-1, required=True)
def set_roles(username: str, roles: tuple[str, ...]) -> None:
    """Give a user these roles and no others, and end their sessions."""
    with refusals():
        services.update_user(actor=None, user=named_user(username), roles=_roles(roles))


@users.command("sites")
@click.argument("username")
@click.argument("site_names", metavar="[SITE]...", nargs=-1)
def set_sites(username: str, site_names: tuple[str, ...]) -> None:
    """Let a user belong to these sites and no others, and end their sessions."""
    with refusals():
        services.update_user(actor=None, user=named_user(username), sites=named_sites(site_names))


@sites.command("add")
@click.argument("name")
def add_site(name: str) -> None:
    """Add a hospital or department."""
    with refusals():
        services.create_site(actor=None, name=name)


@sites.command("list")
def list_sites() -> None:
    """List sites, one a line."""
    for site in queries.all_sites():
        click.echo(site.name)


@sites.command("own-impression")
@click.argument("name")
@click.argument("setting", type=click.Choice(["on", "off"]))
def own_impression(name: str, setting: str) -> None:
    """Have the clinicians of a site say what they see before they are shown an answer."""
    (site,) = named_sites((name,))
    services.ask_own_impression_first(actor=None, site=site, is_asked=setting == "on")


@record.command("verify")
def verify() -> None:
    """Look for rows that were edited, removed, moved or cut off; fails if there are any."""
    _report(audit.verify())


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_appcontext
def back_up(file: Path) -> None:
    """Write all that there is to a tar file; the installation may be in use."""
    try:
        counts = backup.back_up(file)
    except backup.BackupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file}: {sum(counts.values())} rows, {counts['cases']} cases")
    click.echo("It holds patients' data and keys: keep it where only you can read it.")


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_appcontext
def restore(file: Path) -> None:
    """Fill an installation that has no users yet from a backup, and verify the record."""
    try:
        problems = backup.restore(file)
    except backup.BackupError as error:
        raise click.ClickException(str(error)) from error
    _report(problems)


@store.command("clean")
@click.confirmation_option(
    prompt="Remove what was stored over a day ago and no row names? Have a backup, and do not"
    " restore one meanwhile."
)
def clean_store() -> None:
    """Remove pictures that were stored when their process was killed, before a row named them.

    Refuses where rows do not name most of what is stored: this is another installation's store
    then, or rows are missing.
    """
    removed = 0
    try:
        for count in storage.remove_forgotten(stored_before=now() - FORGOTTEN_AFTER):
            removed += count
    except (storage.Foreign, storage.Away) as error:
        raise click.ClickException(f"refused: {error}") from error
    finally:  # also of what was cut off
        with transaction():
            audit.record(actor=None, action="store.cleaned", count=removed)
        click.echo(f"Removed: {removed}")


@contextmanager
def refusals() -> Iterator[None]:
    """Say why a service refused, instead of a traceback."""
    try:
        yield
    except (Conflict, Invalid, NotFound) as error:
        raise click.ClickException(f"refused: {error.reason.replace('_', ' ')}") from error


def _report(problems: Sequence[audit.Problem]) -> None:
    for problem in problems:
        click.echo(f"{'warning' if problem.is_warning else problem.kind}: {problem.sentence}")
    if any(not problem.is_warning for problem in problems):
        raise click.ClickException("the record was tampered with, or its key is another one")
    click.echo("The record is whole.")


def _show_one_time_password(password: str) -> None:
    click.echo(f"One-time password, shown this once: {password}")


def _roles(values: tuple[str, ...]) -> set[Role]:
    return {Role(value) for value in values}


def named_user(username: str) -> User:
    user = queries.user_named(username)
    if user is None:
        raise click.ClickException(f"there is no user {username!r}")
    return user


def named_sites(names: tuple[str, ...]) -> list[Site]:
    found = {name: queries.site_named(name) for name in names}
    missing = [name for name, site in found.items() if site is None]
    if missing:
        raise click.ClickException(f"there is no site {', '.join(map(repr, missing))}")
    return [site for site in found.values() if site]
