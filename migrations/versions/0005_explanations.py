"""Why an answer is what it is: where the model looked, and what the metadata changed."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATES = ("scheduled", "in_progress", "completed", "abstained", "failed", "cancelled")
FAILURES = ("unreadable_image", "missing_image", "missing_bundle", "worker_lost", "unexpected")


def upgrade() -> None:
    op.create_table(
        "explanations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assessed_image_id", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=False),
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
        sa.Column("heat_map_sha256", sa.String(length=64), nullable=True),
        sa.Column("metadata_effects", sa.JSON(), nullable=True),
        sa.CheckConstraint(
            "(state = 'in_progress') = (lease_token IS NOT NULL)",
            name=op.f("ck_explanations_lease_when_in_progress"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_explanations_lease_has_an_end"),
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (failure IS NOT NULL)",
            name=op.f("ck_explanations_failure_when_failed"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("ck_explanations_completed_at_when_made"),
        ),
        sa.CheckConstraint(
            "state <> 'completed' OR (metadata_effects IS NOT NULL AND engine IS NOT NULL"
            " AND code_version IS NOT NULL)",
            name=op.f("ck_explanations_explained_when_made"),
        ),
        sa.ForeignKeyConstraint(
            ["assessed_image_id"],
            ["assessed_images.id"],
            name=op.f("fk_explanations_assessed_image_id"),
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_explanations_finding_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_explanations")),
        sa.UniqueConstraint(
            "assessed_image_id",
            "finding_id",
            name=op.f("uq_explanations_assessed_image_id_finding_id"),
        ),
    )
    op.create_index(
        "ix_explanations_claimable",
        "explanations",
        ["id", "not_before_at"],
        sqlite_where=sa.text("state = 'scheduled'"),
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    op.create_index(
        "ix_explanations_leased",
        "explanations",
        ["lease_expires_at"],
        sqlite_where=sa.text("state = 'in_progress'"),
        postgresql_where=sa.text("state = 'in_progress'"),
    )


def downgrade() -> None:
    op.drop_table("explanations")


def _enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
