"""What was on record of patients until somebody corrected it."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SEXES = ("female", "male", "other", "unknown")


def upgrade() -> None:
    op.create_table(
        "former_particulars",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Integer(), nullable=False),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column(
            "sex",
            sa.Enum(*SEXES, name="sex", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("corrected_by_id", sa.Integer(), nullable=False),
        sa.Column("corrected_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_former_particulars_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["corrected_by_id"], ["users.id"], name=op.f("fk_former_particulars_corrected_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_former_particulars")),
    )
    op.create_index(
        op.f("ix_former_particulars_patient_id"), "former_particulars", ["patient_id"]
    )
    _refuse_changes("former_particulars")


def downgrade() -> None:
    op.drop_table("former_particulars")


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
