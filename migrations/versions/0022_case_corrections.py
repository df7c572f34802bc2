"""What was said of cases until somebody corrected it."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

TABLE, SENTENCE = "former_cases", "former_cases are kept as they were"
TEXTS = ("note", "reason")
"""Of a patient who is marked as erased these become `[erased]`, as with what people signed; nothing
else of a row may change."""
ERASED = (
    "SELECT 1 FROM cases JOIN patients ON patients.id = cases.patient_id"
    " WHERE cases.id = {case_id} AND patients.erased_at IS NOT NULL"
)


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("priority", _enum("priority", "routine", "urgent", "asap", "stat"), nullable=False),
        sa.Column("age_at_acquisition_years", sa.Integer(), nullable=True),
        sa.Column("age_is_derived", sa.Boolean(), nullable=False),
        sa.Column("body_site", sa.String(60), nullable=True),
        sa.Column("laterality", _enum("laterality", "left", "right", "unknown"), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("corrected_by_id", sa.Integer(), nullable=False),
        sa.Column("corrected_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_former_cases_reason_given")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_former_cases_case_id")),
        sa.ForeignKeyConstraint(
            ["corrected_by_id"], ["users.id"], name=op.f("fk_former_cases_corrected_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_former_cases")),
    )
    op.create_index(op.f("ix_former_cases_case_id"), TABLE, ["case_id"])
    _keep()


def downgrade() -> None:
    op.drop_table(TABLE)


def _keep() -> None:
    if op.get_bind().dialect.name == "postgresql":
        found = ERASED.format(case_id="($1->>''case_id'')::int")
        arguments = ", ".join(f"'{text}'" for text in (SENTENCE, found, *TEXTS))
        op.execute(
            f"CREATE TRIGGER {TABLE}_are_kept BEFORE UPDATE OR DELETE ON {TABLE} FOR EACH ROW"
            f" EXECUTE FUNCTION refuse_change_unless_erased({arguments})"
        )
        return
    columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns(TABLE)]
    same = [f"NEW.{name} IS OLD.{name}" for name in columns if name not in TEXTS]
    erased = [f"(NEW.{name} IS OLD.{name} OR NEW.{name} = '[erased]')" for name in TEXTS]
    allowed = " AND ".join([*same, *erased, f"EXISTS ({ERASED.format(case_id='OLD.case_id')})"])
    for change, condition in (("UPDATE", f" WHEN NOT ({allowed})"), ("DELETE", "")):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{change.lower()} BEFORE {change} ON {TABLE}{condition}"
            f" BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END"
        )


def _enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
