"""The command line: `flask user`, `flask site`, `flask audit`, without the web."""

import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask

from tests.conftest import People
from webapp import audit
from webapp.accounts import queries
from webapp.accounts.models import UserSession
from webapp.accounts.passwords import verify_password
from webapp.accounts.services import sign_in
from webapp.config import current_settings
from webapp.db import db
from webapp.permissions import Role

Run = Callable[..., Result]
ONE_TIME = re.compile(r"[a-z2-9]{4}(?:-[a-z2-9]{4}){3}")


@pytest.fixture
def run(core: Flask) -> Run:
    """Runs `flask` with these arguments."""

    def invoke(*arguments: str, typed: str | None = None) -> Result:
        result = core.test_cli_runner().invoke(args=arguments, input=typed)
        db.session.remove()
        return result

    return invoke


def test_a_user_is_added_and_can_sign_in(run: Run, people: People) -> None:
    people.site("North wing")
    result = run(
        *("user", "add", "New.One", "--name", "New One"),
        *("--role", "clinician", "--role", "administrator", "--site", "North wing"),
    )
    assert result.exit_code == 0
    [password] = ONE_TIME.findall(result.output)
    assert sign_in(username="new.one", password=password, remote_address="")
    assert run("user", "list").output == (
        "new.one\tNew One\tone-time password\tadministrator,clinician\tNorth wing\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--role", "clinician"), "refused: site needed"),
        (("--role", "clinician", "--site", "Nowhere"), "there is no site 'Nowhere'"),
        (("--role", "owner"), "'owner' is not one of"),
        ((), "Missing option '--role'"),
    ],
)
def test_a_user_is_not_added(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run("user", "add", "new.one", "--name", "New One", *arguments)
    assert result.exit_code != 0
    assert message in result.output
    assert queries.all_users() == []


def test_a_user_is_disabled_and_enabled(run: Run, people: People) -> None:
    username = people.clinician().username
    assert run("user", "disable", username).exit_code == 0
    assert run("user", "list").output.split("\t")[2] == "disabled"
    assert run("user", "enable", username).exit_code == 0
    assert run("user", "list").output.split("\t")[2] == "active"


def test_the_last_administrator_is_not_disabled(run: Run, people: People) -> None:
    result = run("user", "disable", people.administrator().username)
    assert result.exit_code == 1
    assert "refused: last administrator" in result.output


def test_a_password_is_reset(run: Run, people: People) -> None:
    username = people.clinician().username
    result = run("user", "reset-password", username)
    [password] = ONE_TIME.findall(result.output)
    user = queries.user_named(username)
    assert user is not None
    assert verify_password(password, user.password_hash)
    assert user.password_is_one_time


def test_a_password_is_set_without_being_shown(run: Run, people: People) -> None:
    username = people.user(Role.ADMINISTRATOR, password_is_one_time=True).username
    result = run("user", "set-password", username, typed="another good one\n" * 2)
    assert result.exit_code == 0
    assert "another good one" not in result.output
    user = queries.user_named(username)
    assert user is not None
    assert verify_password("another good one", user.password_hash)
    assert not user.password_is_one_time
    result = run("user", "set-password", username, typed="short\n" * 2)
    assert "refused: password too short" in result.output


def test_roles_and_sites_are_given(run: Run, people: People) -> None:
    people.administrator()
    people.site("North wing")
    username = people.clinician().username
    sign_in(username=username, password="correct horse battery", remote_address="")
    assert run("user", "sites", username, "North wing").exit_code == 0
    assert run("user", "roles", username, "clinician", "administrator").exit_code == 0
    user = queries.user_named(username)
    assert user is not None
    assert user.roles == {Role.CLINICIAN, Role.ADMINISTRATOR}
    assert [site.name for site in user.sites] == ["North wing"]
    assert db.session.scalar(sa.select(UserSession)) is None
    assert "refused: site needed" in run("user", "sites", username).output


@pytest.mark.parametrize(
    "arguments",
    [
        ("disable", "nobody"),
        ("enable", "nobody"),
        ("reset-password", "nobody"),
        ("set-password", "nobody", "--password", "another good one"),
        ("roles", "nobody", "clinician"),
        ("sites", "nobody"),
    ],
)
def test_who_is_not_there_is_named(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("user", *arguments)
    assert result.exit_code == 1
    assert "there is no user 'nobody'" in result.output


def test_sites_are_added_and_listed(run: Run) -> None:
    assert run("site", "add", "South wing").exit_code == 0
    assert run("site", "add", "North wing").exit_code == 0
    assert run("site", "list").output == "North wing\nSouth wing\n"
    result = run("site", "add", "North wing")
    assert result.exit_code == 1
    assert "refused: site taken" in result.output


def test_a_site_asks_for_an_own_impression_first(run: Run) -> None:
    run("site", "add", "North wing")
    assert run("site", "own-impression", "North wing", "on").exit_code == 0
    site = queries.site_named("North wing")
    assert site is not None
    assert site.own_impression_first
    assert run("site", "own-impression", "South wing", "on").exit_code == 1


def test_a_whole_record_is_verified(run: Run) -> None:
    run("site", "add", "North wing")
    result = run("audit", "verify")
    assert (result.exit_code, result.output) == (0, "The record is whole.\n")


def test_tampering_makes_verify_fail(run: Run, core: Flask) -> None:
    run("site", "add", "North wing")
    core.extensions["audit_key"] = b"another"
    result = run("audit", "verify")
    assert result.exit_code == 1
    assert "edited: row 1 was edited" in result.output


def test_a_warning_does_not_make_verify_fail(run: Run) -> None:
    run("site", "add", "North wing")
    audit.append_anchor()
    current_settings().audit_anchors.unlink()
    audit.append_anchor()
    result = run("audit", "verify")
    assert result.exit_code == 0
    assert "warning: the anchors file was begun again at row 3" in result.output
