"""How long a case may wait, when it is due or settled, and a user's own filters of the worklist."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ALLOWANCES = {"routine": 72 * 60, "urgent": 4 * 60, "asap": 60, "stat": 0}
"""Minutes, by priorities in the order of their ranks."""

IS_OPEN = sa.text("superseded_at IS NULL AND purpose = 'triage' AND settled_at IS NULL")
INDEXES = {
    "ix_assessments_by_due": ["due_at", "case_id", "state", "priority_rank"],
    "ix_assessments_by_state_due": ["state", "due_at", "case_id", "priority_rank"],
    "ix_assessments_by_priority_due": ["priority_rank", "due_at", "case_id", "state"],
}

RAISED_BY_A_FINDING = """
    UPDATE assessments SET priority_rank = :rank
    WHERE state IN ('completed', 'abstained') AND priority_rank < :rank AND EXISTS (
        SELECT 1 FROM assessed_images AS image
        JOIN predictions AS said ON said.assessed_image_id = image.id
        JOIN findings ON findings.id = said.finding_id
        WHERE image.assessment_id = assessments.id AND findings.urgency = :priority
            AND (said.supported OR (NOT image.abstained AND said.finding_id = image.finding_id))
    )
"""
RAISED_BY_AN_IMAGE_WITHOUT_ANSWER = """
    UPDATE assessments SET priority_rank = 1
    WHERE priority_rank < 1 AND EXISTS (
        SELECT 1 FROM assessed_images AS image
        WHERE image.assessment_id = assessments.id AND image.abstained
    )
"""


def upgrade() -> None:
    priority = sa.Enum(
        *ALLOWANCES, name="priority", native_enum=False, create_constraint=True, length=32
    )
    allowances = op.create_table(
        "allowances",
        sa.Column("priority", priority, nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.CheckConstraint("minutes >= 0", name=op.f("ck_allowances_minutes_not_negative")),
        sa.PrimaryKeyConstraint("priority", name=op.f("pk_allowances")),
    )
    op.bulk_insert(
        allowances, [{"priority": name, "minutes": minutes} for name, minutes in ALLOWANCES.items()]
    )
    # Without a default, SQLite would have to write the table anew, and its triggers refuse that.
    # No row keeps it.
    op.add_column(
        "assessments",
        sa.Column(
            "due_at",
            webapp.db.UTCDateTime(timezone=True),
            server_default=sa.text("'1970-01-01 00:00:00'"),
            nullable=False,
        ),
    )
    fill()
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("assessments", "due_at", server_default=None)
    op.add_column(
        "assessments",
        sa.Column("settled_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
    )
    for name, columns in INDEXES.items():
        op.create_index(
            name,
            "assessments",
            columns,
            sqlite_where=IS_OPEN,
            postgresql_where=IS_OPEN,
        )
    op.create_table(
        "saved_filters",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_saved_filters_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_filters")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_saved_filters_user_id_name")),
    )


def fill() -> None:
    """Give every reading the priority that it has by today's rule, and the moment it is due."""
    connection = op.get_bind()
    for rank, name in enumerate(ALLOWANCES):
        if rank:
            connection.execute(sa.text(RAISED_BY_A_FINDING), {"rank": rank, "priority": name})
    connection.execute(sa.text(RAISED_BY_AN_IMAGE_WITHOUT_ANSWER))
    for rank, minutes in enumerate(ALLOWANCES.values()):
        due_at = (
            f"strftime('%Y-%m-%d %H:%M:%f', submitted_at, '+{minutes} minutes') || '000'"
            if connection.dialect.name == "sqlite"
            else f"submitted_at + interval '{minutes} minutes'"
        )
        connection.execute(
            sa.text(
                f"UPDATE assessments SET due_at = (SELECT {due_at} FROM cases"
                " WHERE cases.id = assessments.case_id) WHERE priority_rank = :rank"
            ),
            {"rank": rank},
        )


def downgrade() -> None:
    op.drop_table("saved_filters")
    for name in INDEXES:
        op.drop_index(name, "assessments")
    op.drop_column("assessments", "settled_at")
    op.drop_column("assessments", "due_at")
    op.drop_table("allowances")
