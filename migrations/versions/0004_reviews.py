"""Decisions on cases, and who takes, reads and reads them again."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEPT = ("reviews", "impressions", "outcomes", "second_reads")
"""What people signed or recorded: the database lets nobody change or remove it."""


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("assessment_id", sa.Integer(), nullable=True),
        sa.Column(
            "decision",
            sa.Enum(
                "agree",
                "override",
                "uncertain",
                "void",
                name="decision",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("finding_id", sa.Integer(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("form_token", sa.String(length=64), nullable=False),
        sa.Column("reviewer_id", sa.Integer(), nullable=False),
        sa.Column("signed_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_reviews_version_from_one")),
        sa.CheckConstraint(
            "(decision IN ('agree', 'override')) = (finding_id IS NOT NULL)",
            name=op.f("ck_reviews_finding_when_decided"),
        ),
        sa.CheckConstraint(
            "decision <> 'agree' OR assessment_id IS NOT NULL",
            name=op.f("ck_reviews_agrees_with_an_assessment"),
        ),
        sa.CheckConstraint(
            "(version > 1 OR decision = 'void') = (reason IS NOT NULL)",
            name=op.f("ck_reviews_reason_when_changed"),
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_reviews_case_id")),
        sa.ForeignKeyConstraint(
            ["assessment_id"], ["assessments.id"], name=op.f("fk_reviews_assessment_id")
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_reviews_finding_id")
        ),
        sa.ForeignKeyConstraint(
            ["reviewer_id"], ["users.id"], name=op.f("fk_reviews_reviewer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("case_id", "version", name=op.f("uq_reviews_case_id_version")),
        sa.UniqueConstraint("case_id", "form_token", name=op.f("uq_reviews_case_id_form_token")),
    )
    op.create_table(
        "impressions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=True),
        sa.Column("saved_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_impressions_case_id")),
        sa.ForeignKeyConstraint(["reader_id"], ["users.id"], name=op.f("fk_impressions_reader_id")),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_impressions_finding_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_impressions")),
        sa.UniqueConstraint(
            "case_id", "reader_id", name=op.f("uq_impressions_case_id_reader_id")
        ),
    )
    op.create_table(
        "outcomes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=True),
        sa.Column(
            "source",
            sa.Enum(
                "histology",
                "follow_up",
                "other",
                name="outcome_source",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("found_on", sa.Date(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("form_token", sa.String(length=64), nullable=False),
        sa.Column("recorded_by_id", sa.Integer(), nullable=False),
        sa.Column("recorded_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(finding_id IS NOT NULL AND source <> 'other') OR note <> ''",
            name=op.f("ck_outcomes_note_when_not_clear"),
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_outcomes_case_id")),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_outcomes_finding_id")
        ),
        sa.ForeignKeyConstraint(
            ["recorded_by_id"], ["users.id"], name=op.f("fk_outcomes_recorded_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcomes")),
        sa.UniqueConstraint("case_id", "version", name=op.f("uq_outcomes_case_id_version")),
        sa.UniqueConstraint("case_id", "form_token", name=op.f("uq_outcomes_case_id_form_token")),
    )
    op.create_table(
        "second_reads",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("review_id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("read_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["review_id"], ["reviews.id"], name=op.f("fk_second_reads_review_id")
        ),
        sa.ForeignKeyConstraint(
            ["reader_id"], ["users.id"], name=op.f("fk_second_reads_reader_id")
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_second_reads_finding_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_second_reads")),
        sa.UniqueConstraint(
            "review_id", "reader_id", name=op.f("uq_second_reads_review_id_reader_id")
        ),
    )
    _allow_roles("clinician", "reviewer", "administrator")
    op.add_column(
        "sites",
        sa.Column(
            "own_impression_first", sa.Boolean(), server_default=sa.false(), nullable=False
        ),
    )
    # Written out: Alembic would make the table anew on SQLite, and drop what refers to it.
    op.execute(
        "ALTER TABLE cases ADD COLUMN assigned_to_id INTEGER"
        " CONSTRAINT fk_cases_assigned_to_id REFERENCES users (id)"
    )
    for table in KEPT:
        _refuse_changes(table)


def downgrade() -> None:
    op.execute("DELETE FROM user_roles WHERE role = 'reviewer'")
    _allow_roles("clinician", "administrator")
    for table in reversed(KEPT):
        op.drop_table(table)
    op.drop_column("sites", "own_impression_first")
    op.execute("ALTER TABLE cases DROP COLUMN assigned_to_id")


def _allow_roles(*roles: str) -> None:
    """SQLite cannot change a constraint, so there the table is made anew; nothing refers to it."""
    condition = "role IN ({})".format(", ".join(f"'{role}'" for role in roles))
    name = op.f("ck_user_roles_role")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(name, "user_roles", type_="check")
        op.create_check_constraint(name, "user_roles", condition)
        return
    op.rename_table("user_roles", "former_user_roles")
    op.create_table(
        "user_roles",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.CheckConstraint(condition, name=name),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_roles_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "role", name=op.f("pk_user_roles")),
    )
    op.execute("INSERT INTO user_roles SELECT user_id, role FROM former_user_roles")
    op.drop_table("former_user_roles")


def _refuse_changes(table: str) -> None:
    sentence = f"{table} are kept as they were signed"
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
