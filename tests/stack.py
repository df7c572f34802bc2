"""The whole house for a test: real web server, worker, sweeper and broker, in a temporary instance.

    with Stack(bundle=folder) as stack:
        client = stack.sign_in()
        case_id = client.submit([image_bytes])
        answer = stack.wait_for(case_id)

Every process is a line of the Procfile, started with a real environment, and can be killed and
started again. `stack.app` is the application core on the same database, to look at rows.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
import requests
from flask import Flask
from sqlalchemy import select

from tests import made
from webapp import queue
from webapp.accounts import queries as account_queries
from webapp.accounts import services as accounts
from webapp.assessments.models import Assessment, Purpose, State
from webapp.broker import server_path
from webapp.config import REPOSITORY, Settings
from webapp.core import create_core
from webapp.db import db
from webapp.permissions import Role

PASSWORD = "correct horse battery staple"
START_SECONDS = 60

T = TypeVar("T")


class Stuck(AssertionError):
    """Something did not happen in time."""


def wait_until(happened: Callable[[], T], what: str, seconds: float = 30) -> T:
    """The first true answer of `happened`, asked again and again. Raises Stuck."""
    deadline = time.monotonic() + seconds
    while not (answer := happened()):
        if time.monotonic() > deadline:
            raise Stuck(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)
    return answer


class Refused(AssertionError):
    """A page did not do what was asked of it."""


def redis_server() -> str:
    """The Redis of this machine; where it has none, the server that Firstlook brings along, which
    speaks the same protocol."""
    return shutil.which("redis-server") or str(server_path())


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Answer:
    """What became of a case."""

    state: State
    finding: str | None
    probability: float | None
    probabilities: Sequence[Mapping[str, float]]
    """One mapping an image, by the codes of the findings, the likeliest first."""
    attempt_count: int
    failure: str | None


@dataclass(frozen=True)
class FilledForm:
    """What the new-case form sends."""

    fields: dict[str, str]
    files: list[tuple[str, tuple[str, bytes]]]


class Client:
    """A signed-in user, over HTTP, as a browser without script."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()

    def get(self, path: str, **arguments: Any) -> requests.Response:
        return self.http.get(self.url + path, timeout=30, **arguments)

    def post(self, path: str, data: Mapping[str, Any], **arguments: Any) -> requests.Response:
        return self.http.post(self.url + path, data=data, timeout=60, **arguments)

    def press(self, page: str, action: str, **fields: str) -> str:
        """Send a form of a page, filled with `fields`; returns the page that follows."""
        shown = self.get(page).text
        form = re.search(rf'<form[^>]*action="{action}".*?</form>', shown, re.DOTALL)
        if not form:
            raise Refused(f"{page} has no form for {action}")
        tags = re.findall(r"<input[^>]*>", form[0])
        inputs = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in tags]
        hidden = {one["name"]: one.get("value", "") for one in inputs if one["type"] == "hidden"}
        answer = self.post(action, hidden | fields)
        if not answer.ok:
            raise Refused(f"{action} was refused ({answer.status_code}): {answer.text}")
        return answer.text

    def forge(self, page: str, action: str, **fields: str) -> requests.Response:
        """What comes of a form that a page does not offer."""
        token = re.search(r'name="csrf-token" content="([^"]+)"', self.get(page).text)
        if not token:
            raise Refused(f"{page} has no token")
        return self.post(action, {"csrf_token": token[1]} | fields)

    def sign_in(self, username: str, password: str) -> None:
        page = self.get("/sign-in").text
        answer = self.post(
            "/sign-in",
            {"csrf_token": _field(page, "csrf_token"), "username": username, "password": password},
        )
        answer.raise_for_status()
        if answer.url.endswith("/sign-in"):
            raise Refused("the sign-in was refused")

    def fill(
        self,
        images: Sequence[bytes],
        *,
        identifier: str = "",
        file_name: str = "cell.png",
        **fields: str,
    ) -> "FilledForm":
        """The new-case form, filled and not sent yet."""
        page = self.get("/cases/new").text
        form = {
            "csrf_token": _field(page, "csrf_token"),
            "form_token": _field(page, "form_token"),
            "identifier": identifier or f"P{time.monotonic_ns()}",
            "birth_year": "1970",
            "sex": "female",
            "reading_task": _field(page, "reading_task"),
            "priority": "routine",
            "confirm_duplicates": "y",
        }
        return FilledForm(form | fields, [("images", (file_name, image)) for image in images])

    def send(self, form: "FilledForm") -> int:
        """Send a filled form, for the first time or again; returns the case's number."""
        answer = self.post("/cases/new", form.fields, files=form.files)
        case = re.fullmatch(r".*/cases/(\d+)", answer.url)
        if not case:
            raise Refused(f"the case was refused ({answer.status_code}): {answer.text}")
        return int(case.group(1))

    def submit(self, images: Sequence[bytes], **fields: str) -> int:
        """Fill the form as `fill` does, send it, and return the case's number."""
        return self.send(self.fill(images, **fields))


