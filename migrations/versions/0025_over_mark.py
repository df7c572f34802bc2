"""Cases are found by a finding over its mark, also where another one is the answer."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

INDEX, TABLE = "ix_predictions_over_mark", "predictions"


def upgrade() -> None:
    op.create_index(
        INDEX,
        TABLE,
        ["finding_id", "assessed_image_id"],
        sqlite_where=sa.text("supported = 1"),
        postgresql_where=sa.text("supported"),
    )


def downgrade() -> None:
    op.drop_index(INDEX, TABLE)
