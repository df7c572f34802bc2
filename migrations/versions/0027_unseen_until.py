"""Until when a version reads new cases unseen. One that began before has no end of its own."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

TYPES = {"postgresql": "TIMESTAMP WITH TIME ZONE", "sqlite": "DATETIME"}


def upgrade() -> None:
    # In SQL, since SQLite takes constraints with a column that is added, and none later.
    op.execute(
        f"ALTER TABLE model_aliases ADD COLUMN until {TYPES[op.get_bind().dialect.name]}"
        " CONSTRAINT ck_model_aliases_until_of_a_shadow"
        " CHECK (until IS NULL OR alias = 'shadow')"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE model_aliases DROP COLUMN until")
