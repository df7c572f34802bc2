"""The first version of a reading task may be asked for and approved too, by two people."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

REQUESTS, LEDGER = "promotion_requests", "promotions"
COLUMNS = {
    "uncompared_id": (
        "model_versions",
        "uncompared_without_comparison",
        "(comparison_id IS NULL) = (uncompared_id IS NOT NULL)",
    ),
    "plan_id": ("change_plans", "plan_where_uncompared", "(uncompared_id IS NULL) = (plan_id IS NULL)"),
}
BY_TWO = "requested_by_id IS NOT NULL AND approved_by_id IS NOT NULL AND requested_by_id <> approved_by_id"
THIRD = (
    "first_approved_by_id IS NULL OR (kind {} AND first_approved_by_id <> requested_by_id"
    " AND first_approved_by_id <> approved_by_id)"
)
CONDITIONS = {
    "promotion_by_two": (
        f"kind <> 'promotion' OR ({BY_TWO})",
        f"kind = 'rollback' OR (kind = 'first' AND approved_by_id IS NULL) OR ({BY_TWO})",
    ),
    "first_approved_by_a_third": (THIRD.format("= 'promotion'"), THIRD.format("<> 'rollback'")),
}


def upgrade() -> None:
    _let_be_null(is_null=True)
    for column, (table, name, condition) in COLUMNS.items():
        # In SQL, since SQLite takes constraints with a column that is added, and none later.
        op.execute(
            f"ALTER TABLE {REQUESTS} ADD COLUMN {column} INTEGER"
            f" CONSTRAINT fk_{REQUESTS}_{column} REFERENCES {table} (id)"
            f" CONSTRAINT ck_{REQUESTS}_{name} CHECK ({condition})"
        )
    for name, (former, condition) in CONDITIONS.items():
        _replace(name, former, condition)


def downgrade() -> None:
    """Who asked for a first version, and who approved it, 0025 cannot tell, and the ledger is
    kept."""
    asked = op.get_bind().scalar(
        sa.text(f"SELECT count(*) FROM {REQUESTS} WHERE comparison_id IS NULL")
    )
    if asked:
        raise RuntimeError(f"{asked} requests name a first version, which 0025 does not know")
    for name, (former, condition) in CONDITIONS.items():
        _replace(name, condition, former)
    for column in reversed(COLUMNS):
        op.drop_column(REQUESTS, column)
    _let_be_null(is_null=False)


def _let_be_null(*, is_null: bool) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(REQUESTS, "comparison_id", nullable=is_null)
        return
    needed, free = "comparison_id INTEGER NOT NULL", "comparison_id INTEGER"
    _edit(REQUESTS, *((needed, free) if is_null else (f"{free},", f"{needed},")))


def _replace(name: str, former: str, condition: str) -> None:
    full_name = f"ck_{LEDGER}_{name}"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f(full_name), LEDGER, type_="check")
        op.create_check_constraint(op.f(full_name), LEDGER, condition)
        return
    _edit(LEDGER, f"CHECK ({former})", f"CHECK ({condition})")


def _edit(table: str, former: str, text: str) -> None:
    """Change the text of a table of SQLite, as 0019 does."""
    connection = op.get_bind()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?)"
        " WHERE type = 'table' AND name = ? AND instr(sql, ?) > 0",
        (former, text, table, former),
    )
    if changed.rowcount != 1:
        raise RuntimeError(f"{table} does not say {former}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")
