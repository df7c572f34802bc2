"""Tables and archives for tests of imports."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from tests import clinic
from webapp.accounts.models import User
from webapp.db import db
from webapp.imports import services
from webapp.imports.models import Import
from webapp.imports.reading import read_table


def archive(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP of files by their names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return stream.getvalue()


def table(*rows: Mapping[str, str]) -> bytes:
    """A CSV of rows by column."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(columns), *(",".join(row.get(name, "") for name in columns) for row in rows)]
    return "\n".join(lines).encode()


def start(
    actor: User, rows: list[Mapping[str, str]], files: Mapping[str, bytes] | None = None
) -> Import:
    """Send a table; without an archive, a new picture stands for each file that it names."""
    if files is None:
        names = (name for row in rows for name in row.get("file", "").split("|") if name)
        files = {name: clinic.picture() for name in names}
    actor = db.session.get_one(User, actor.id)
    return services.start(
        actor=actor,
        site_id=min(actor.site_ids),
        table=read_table(table(*rows)),
        file_name="cases.csv",
        archive=archive(files),
    )


def work() -> None:
    """Do all that waits, as the sweeper does."""
    while services.work():
        pass


def checked(actor: User, rows: list[Mapping[str, str]], **options: Any) -> Import:
    """Send a table and have it checked."""
    begun = start(actor, rows, **options)
    work()
    return db.session.get_one(Import, begun.id, populate_existing=True)
