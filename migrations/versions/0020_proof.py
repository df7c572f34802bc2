"""Two may have to approve that a model serves, and the first is named; comparisons show progress."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

COLUMN = "first_approved_by_id"
CONDITIONS = {
    "promotion_requests": {
        "first_approved_at_when_approved": f"({COLUMN} IS NULL) = (first_approved_at IS NULL)",
        "first_approved_by_another": (
            f"{COLUMN} IS NULL OR ({COLUMN} <> requested_by_id"
            " AND (decision IS NULL OR decision <> 'approved'"
            f" OR {COLUMN} <> decided_by_id))"
        ),
    },
    "promotions": {
        "first_approved_by_a_third": (
            f"{COLUMN} IS NULL OR (kind = 'promotion' AND {COLUMN} <> requested_by_id"
            f" AND {COLUMN} <> approved_by_id)"
        ),
    },
}


def upgrade() -> None:
    """SQLite takes constraints with a column that is added, and none later."""
    op.add_column("comparisons", sa.Column("progress", sa.JSON(), nullable=True))
    op.add_column(
        "promotion_requests",
        sa.Column("first_approved_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
    )
    for table, conditions in CONDITIONS.items():
        checks = " ".join(
            f"CONSTRAINT ck_{table}_{name} CHECK ({condition})"
            for name, condition in conditions.items()
        )
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN {COLUMN} INTEGER"
            f" CONSTRAINT fk_{table}_{COLUMN} REFERENCES users (id) {checks}"
        )


def downgrade() -> None:
    """Who approved first cannot be told by what 0019 knows, and the ledger is kept."""
    told = op.get_bind().scalar(
        sa.text(f"SELECT count(*) FROM promotions WHERE {COLUMN} IS NOT NULL")
    )
    if told:
        raise RuntimeError(f"{told} lines of the ledger name two who approved")
    for table in CONDITIONS:
        op.drop_column(table, COLUMN)
    op.drop_column("promotion_requests", "first_approved_at")
    op.drop_column("comparisons", "progress")
