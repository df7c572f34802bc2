"""An installation in one file: `flask backup FILE`, `flask restore FILE`.

A backup is a tar of the keys, the anchors of the record, the rows of every table as JSON lines, the
stored images, the models and the data sets. Rows are written by what they mean and not as one
database keeps them, so what was backed up on SQLite can be restored on PostgreSQL.
"""

import datetime as dt
import enum
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app
from sqlalchemy import Column, Connection, Date, Enum, Table, func, insert, select

from webapp import audit, storage
from webapp.config import Settings, current_settings
from webapp.db import UTCDateTime, db, migrate, transaction
from webapp.errors import NotFound

FORMAT = 1
MANIFEST, END, ANCHORS, KEYS, ROWS, BLOBS, BUNDLES, DATASETS = (
    "manifest.json",
    "end.json",
    "audit-anchors",
    "keys",
    "rows",
    "blobs",
    "bundles",
    "datasets",
)
_MEMBER = re.compile(
    rf"{MANIFEST}|{END}|{ANCHORS}|{KEYS}/[a-z.]+|{ROWS}/[a-z_]+\.jsonl|{BLOBS}/[0-9a-f]{{64}}"
    rf"|({BUNDLES}|{DATASETS})/[0-9a-f]{{64}}(/[A-Za-z0-9][\w.-]*)+",
    re.ASCII,
)
_ROWS_AT_ONCE = 500
_OF_PEOPLE = ("users", "patients", "audit_events")
"""Tables in which a fresh installation has no rows."""


class BackupError(Exception):
    """Why an installation cannot be backed up or restored, in a sentence."""


def back_up(file: Path) -> dict[str, int]:
    """Write everything of this installation to a file, whole or not at all, while it is in use;
    says how many rows each table had.

    What an environment variable holds (`SECRET_KEY`, `AUDIT_KEY`) is not in the instance, and not
    in the backup either.

    Raises:
        BackupError: the database is of another release.
    """
    settings = current_settings()
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=".backup-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w") as archive:
            with _snapshot() as connection:
                revision = _revision(connection)
                if revision != _newest_revision():
                    raise BackupError("Bring the database up to date first: flask db upgrade")
                _add(archive, MANIFEST, json.dumps({"format": FORMAT, "revision": revision}))
                _add_files(archive, settings)
                datasets_in_store = _datasets_in_store(connection)
                row_counts = {
                    table.name: _add_rows(archive, connection, table)
                    for table in db.metadata.sorted_tables
                }
            for sha256 in storage.hashes():
                with suppress(NotFound):  # the archive of an import that was checked meanwhile
                    _add_blob(archive, sha256, file.parent)
            _add_folder(archive, BUNDLES, settings.bundles_dir)
            _add_folder(archive, DATASETS, settings.datasets_dir, but=datasets_in_store)
            _add(archive, END, json.dumps(row_counts))  # nothing was cut off
        with open(draft, "rb") as written:
            os.fsync(written.fileno())
        os.replace(draft, file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    with transaction():
        audit.record(actor=None, action="backup.made", rows=sum(row_counts.values()))
    return row_counts


def restore(file: Path) -> list[audit.Problem]:
    """Fill this installation, which must be empty, from a backup; says what is wrong with the
    record afterwards.

    Raises:
        BackupError: the installation is not empty, the file is no backup, or of another release.
    """
    try:
        with tarfile.open(file, mode="r:") as archive:
            _restore(archive)
    except tarfile.TarError as error:
        raise BackupError("This is no backup, or not all of one.") from error
    with transaction():
        audit.record(actor=None, action="backup.restored")
    return audit.verify()


def _restore(archive: tarfile.TarFile) -> None:
    members = iter(archive)
    _check(archive, next(members, None))
    settings = current_settings()
    with db.engine.begin() as connection:
        for table in reversed(db.metadata.sorted_tables):  # what migrations wrote
            connection.execute(table.delete())
        row_counts: dict[str, int] = {}
        for member in members:
            name = PurePosixPath(member.name)
            with _contents(archive, member) as content:
                if name.parts[0] == ROWS:
                    table = db.metadata.tables[name.stem]
                    row_counts[table.name] = _insert(connection, table, content)
                elif member.name == END:
                    if json.loads(content.read()) != row_counts:
                        raise BackupError("Rows are missing in this backup.")
                    break
                else:
                    _keep(settings, name, content)
        else:
            raise BackupError("The end of this backup is missing.")
        _continue_numbers(connection)
    audit.init_app(current_app._get_current_object())  # type: ignore[attr-defined]  # by its key


def _keep(settings: Settings, name: PurePosixPath, content: IO[bytes]) -> None:
    if name.parts[0] == BLOBS:
        with tempfile.TemporaryDirectory(dir=settings.instance_dir, prefix=".") as folder:
            blob = Path(folder) / "blob"
            with blob.open("w+b") as file:
                shutil.copyfileobj(content, file)
                file.seek(0)
                if hashlib.file_digest(file, "sha256").hexdigest() != name.name:
                    raise BackupError(f"The image {name.name} is damaged.")
            storage.put_file(blob)
        return
    target = settings.instance_dir / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
    target.chmod(0o600)


def _check(archive: tarfile.TarFile, first: tarfile.TarInfo | None) -> None:
    """Refuse what is no backup of this release, and to write over anything."""
    if first is None or first.name != MANIFEST:
        raise BackupError("This is no backup.")
    with _contents(archive, first) as content:
        manifest = json.loads(content.read())
    wanted = {"format": FORMAT, "revision": _newest_revision()}
    if manifest != wanted:
        raise BackupError(f"It is of another release: {manifest}; this one is {wanted}.")
    with db.engine.connect() as connection:
        if _revision(connection) != _newest_revision():
            raise BackupError("Make the tables first: flask db upgrade")
        for name in _OF_PEOPLE:
            if connection.scalar(select(func.count()).select_from(db.metadata.tables[name])):
                raise BackupError(f"This installation is not empty: it has {name}.")


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member) if member.isreg() else None
    if content is None or not _MEMBER.fullmatch(member.name):
        raise BackupError(f"No backup of ours holds {member.name!r}.")
    return content


