"""Which processes live, what pictures look like, and what they looked like where a model was tuned."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PARTS = ("triage", "administration", "training", "sweeper")
MEASURES = ("brightness", "contrast", "sharpness")


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "part",
            sa.Enum(*PARTS, name="part", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("started_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("bundle_sha256s", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.String(length=60), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "model_references",
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name=op.f("fk_model_references_model_version_id"),
        ),
        sa.PrimaryKeyConstraint("model_version_id", name=op.f("pk_model_references")),
    )
    for name in MEASURES:
        op.add_column("assessed_images", sa.Column(name, sa.Double(), nullable=True))
    op.create_index(
        "ix_assessments_failed",
        "assessments",
        ["id"],
        sqlite_where=sa.text("state = 'failed'"),
        postgresql_where=sa.text("state = 'failed'"),
    )


def downgrade() -> None:
    op.drop_index("ix_assessments_failed", "assessments")
    for name in reversed(MEASURES):
        op.drop_column("assessed_images", name)
    op.drop_table("model_references")
    op.drop_table("workers")
