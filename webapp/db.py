"""The declarative base, the unit of work, and what happens after a commit."""

import datetime as dt
import enum
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    DateTime,
    Dialect,
    Engine,
    Enum,
    ExceptionContext,
    MetaData,
    event,
    func,
    select,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

MAX_ID = 2**31 - 1
"""The greatest number that a row can have, whichever the database."""


def now() -> dt.datetime:
    """The present moment, in UTC."""
    return dt.datetime.now(dt.UTC)


class UTCDateTime(TypeDecorator[dt.datetime]):
    """A moment: kept in UTC, and given back with its zone, on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a zone cannot be stored")
        moment = value.astimezone(dt.UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=dt.UTC)


def value_enum(kind: type[enum.StrEnum]) -> Enum:
    """A column type that stores an enum by its value, held to its members by a CHECK."""
    return Enum(
        kind,
        values_callable=lambda members: [member.value for member in members],
        native_enum=False,
        create_constraint=True,
        length=32,
        name=_snake(kind.__name__),
    )


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dt.datetime: UTCDateTime()}


db = SQLAlchemy(metadata=Base.metadata, session_options={"expire_on_commit": False})
migrate = Migrate(compare_type=True)

_IMMEDIATE = "begin_immediate"
_DEPTH = "transaction_depth"
_CALLBACKS = "after_commit"


@contextmanager
def transaction() -> Iterator[None]:
    """One unit of work: committed at the end, rolled back on an error.

    Inside another one it is part of it, so the outermost service commits. On SQLite it takes the
    write lock at its start: a reader that turns writer later would be refused as soon as anyone
    else had written in between.
    """
    session = db.session
    info = session().info
    if info.get(_DEPTH):
        yield
        return
    session.commit()
    info[_DEPTH] = 1
    info[_CALLBACKS] = []
    try:
        session.connection(execution_options={_IMMEDIATE: True})
        yield
        session.commit()
        callbacks = info[_CALLBACKS]
    except BaseException:
        session.rollback()
        raise
    finally:
        info[_DEPTH] = 0
        info[_CALLBACKS] = []
    for callback in callbacks:
        callback()


def in_transaction() -> bool:
    """Whether a `transaction()` is open."""
    return bool(db.session().info.get(_DEPTH))


class Lock(enum.IntEnum):
    """What only one transaction at a time may do."""

    RECORD = 1
    SIGN_IN = 2
    CHANGE_ADMINISTRATORS = 3
    CATALOGUE = 4
    BLOBS = 5


def hold(lock: Lock, *, shared: bool = False) -> None:
    """Wait for other holders, and hold the lock to the end of the open `transaction()`. Those that
    hold it `shared` do so side by side.

    On SQLite a transaction() is alone from its start.
    """
    if db.session.connection().dialect.name == "postgresql":
        wait = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        db.session.execute(select(wait(lock)))


def on_commit(callback: Callable[[], object]) -> None:
    """Call `callback` once the unit of work in progress is committed, however often it was asked
    for meanwhile; never if it is not committed."""
    info = db.session().info
    if not info.get(_DEPTH):
        raise RuntimeError("on_commit() needs a transaction()")
    if callback not in info[_CALLBACKS]:
        info[_CALLBACKS].append(callback)


def configure_engine(engine: Engine) -> None:
    """Make SQLite keep what it promises: real transactions, foreign keys, durable commits. Keep
    PostgreSQL from telling in its errors what is in a row."""
    if engine.dialect.name != "sqlite":
        event.listen(engine, "handle_error", _leave_out_detail)
        return

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours, below
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=15000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _leave_out_detail(context: ExceptionContext) -> None:
    """Cut an error of the server down to its first sentence: the others name values, patients'
    identifiers among them, and texts of errors go to logs. `diag` of the error still has all."""
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    diag = getattr(error, "diag", None)  # what the server said, if it was the server
    sentence = diag and diag.message_primary
    if not sentence:
        return
    if wrapped is not None:
        wrapped.args = (str(wrapped.args[0]).replace(str(error), sentence), *wrapped.args[1:])
    error.args = (sentence,)
