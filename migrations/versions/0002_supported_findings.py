"""Which findings reached their operating point."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Answers from before are kept as they are: of them nobody recorded it."""
    op.add_column(
        "predictions",
        sa.Column("supported", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("predictions", "supported")