# Rows.


def _snapshot() -> Connection:
    """A connection that sees the database as it is now, whatever is written meanwhile."""
    options = {"isolation_level": "REPEATABLE READ"} if _is_postgresql() else {}
    return db.engine.connect().execution_options(**options)


def _add_rows(archive: tarfile.TarFile, connection: Connection, table: Table) -> int:
    count = 0
    with tempfile.TemporaryFile() as lines:
        rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(
            select(table).order_by(*table.primary_key)
        )
        for row in rows.mappings():
            plain = {name: _plain(value) for name, value in row.items()}
            lines.write(json.dumps(plain).encode() + b"\n")
            count += 1
        _add_file(archive, f"{ROWS}/{table.name}.jsonl", lines)
    return count


def _insert(connection: Connection, table: Table, lines: IO[bytes]) -> int:
    count = 0
    rows = (
        {name: _typed(table.c[name], value) for name, value in json.loads(line).items()}
        for line in lines
    )
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        connection.execute(insert(table), some)
        count += len(some)
    return count


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    return value.isoformat() if isinstance(value, dt.date) else value


def _typed(column: Column[Any], value: Any) -> Any:
    kind = column.type
    if value is None:
        return None
    if isinstance(kind, UTCDateTime):
        return dt.datetime.fromisoformat(value)
    if isinstance(kind, Date):
        return dt.date.fromisoformat(value)
    if isinstance(kind, Enum) and kind.enum_class:
        return kind.enum_class(value)
    return value


def _continue_numbers(connection: Connection) -> None:
    """Have PostgreSQL number new rows after those that came with their numbers."""
    if not _is_postgresql():
        return
    for table in db.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            last = select(func.max(column)).scalar_subquery()
            connection.execute(
                select(func.setval(sequence, func.coalesce(last, 1), last.isnot(None)))
            )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _newest_revision() -> str | None:
    return ScriptDirectory.from_config(migrate.get_config()).get_current_head()


def _is_postgresql() -> bool:
    return db.engine.dialect.name == "postgresql"


# Files.


def _add_files(archive: tarfile.TarFile, settings: Settings) -> None:
    """The keys, and the anchors: before the rows, so that each anchor's row is among them."""
    _add_folder(archive, KEYS, settings.instance_dir / KEYS)
    if settings.audit_anchors.exists():
        _add(archive, ANCHORS, settings.audit_anchors.read_bytes())


def _datasets_in_store(connection: Connection) -> frozenset[str]:
    """The folders of data sets that are among the blobs too: once is enough."""
    table = db.metadata.tables["datasets"]
    in_store = select(table.c.content_sha256).where(table.c.pictures_sha256.is_not(None))
    return frozenset(connection.scalars(in_store))


def _add_blob(archive: tarfile.TarFile, sha256: str, folder: Path) -> None:
    """With large ones on the disk meanwhile: what a backup holds was whole when it was read."""
    with tempfile.SpooledTemporaryFile(max_size=storage.LARGE_BYTES, dir=str(folder)) as content:
        for piece in storage.pieces(sha256):
            content.write(piece)
        _add_file(archive, f"{BLOBS}/{sha256}", content)


def _add_folder(
    archive: tarfile.TarFile, name: str, folder: Path, *, but: Collection[str] = ()
) -> None:
    for path in _files(folder):
        place = path.relative_to(folder)
        if place.parts[0] not in but:
            with path.open("rb") as content:  # of data sets gigabytes
                _add_file(archive, f"{name}/{place.as_posix()}", content)


def _files(folder: Path) -> Iterator[Path]:
    """Files that are there for good: names that begin with a dot are drafts."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(folder).parts):
            yield path


def _add(archive: tarfile.TarFile, name: str, content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
    _add_file(archive, name, io.BytesIO(data))


def _add_file(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = content.seek(0, io.SEEK_END), 0o600
    content.seek(0)
    archive.addfile(member, content)
