"""Registered data sets are in the store, where other machines find them."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """In SQL, since SQLite takes a constraint on a new column only as part of it."""
    op.execute(
        "ALTER TABLE datasets ADD COLUMN pictures_sha256 VARCHAR(64)"
        " CONSTRAINT ck_datasets_pictures_sha256_length CHECK (length(pictures_sha256) = 64)"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE datasets DROP COLUMN pictures_sha256")
