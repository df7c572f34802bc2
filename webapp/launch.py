"""One command on a laptop: prepare the instance, then run every process until Ctrl-C."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import flask_migrate

from webapp import broker
from webapp.accounts.services import create_first_accounts, one_time_passwords_standing
from webapp.config import REPOSITORY, InvalidSettings, Settings
from webapp.core import create_core

PROCESSES = ["web", "worker", "steward", "trainer", "sweeper"]


def main() -> None:
    """Prepare, then become the process manager; exits with a message if something is unusable."""
    os.umask(0o077)  # what these processes write is nobody else's to read
    try:
        settings = Settings.from_environment()
        if settings.embedded_broker and broker.is_running(settings):
            sys.exit(runs_already(settings))
        migrate(settings)
    except InvalidSettings as error:
        sys.exit(str(error))
    if not install_bundles():
        sys.exit("The models that are shipped could not be installed.")
    announce(settings, first_accounts(settings))
    _note(settings).write_text(f"{address(settings)} {os.getpid()}")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    processes = PROCESSES + (["broker"] if settings.embedded_broker else [])
    manager = [sys.executable, "-m", "webapp.processes", "--env", os.devnull, "start"]
    command = [*manager, "--port", str(settings.port), *processes]
    os.chdir(REPOSITORY)
    os.execve(sys.executable, command, environment)


def address(settings: Settings) -> str:
    """Where a browser on this machine finds the web server."""
    return f"http://{settings.host}:{settings.port}"


def runs_already(settings: Settings) -> str:
    """That this instance is in use, where it serves, and how to stop it, as far as is known."""
    said = f"Firstlook runs already in {settings.instance_dir}."
    try:
        served_at, process = _note(settings).read_text().split()
        os.kill(int(process), 0)  # fails where there is no such process any more
    except (OSError, ValueError):
        return said
    return (
        f"{said} It serves {served_at}.\n"
        f"Ctrl-C in the terminal where it was started stops it; so does: kill {process}"
    )


def _note(settings: Settings) -> Path:
    """Where an instance that runs says so: its address, and the number of its first process."""
    return settings.instance_dir / "launched"


def migrate(settings: Settings) -> None:
    """Bring the database to its newest form."""
    with create_core(settings).app_context():
        logging.getLogger("alembic").setLevel(logging.WARNING)
        flask_migrate.upgrade()
        if settings.production:
            refuse_one_time_passwords()


def refuse_one_time_passwords() -> None:
    """In production nobody may hold a password that someone else has seen: exits, naming who."""
    standing = one_time_passwords_standing()
    if standing:
        names = ", ".join(standing)
        sys.exit(
            f"One-time passwords still stand: {names}. Set others with: flask user set-password"
        )


def first_accounts(settings: Settings) -> list[tuple[str, str]]:
    """The accounts of a first start, with their one-time passwords; in production none."""
    if settings.production:
        return []
    with create_core(settings).app_context():
        return create_first_accounts()


def install_bundles() -> bool:
    """Install the models that are shipped, in a process of its own: it may need torch."""
    bundles = sorted(str(path.parent) for path in REPOSITORY.glob("ml/bundles/*/*/bundle.json"))
    command = [sys.executable, "-m", "webapp.worker.install", *bundles]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0


def announce(settings: Settings, accounts: list[tuple[str, str]]) -> None:
    """Say where to go, and the passwords of a first start, which are shown this once."""
    for username, password in accounts:
        print(f"  one-time password of {username:<14} {password}")
    if accounts:
        print("  They are not shown again, and are changed at the first sign-in.\n")
        print("  Demonstration cases, from published pictures: .venv/bin/flask demo add")
        print("  (or on the empty worklist); they go with: .venv/bin/flask demo remove\n")
    print(f"  Firstlook: {address(settings)}   (Ctrl-C stops it)\n", flush=True)


if __name__ == "__main__":
    main()
