"""Finds what a request changes without leaving a row in the record."""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from flask import has_request_context, request

WRITES = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", re.IGNORECASE)
RECORD = "audit_events"
NO_CHANGE = {
    "erasures": "says what is still to leave the store, after an erasure that is on record",
    "import_rows": "says it of pictures, after an import was cancelled, which is on record",
    "sign_in_failures": "counts attempts, whose end is on record",
    "user_sessions": "says when somebody was last there",
    "api_tokens": "says when a token was last used",
}
"""Tables that a request may write to by themselves."""


@contextmanager
def unrecorded_changes(engine: sa.Engine) -> Iterator[list[str]]:
    """Gathers, while it is open, each transaction of a request that writes to a table and leaves
    no row in the record. What a test does by itself, outside requests, is its own."""
    found: list[str] = []
    tables: dict[sa.Connection, set[str]] = defaultdict(set)

    def note(connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if has_request_context() and (written := WRITES.match(statement)):
            tables[connection].add(written[1].lower())

    def forget(connection: sa.Connection) -> None:
        tables.pop(connection, None)

    def judge(connection: sa.Connection) -> None:
        written = tables.pop(connection, set())
        if written - NO_CHANGE.keys() and RECORD not in written:
            found.append(f"{request.method} {request.path} writes {sorted(written)}")

    listeners = {"before_cursor_execute": note, "rollback": forget, "commit": judge}
    for name, listener in listeners.items():
        sa.event.listen(engine, name, listener)
    try:
        yield found
    finally:
        for name, listener in listeners.items():
            sa.event.remove(engine, name, listener)
