"""The record: what a row holds, that it cannot be changed, and that tampering is found."""

import json
import os
import stat
import threading

import pytest
import sqlalchemy as sa
from flask import Flask

from webapp import audit
from webapp.audit import AuditEvent, ProblemKind
from webapp.config import Settings, current_settings
from webapp.core import create_core
from webapp.db import db, transaction
from webapp.keys import kept_key

DROP_TRIGGERS = {
    "sqlite": ("DROP TRIGGER audit_events_no_update", "DROP TRIGGER audit_events_no_delete"),
    "postgresql": (
        "DROP TRIGGER audit_events_no_change ON audit_events",
        "DROP TRIGGER audit_events_no_truncate ON audit_events",
    ),
}


def write(count: int) -> None:
    for number in range(count):
        with transaction():
            audit.record(actor=None, action="case.opened", number=number)


def tamper(*statements: str) -> None:
    """Change rows as someone with the database's password would."""
    db.session.remove()
    with db.engine.begin() as connection:
        for statement in (*DROP_TRIGGERS[connection.dialect.name], *statements):
            connection.exec_driver_sql(statement)


def kinds() -> list[tuple[ProblemKind, int | None]]:
    db.session.remove()
    return [(problem.kind, problem.event_id) for problem in audit.verify()]


def test_a_row_says_who_did_what_to_what(core: Flask, people) -> None:
    site = people.site()
    user = people.clinician(site)
    with transaction():
        audit.record(actor=user, action="user.created", subject=site, site_id=site.id, count=3)
    row = db.session.scalars(sa.select(AuditEvent)).one()
    assert (row.id, row.actor_id, row.actor_name) == (1, user.id, user.username)
    assert (row.action, row.subject_type, row.subject_id) == ("user.created", "Site", site.id)
    assert (row.site_id, row.detail) == (site.id, {"count": 3})
    assert row.request_id is None
    assert row.previous_mac == "0" * 64


def test_a_row_names_the_request(app: Flask) -> None:
    with app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.7"}):
        app.preprocess_request()
        with transaction():
            audit.record(actor=None, action="case.opened")
        row = db.session.scalars(sa.select(AuditEvent)).one()
        assert row.remote_address == "192.0.2.7"
        assert row.request_id
        assert len(row.request_id) == 16


def test_nothing_is_recorded_outside_a_transaction(core: Flask) -> None:
    with pytest.raises(RuntimeError):
        audit.record(actor=None, action="case.opened")


def test_what_is_rolled_back_was_never_recorded(core: Flask) -> None:
    def fail() -> None:
        with transaction():
            audit.record(actor=None, action="case.opened")
            raise KeyError

    write(1)
    with pytest.raises(KeyError):
        fail()
    write(1)
    assert db.session.scalars(sa.select(AuditEvent.id).order_by(AuditEvent.id)).all() == [1, 2]
    assert kinds() == []


def test_looking_is_recorded_without_a_transaction(core: Flask, people) -> None:
    user = people.administrator()
    audit.record_look(actor=user, action="case.searched", count=12)
    assert db.session.scalars(sa.select(AuditEvent.detail)).one() == {"count": 12}


def test_writers_at_once_make_one_chain(core: Flask) -> None:
    def work() -> None:
        with core.app_context():
            write(10)
            db.session.remove()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.session.scalar(sa.select(sa.func.count(AuditEvent.id))) == 40
    assert kinds() == []


@pytest.mark.parametrize(
    "statements",
    [
        dict.fromkeys(DROP_TRIGGERS, "UPDATE audit_events SET action = 'nothing'"),
        dict.fromkeys(DROP_TRIGGERS, "DELETE FROM audit_events"),
        {
            "sqlite": "INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events",
            "postgresql": "TRUNCATE audit_events",
        },
    ],
    ids=["update", "delete", "replace-or-truncate"],
)
def test_the_database_refuses_changes(core: Flask, statements: dict[str, str]) -> None:
    write(2)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), db.engine.begin() as connection:
        connection.exec_driver_sql(statements[connection.dialect.name])
    assert kinds() == []


@pytest.mark.parametrize(
    "change",
    [
        "action = 'nothing'",
        "actor_id = 99",
        "actor_name = 'someone else'",
        "at = '2020-01-01 00:00:00'",
        "site_id = 5",
        "detail = '{}'",
        "remote_address = '192.0.2.1'",
    ],
)
def test_an_edited_row_is_found(core: Flask, change: str) -> None:
    write(5)
    tamper(f"UPDATE audit_events SET {change} WHERE id = 3")
    assert kinds() == [(ProblemKind.EDITED, 3)]


def test_an_edited_row_is_found_when_its_mac_was_edited_too(core: Flask) -> None:
    write(5)
    tamper(f"UPDATE audit_events SET action = 'nothing', mac = '{'a' * 64}' WHERE id = 3")
    assert kinds() == [(ProblemKind.EDITED, 3)]


@pytest.mark.parametrize(("where", "first"), [("id = 1", 1), ("id IN (3, 4)", 3)])
def test_removed_rows_are_found(core: Flask, where: str, first: int) -> None:
    write(6)
    tamper(f"DELETE FROM audit_events WHERE {where}")
    assert kinds() == [(ProblemKind.REMOVED, first)]


