"""Recipes as the trainer knows them, and runs that train by them."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATES = ("scheduled", "in_progress", "completed", "abstained", "failed", "cancelled")
FAILURES = ("unreadable_image", "missing_image", "missing_bundle", "worker_lost", "unexpected")
DEVICES = ("auto", "cpu", "cuda")
TROUBLES = (
    *("refused", "no_pictures", "no_start", "out_of_memory"),
    *("killed", "disk_full", "unfit", "error"),
)
INDEXES = {
    "ix_training_runs_claimable": (["id", "not_before_at"], "state = 'scheduled'"),
    "ix_training_runs_leased": (["lease_expires_at"], "state = 'in_progress'"),
}


def upgrade() -> None:
    op.create_table(
        "recipes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("reading_task", sa.String(length=60), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("table", sa.JSON(), nullable=False),
        sa.Column("schema", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipes")),
        sa.UniqueConstraint("name", name=op.f("uq_recipes_name")),
    )
    op.create_index(op.f("ix_recipes_reading_task"), "recipes", ["reading_task"])
    op.create_table(
        "training_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("recipe_name", sa.String(length=80), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("init", sa.String(length=120), nullable=False),
        sa.Column("device", _enum("device", DEVICES), nullable=False),
        sa.Column("requested_by_id", sa.Integer(), nullable=True),
        sa.Column("requested_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("cancel_requested_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("curves", sa.JSON(), nullable=False),
        sa.Column("log_tail", sa.Text(), nullable=False),
        sa.Column("trouble", _enum("trouble", TROUBLES), nullable=True),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=True),
        sa.Column("model_version_id", sa.Integer(), nullable=True),
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
            name=op.f("ck_training_runs_lease_when_in_progress"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_training_runs_lease_has_an_end"),
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (failure IS NOT NULL)",
            name=op.f("ck_training_runs_failure_when_failed"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("ck_training_runs_completed_at_when_made"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (model_version_id IS NOT NULL)",
            name=op.f("ck_training_runs_candidate_when_made"),
        ),
        sa.CheckConstraint(
            "(model_version_id IS NULL) = (bundle_sha256 IS NULL)",
            name=op.f("ck_training_runs_candidate_has_a_bundle"),
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_training_runs_reading_task_id")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.id"], name=op.f("fk_training_runs_snapshot_id")
        ),
        sa.ForeignKeyConstraint(
            ["requested_by_id"], ["users.id"], name=op.f("fk_training_runs_requested_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name=op.f("fk_training_runs_model_version_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_runs")),
    )
    for column in ("reading_task_id", "snapshot_id"):
        op.create_index(op.f(f"ix_training_runs_{column}"), "training_runs", [column])
    for name, (columns, state) in INDEXES.items():
        where = sa.text(state)
        op.create_index(name, "training_runs", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_table("training_runs")
    op.drop_table("recipes")


def _enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
