"""The language that a user chose."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """In SQL, since SQLite takes a constraint on a new column only as part of it."""
    op.execute(
        "ALTER TABLE users ADD COLUMN language VARCHAR(32)"
        " CONSTRAINT ck_users_language CHECK (language IN ('en', 'de'))"
    )


def downgrade() -> None:
    op.drop_column("users", "language")