def test_a_removed_row_is_found_when_the_others_close_up(core: Flask) -> None:
    write(4)
    tamper(
        "DELETE FROM audit_events WHERE id = 2",
        "UPDATE audit_events SET id = 2 WHERE id = 3",
        "UPDATE audit_events SET id = 3 WHERE id = 4",
    )
    assert kinds() == [(ProblemKind.REORDERED, 2), (ProblemKind.EDITED, 3)]


def test_moved_rows_are_found(core: Flask) -> None:
    write(5)
    tamper(
        "UPDATE audit_events SET id = 99 WHERE id = 2",
        "UPDATE audit_events SET id = 2 WHERE id = 3",
        "UPDATE audit_events SET id = 3 WHERE id = 99",
    )
    found = kinds()
    assert (ProblemKind.REORDERED, 2) in found
    assert (ProblemKind.REORDERED, 3) in found


def test_a_forged_row_before_the_first_is_found(core: Flask) -> None:
    write(2)
    columns = [column.name for column in AuditEvent.__table__.columns if column.name != "id"]
    names = ", ".join(columns)
    tamper(f"INSERT INTO audit_events (id, {names}) SELECT 0, {names} FROM audit_events LIMIT 1")
    assert kinds() == [(ProblemKind.EDITED, 0)]


def test_rows_cut_off_the_end_are_found_by_the_anchors(core: Flask) -> None:
    write(5)
    audit.append_anchor()
    head = db.session.scalar(sa.select(sa.func.max(AuditEvent.id)))
    tamper("DELETE FROM audit_events WHERE id > 3")
    assert kinds() == [(ProblemKind.TRUNCATED, head)]


def test_rows_written_over_a_cut_end_are_found_by_the_anchors(core: Flask) -> None:
    write(5)
    audit.append_anchor()
    write(1)
    audit.append_anchor()
    tamper("DELETE FROM audit_events WHERE id > 3")
    write(6)
    assert kinds() == [(ProblemKind.TRUNCATED, 7)]


def test_an_emptied_record_is_found_by_the_anchors(core: Flask) -> None:
    write(2)
    audit.append_anchor()
    tamper("DELETE FROM audit_events")
    assert kinds() == [(ProblemKind.TRUNCATED, 3)]


def test_an_anchor_names_the_head_and_the_count(core: Flask) -> None:
    write(3)
    assert audit.append_anchor()
    write(2)
    assert audit.append_anchor()
    assert not audit.append_anchor()
    path = current_settings().audit_anchors
    anchors = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(anchor["id"], anchor["count"]) for anchor in anchors] == [(4, 4), (6, 6)]
    assert anchors[1]["mac"] == db.session.get_one(AuditEvent, 6).mac
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kinds() == []


def test_nothing_is_anchored_before_there_is_a_row(core: Flask) -> None:
    assert not audit.append_anchor()
    assert not current_settings().audit_anchors.exists()


def test_a_missing_anchors_file_is_found_once_it_was_begun(core: Flask) -> None:
    write(2)
    assert kinds() == []
    audit.append_anchor()
    current_settings().audit_anchors.unlink()
    assert kinds() == [(ProblemKind.ANCHORS_MISSING, None)]


def test_anchors_begun_again_are_worth_a_warning(core: Flask) -> None:
    write(2)
    audit.append_anchor()
    current_settings().audit_anchors.unlink()
    audit.append_anchor()
    [problem] = audit.verify()
    assert (problem.kind, problem.event_id) == (ProblemKind.ANCHORS_RESTARTED, 4)
    assert problem.is_warning


def test_a_damaged_anchor_is_found_and_the_others_still_count(core: Flask) -> None:
    write(2)
    audit.append_anchor()
    with current_settings().audit_anchors.open("a") as file:
        file.write('{"id": "torn\n')
    write(1)
    assert audit.append_anchor()
    assert kinds() == [(ProblemKind.ANCHOR_UNREADABLE, None)]
    tamper("DELETE FROM audit_events WHERE id > 2")
    assert (ProblemKind.TRUNCATED, 4) in kinds()


def test_another_key_vouches_for_no_row(core: Flask) -> None:
    write(3)
    core.extensions["audit_key"] = b"another"
    assert kinds() == [(ProblemKind.EDITED, number) for number in (1, 2, 3)]


def test_a_long_record_is_read_in_parts(core: Flask) -> None:
    with transaction():
        for _ in range(1100):
            audit.record(actor=None, action="case.opened")
    assert kinds() == []
    tamper("DELETE FROM audit_events WHERE id = 1001")
    assert kinds() == [(ProblemKind.REMOVED, 1001)]


def test_the_key_is_kept_outside_the_database(settings: Settings) -> None:
    app = create_core(settings)
    path = settings.instance_dir / "keys" / "audit.key"
    assert path.read_text().encode() == app.extensions["audit_key"]
    assert len(app.extensions["audit_key"]) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert create_core(settings).extensions["audit_key"] == app.extensions["audit_key"]


def test_a_key_is_made_once_however_many_start(tmp_path) -> None:
    start = threading.Barrier(8)
    keys: list[str] = []

    def work() -> None:
        start.wait()
        keys.append(kept_key(tmp_path / "keys" / "a.key"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert os.listdir(tmp_path / "keys") == ["a.key"]
