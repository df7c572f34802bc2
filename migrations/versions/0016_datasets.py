"""Data sets to learn from, snapshots of what was decided, and patients' consent to training."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATES = ("scheduled", "in_progress", "completed", "abstained", "failed", "cancelled")
FAILURES = ("unreadable_image", "missing_image", "missing_bundle", "worker_lost", "unexpected")
CONSENTS = ("not_asked", "given", "withdrawn")
KEPT = ("consent_changes", "snapshots", "snapshot_cases")
"""The database lets nobody change or remove what is in these."""


def upgrade() -> None:
    op.execute(
        "ALTER TABLE patients ADD COLUMN consent VARCHAR(32) DEFAULT 'not_asked' NOT NULL"
        " CONSTRAINT ck_patients_consent CHECK (consent IN ('not_asked', 'given', 'withdrawn'))"
    )
    op.create_table(
        "consent_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Integer(), nullable=False),
        sa.Column("consent", _enum("consent", CONSENTS), nullable=False),
        sa.Column("changed_by_id", sa.Integer(), nullable=False),
        sa.Column("changed_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("consent <> 'not_asked'", name=op.f("ck_consent_changes_was_asked")),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_consent_changes_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["changed_by_id"], ["users.id"], name=op.f("fk_consent_changes_changed_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_changes")),
    )
    op.create_index(op.f("ix_consent_changes_patient_id"), "consent_changes", ["patient_id"])
    _create_datasets()
    _create_snapshots()
    for table in KEPT:
        _refuse_changes(table)


def downgrade() -> None:
    op.drop_table("snapshot_cases")
    op.drop_table("snapshots")
    op.drop_table("datasets")
    op.drop_table("consent_changes")
    op.drop_column("patients", "consent")


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("requested_by_id", sa.Integer(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("table_sha256", sa.String(length=64), nullable=True),
        sa.Column("archive_sha256", sa.String(length=64), nullable=True),
        sa.Column("content_sha256", sa.String(length=64), nullable=True),
        sa.Column("image_count", sa.Integer(), nullable=True),
        sa.Column("subject_count", sa.Integer(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=True),
        sa.Column("sides", sa.JSON(), nullable=True),
        sa.Column("duplicates", sa.JSON(), nullable=True),
        sa.Column("problems", sa.JSON(), nullable=False),
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
        sa.CheckConstraint(
            "(state = 'in_progress') = (lease_token IS NOT NULL)",
            name=op.f("ck_datasets_lease_when_in_progress"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_datasets_lease_has_an_end"),
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (failure IS NOT NULL)",
            name=op.f("ck_datasets_failure_when_failed"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("ck_datasets_completed_at_when_checked"),
        ),
        sa.CheckConstraint(
            "content_sha256 IS NULL OR (state = 'completed' AND image_count IS NOT NULL"
            " AND subject_count IS NOT NULL AND counts IS NOT NULL AND sides IS NOT NULL"
            " AND duplicates IS NOT NULL)",
            name=op.f("ck_datasets_counted_when_registered"),
        ),
        sa.CheckConstraint(
            "length(content_sha256) = 64", name=op.f("ck_datasets_content_sha256_length")
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_datasets_reading_task_id")
        ),
        sa.ForeignKeyConstraint(
            ["requested_by_id"], ["users.id"], name=op.f("fk_datasets_requested_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    for name, columns, state in (
        ("ix_datasets_claimable", ["id", "not_before_at"], "scheduled"),
        ("ix_datasets_leased", ["lease_expires_at"], "in_progress"),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "datasets", columns, sqlite_where=where, postgresql_where=where)
    op.create_index(
        "uq_datasets_content", "datasets", ["reading_task_id", "content_sha256"], unique=True
    )


def _create_snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("includes_agreement", sa.Boolean(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=True),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "length(manifest_sha256) = 64", name=op.f("ck_snapshots_manifest_hash_length")
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_snapshots_reading_task_id")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_snapshots_dataset_id")
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name=op.f("fk_snapshots_created_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
    )
    op.create_index(op.f("ix_snapshots_reading_task_id"), "snapshots", ["reading_task_id"])
    op.create_table(
        "snapshot_cases",
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Integer(), nullable=False),
        sa.Column("is_test", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.id"], name=op.f("fk_snapshot_cases_snapshot_id")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_snapshot_cases_case_id")),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_snapshot_cases_patient_id")
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "case_id", name=op.f("pk_snapshot_cases")),
    )
    op.create_index(
        op.f("ix_snapshot_cases_patient_id_snapshot_id"),
        "snapshot_cases",
        ["patient_id", "snapshot_id"],
    )


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