def _field(page: str, name: str) -> str:
    tags = re.findall(rf'<input[^>]*\bname="{name}"[^>]*>', page)
    values = [value for tag in tags for value in re.findall(r'\bvalue="([^"]*)"', tag)]
    if not values:
        raise Refused(f"the page has no field {name}: {page[:2000]}")
    return values[0]


class Stack:
    """An instance of its own and its processes; a context manager that cleans all of it away."""

    def __init__(
        self,
        *,
        bundle: Path | None,
        further_bundles: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        processes: Sequence[str] = ("broker", "web", "worker", "sweeper"),
        commands: Mapping[str, str] | None = None,
    ) -> None:
        """`bundle` is installed, and so are further ones; `environment` adds settings
        (DATABASE_URL, BROKER_URL, ...); `commands` replaces lines of the Procfile."""
        self.folder = Path(tempfile.mkdtemp(prefix="firstlook-"))
        self.logs = self.folder / "logs"
        self.port = free_port()
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/tmp"),
            "PYTHONUNBUFFERED": "1",
            "INSTANCE_DIR": str(self.folder / "instance"),
            "PORT": str(self.port),
            "WEB_PROCESSES": "1",
            "WORKER_PROCESSES": "2",
            "LEASE_SECONDS": "3",
            "DEVICE": "cpu",
            **(environment or {}),
        }
        self.bundles = ((bundle,) if bundle else ()) + tuple(further_bundles)
        self.names = list(processes)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._log_starts: dict[str, int] = {}
        self._commands = {**procfile(), **(commands or {})}
        self._users = itertools.count(1)
        self.app: Flask

    # Beginning and end

    def __enter__(self) -> Self:
        try:
            self._prepare()
            for name in self.names:
                self.start(name)
            self.wait_ready()
        except BaseException:
            self.stop(keep_logs=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(keep_logs=kind is not None)

    def _prepare(self) -> None:
        self.logs.mkdir()
        self.settings = Settings.from_environment(self.environment)
        if self.settings.database_url:
            self._upgrade()
            self._install()
        else:
            make = self._make_instance if self.bundles else self._upgrade
            self._copy(made.instance_of(self.bundles, make))
        self.app = create_core(self.settings)

    def _make_instance(self) -> Path:
        self._copy(made.instance_of((), self._upgrade))
        return self._install()

    def _copy(self, instance: Path) -> None:
        shutil.copytree(instance, self.settings.instance_dir, dirs_exist_ok=True)

    def _upgrade(self) -> Path:
        self.run("flask", "--app", "wsgi", "db", "upgrade")
        return self.settings.instance_dir

    def _install(self) -> Path:
        if self.bundles:
            made.put_engines(self.bundles, self.settings.engines_dir)
            self.run("python", "-m", "webapp.worker.install", *map(str, self.bundles))
        return self.settings.instance_dir

    def run(self, *command: str, seconds: float = 300) -> str:
        """Run a command of the project in this instance; returns what it printed."""
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def stop(self, *, keep_logs: bool = False) -> None:
        """End every process and remove the instance; with `keep_logs`, show how the logs end."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if hasattr(self, "app"):
            with self.app.app_context():
                db.session.remove()
                db.engine.dispose()
        if keep_logs:
            for log in sorted(self.logs.glob("*.log")):
                tail = log.read_text(errors="replace")[-4000:]
                print(f"--- {log.name} ---\n{tail}", file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Processes

    def start(self, name: str) -> None:
        """Start a process of the Procfile, in a group of its own."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self._log_starts[name] = log.tell()
            self.processes[name] = subprocess.Popen(
                ["/bin/sh", "-c", self._commands[name]],
                cwd=REPOSITORY,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """kill -9 a process and all that it started, as a power cut would."""
        process = self.processes[name]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if name == "web":
            wait_until(self._port_is_free, "the port became free")

    def restart(self, name: str) -> None:
        """kill -9, and a new start."""
        self.kill(name)
        self.start(name)

    def log(self, name: str) -> str:
        """What a process has written so far."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def worker_parent(self) -> psutil.Process | None:
        """The Celery parent under the restart loop, if it runs now."""
        return next(iter(_children(self.processes["worker"].pid)), None)

    def worker_children(self) -> list[psutil.Process]:
        """The processes that read images."""
        parent = self.worker_parent()
        return _children(parent.pid) if parent else []

    def where_the_worker_is(self) -> str:
        """What each of the worker's processes is doing, as Celery's parent and its log tell it."""
        if parent := self.worker_parent():
            parent.send_signal(signal.SIGUSR1)  # Celery prints the stacks of all its threads
            time.sleep(1)
        states = [f"{child.pid} {child.status()}" for child in self.worker_children()]
        return "\n".join([*states, self.log("worker")[-8000:]])

    def web_children(self) -> list[psutil.Process]:
        """The processes that answer requests."""
        return _children(self.processes["web"].pid)

    def wait_ready(self) -> None:
        """Until each process that was started does its work."""
        if "broker" in self.processes:
            wait_until(self.broker_answers, "the broker's start", START_SECONDS)
        if "web" in self.processes:
            wait_until(self.web_answers, "the web server's start", START_SECONDS)
        if "worker" in self.processes:
            wait_until(self.worker_is_ready, "the worker's start", START_SECONDS)

    def web_answers(self) -> bool:
        """Whether the web server is up."""
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        except requests.RequestException:
            return False

    def broker_answers(self) -> bool:
        """Whether the broker is up."""
        with queue.app.connection_for_write(self.settings.celery_broker_url) as connection:
            try:
                connection.ensure_connection(max_retries=0)
            except queue.BROKER_ERRORS:
                return False
            return True

    def worker_is_ready(self) -> bool:
        """Whether the latest worker to start has begun to listen."""
        log = (self.logs / "worker.log").read_bytes()[self._log_starts["worker"] :]
        return b" ready." in log.rpartition(b"triage@")[2]

    def _port_is_free(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    # People and cases

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add_user(self, *roles: Role) -> str:
        """A user with a lasting password, `PASSWORD`, at the instance's only site; their name."""
        username = f"user{next(self._users)}"
        with self.app.app_context():
            sites = account_queries.all_sites() or [
                accounts.create_site(actor=None, name="Test site")
            ]
            user, _ = accounts.create_user(
                actor=None,
                username=username,
                full_name=username.title(),
                roles=set(roles) or {Role.CLINICIAN},
                sites=sites[:1],
            )
            accounts.set_password(actor=None, user=user, password=PASSWORD)
        return username

    def sign_in(self, *roles: Role) -> Client:
        """A new user, signed in; a clinician unless told otherwise."""
        client = Client(self.url)
        client.sign_in(self.add_user(*roles), PASSWORD)
        return client

    def answer(self, case_id: int) -> Answer:
        """Where the assessment of a case stands."""
        with self.rows():
            row = db.session.scalars(
                select(Assessment).where(
                    Assessment.case_id == case_id,
                    Assessment.purpose == Purpose.TRIAGE,
                    Assessment.superseded_at.is_(None),
                )
            ).one()
            return Answer(
                state=row.state,
                finding=row.finding.code if row.finding else None,
                probability=row.probability,
                probabilities=[
                    {said.finding.code: said.probability for said in image.predictions}
                    for image in row.images
                ],
                attempt_count=row.attempt_count,
                failure=row.failure,
            )

    def wait_for(self, case_id: int, seconds: float = 30) -> Answer:
        """What became of a case, once it is known."""

        def ended() -> Answer | None:
            answer = self.answer(case_id)
            return None if answer.state.is_open else answer

        return wait_until(ended, f"the end of case {case_id}", seconds)

    @contextlib.contextmanager
    def rows(self) -> Iterator[None]:
        """A fresh session on the instance's database."""
        with self.app.app_context():
            yield
            db.session.remove()

    def state_counts(self) -> dict[State, int]:
        """How many assessments there are in each state."""
        with self.rows():
            counted = db.session.execute(
                select(Assessment.state, db.func.count()).group_by(Assessment.state)
            )
            return dict(counted.all())


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def procfile() -> dict[str, str]:
    """The command of each process that makes up the house."""
    lines = (REPOSITORY / "Procfile").read_text().splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines)}
