"""The same input read once more, to compare; which patients a case was filed for before; and what
a model says that reads the image alone."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATES = ("scheduled", "in_progress", "completed", "abstained", "failed", "cancelled")
FAILURES = ("unreadable_image", "missing_image", "missing_bundle", "worker_lost", "unexpected")
INDEXES = {
    "ix_reproductions_claimable": (["id", "not_before_at"], "state = 'scheduled'", False),
    "ix_reproductions_leased": (["lease_expires_at"], "state = 'in_progress'", False),
    "uq_reproductions_open": (["assessment_id"], "state IN ('scheduled', 'in_progress')", True),
}


def upgrade() -> None:
    op.create_table(
        "reproductions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assessment_id", sa.Integer(), nullable=False),
        sa.Column("state", _enum("state", STATES), nullable=False),
        sa.Column("scheduled_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("not_before_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("claimed_by", sa.String(length=120), nullable=True),
        sa.Column("started_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("completed_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("failure", _enum("failure", FAILURES), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("engine", sa.String(length=120), nullable=True),
        sa.Column("code_version", sa.String(length=60), nullable=True),
        sa.Column("answers", sa.JSON(), nullable=True),
        sa.Column("largest_difference", sa.Double(), nullable=True),
        sa.Column("tolerance", sa.Double(), nullable=True),
        sa.Column("same_answers", sa.Boolean(), nullable=True),
        sa.Column("same_input", sa.Boolean(), nullable=True),
        sa.CheckConstraint(
            "(state = 'in_progress') = (lease_token IS NOT NULL)",
            name=op.f("ck_reproductions_lease_when_in_progress"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_reproductions_lease_has_an_end"),
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (failure IS NOT NULL)",
            name=op.f("ck_reproductions_failure_when_failed"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("ck_reproductions_completed_at_when_made"),
        ),
        sa.CheckConstraint(
            "state <> 'completed' OR (answers IS NOT NULL AND largest_difference IS NOT NULL"
            " AND tolerance IS NOT NULL AND same_answers IS NOT NULL AND same_input IS NOT NULL"
            " AND engine IS NOT NULL AND code_version IS NOT NULL)",
            name=op.f("ck_reproductions_compared_when_made"),
        ),
        sa.ForeignKeyConstraint(
            ["assessment_id"], ["assessments.id"], name=op.f("fk_reproductions_assessment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reproductions")),
    )
    op.create_index(op.f("ix_reproductions_assessment_id"), "reproductions", ["assessment_id"])
    for name, (columns, where, unique) in INDEXES.items():
        op.create_index(
            name,
            "reproductions",
            columns,
            unique=unique,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_table(
        "case_moves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("from_patient_id", sa.Integer(), nullable=False),
        sa.Column("to_patient_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("moved_by_id", sa.Integer(), nullable=False),
        sa.Column("moved_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("from_patient_id <> to_patient_id", name=op.f("ck_case_moves_moved")),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_case_moves_reason_given")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_moves_case_id")),
        sa.ForeignKeyConstraint(
            ["from_patient_id"], ["patients.id"], name=op.f("fk_case_moves_from_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["to_patient_id"], ["patients.id"], name=op.f("fk_case_moves_to_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["moved_by_id"], ["users.id"], name=op.f("fk_case_moves_moved_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_moves")),
    )
    op.create_index(op.f("ix_case_moves_case_id"), "case_moves", ["case_id"])
    _refuse_changes("case_moves")
    op.add_column("explanations", sa.Column("image_only", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("explanations", "image_only")
    op.drop_table("case_moves")
    op.drop_table("reproductions")


def _enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def _refuse_changes(table: str) -> None:
    sentence = f"{table} are kept as they were"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_are_kept BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
            f" EXECUTE FUNCTION refuse_change('{sentence}')"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{sentence}'); END"
        )
