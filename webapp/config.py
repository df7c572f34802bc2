"""Settings, read once from the environment."""

import importlib.util
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flask import current_app

REPOSITORY = Path(__file__).resolve().parent.parent


class InvalidSettings(Exception):
    """Some variables of the environment cannot be used; `problems` names each with the reason."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        lines = [f"  {name}: {reason}" for name, reason in sorted(self.problems.items())]
        super().__init__("These settings cannot be used:\n" + "\n".join(lines))


def _positive_int(text: str) -> int:
    value = int(text) if text.strip().isdecimal() else 0
    if value < 1:
        raise ValueError(f"must be a whole number above zero, not {text!r}")
    return value


def _natural_int(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"must be zero or a whole number above it, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    value = _positive_int(text)
    if value > 65535:
        raise ValueError(f"must be a port number up to 65535, not {text!r}")
    return value


def _flag(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.strip().lower() not in known:
        raise ValueError(f"must be true or false, not {text!r}")
    return known[text.strip().lower()]


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {text!r}")
        return text

    return parse


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        scheme = text.partition("://")[0]
        if "://" not in text or scheme not in schemes:
            raise ValueError(f"must be a URL that starts with {', '.join(schemes)}")
        return text

    return parse


def _secret(text: str) -> str:
    if len(text) < 32:
        raise ValueError("must have at least 32 characters")
    return text


def _path(text: str) -> Path:
    if not text.strip():
        raise ValueError("must be a path")
    return Path(text).expanduser().resolve()


def setting(parse: Callable[[str], Any], default: Any, purpose: str) -> Any:
    """A field of `Settings`: how to read its variable, what holds without it, what it is for."""
    return field(default=default, metadata={"parse": parse, "purpose": purpose})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of one installation; the variable's name is the field's in capitals."""

    instance_dir: Path = setting(_path, REPOSITORY / "instance", "where all state is kept")
    host: str = setting(str, "127.0.0.1", "address that the web server binds")
    port: int = setting(_port, 8000, "port that the web server binds")
    trusted_proxies: int = setting(
        _natural_int, 0, "number of reverse proxies in front, whose X-Forwarded headers count"
    )
    debug: bool = setting(_flag, False, "development: reload code and templates, log each request")
    secret_key: str = setting(_secret, "", "signs sessions and forms; made and kept if unset")
    audit_key: str = setting(_secret, "", "chains the audit record; made and kept if unset")
    database_url: str = setting(
        _url("sqlite", "postgresql", "postgresql+psycopg"), "", "database; SQLite in the instance"
    )
    broker_url: str = setting(
        _url("redis", "rediss", "redis+socket"), "", "message broker; an embedded one if unset"
    )
    storage_url: str = setting(_url("file", "s3"), "", "image store; files in the instance")
    datasets_root: Path | None = setting(
        _path, None, "folder whose data sets can be registered on a page; none if unset"
    )
    locked_tests_dir: Path = setting(
        _path, REPOSITORY / "ml" / "locked_tests", "tables that name what no training may learn"
    )
    web_threads: int = setting(_positive_int, 4, "threads of each web process")
    web_processes: int = setting(_positive_int, 2, "processes of the web server")
    worker_processes: int = setting(
        _positive_int, os.cpu_count() or 1, "inference processes of the triage worker"
    )
    device: str = setting(_one_of("auto", "cpu", "cuda"), "auto", "where models run")
    training_threads: int = setting(
        _positive_int, 1, "processor threads of a training; one leaves triage beside it undisturbed"
    )
    training_priority: str = setting(
        _one_of("idle", "normal"),
        "idle",
        "idle: trainings run when nothing else wants the processor",
    )
    lease_seconds: int = setting(
        _positive_int, 15, "silence after which a claimed assessment is given to another worker"
    )
    metrics_token: str = setting(
        _secret, "", "lets /metrics be read from elsewhere; from this machine only if unset"
    )
    retention_days: int = setting(
        _natural_int, 0, "days after which a patient without a newer case is erased; 0 is never"
    )
    idle_minutes: int = setting(_positive_int, 15, "idle time after which a user is signed off")
    log_level: str = setting(
        _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO", "least level that is logged"
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment.

        Raises:
            InvalidSettings: naming every variable that cannot be used, all at once.
        """
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for item in fields(cls):
            name = item.name.upper()
            text = environ.get(name, "")
            if not text:
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                problems[name] = str(error)
        settings = cls(**values)
        problems = settings._problems_together() | problems
        if problems:
            raise InvalidSettings(problems)
        return settings

    def _problems_together(self) -> dict[str, str]:
        """What each variable may be by itself, and not beside the others."""
        problems = {}
        if self.production and not self.secret_key:
            problems["SECRET_KEY"] = "must be set beyond loopback, or behind a proxy"
        if self.production and self.debug:
            problems["DEBUG"] = "is refused beyond loopback, or behind a proxy"
        if self.database_url.startswith("postgresql") and not self.audit_key:
            # Made and kept, each machine would have its own, and break the record of the others.
            problems["AUDIT_KEY"] = "must be set, alike on every machine, with a database server"
        if self.storage_url.startswith("s3:") and importlib.util.find_spec("s3fs") is None:
            problems["STORAGE_URL"] = "needs more packages: pip install -r requirements-s3.txt"
        return problems

    @property
    def production(self) -> bool:
        """Others than the person at this machine can reach the web server."""
        return self.trusted_proxies > 0 or not is_loopback(self.host)

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL with the driver that is installed."""
        if not self.database_url:
            return f"sqlite:///{self.instance_dir / 'firstlook.db'}"
        return self.database_url.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def celery_broker_url(self) -> str:
        """The broker's URL: the one given, or the embedded broker's socket."""
        return self.broker_url or f"redis+socket://{self.broker_socket}?virtual_host=0"

    @property
    def embedded_broker(self) -> bool:
        """No broker was named, so one is started in the instance."""
        return not self.broker_url

    @property
    def broker_socket(self) -> Path:
        return self.instance_dir / "broker" / "valkey.sock"

    @property
    def blob_url(self) -> str:
        return self.storage_url or (self.instance_dir / "blobs").as_uri()

    @property
    def engines_dir(self) -> Path:
        """Exported networks, by bundle hash."""
        return self.instance_dir / "engines"

    @property
    def bundles_dir(self) -> Path:
        """Installed bundles, by bundle hash."""
        return self.instance_dir / "bundles"

    @property
    def datasets_dir(self) -> Path:
        """Registered data sets, by content hash."""
        return self.instance_dir / "datasets"

    @property
    def runs_dir(self) -> Path:
        """What a trainer works on, a folder for each run that is not over."""
        return self.instance_dir / "runs"

    @property
    def audit_anchors(self) -> Path:
        return self.instance_dir / "audit-anchors"

    def make_instance_dir(self) -> None:
        """Make the folder of all state, closed to other users of the machine."""
        self.instance_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.instance_dir.chmod(0o700)


def current_settings() -> Settings:
    """The settings of the application in use."""
    return current_app.config["FIRSTLOOK"]


def is_loopback(host: str) -> bool:
    """Whether a host's name or address leads to this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
