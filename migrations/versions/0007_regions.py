"""Lesions and eyes of patients, and which of them a case shows; what the worklist is searched by."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

REGIONS = {"breast-ultrasound": "lesion", "dermoscopy": "lesion", "fundus": "eye"}
"""What images of the reading tasks that there were show and can be looked at again."""

IS_CURRENT = sa.text("superseded_at IS NULL AND purpose = 'triage'")
SEARCHED = (["reviewer_id"], ["finding_id"], ["decision", "version"])
"""Decisions by what people look for."""


def upgrade() -> None:
    # Columns are written out: Alembic would make tables anew on SQLite, and drop what refers to them.
    op.execute(
        "ALTER TABLE reading_tasks ADD COLUMN region_kind VARCHAR(32)"
        " CONSTRAINT ck_reading_tasks_region_kind CHECK (region_kind IN ('lesion', 'eye'))"
    )
    for code, kind in REGIONS.items():
        op.execute(f"UPDATE reading_tasks SET region_kind = '{kind}' WHERE code = '{code}'")
    op.create_table(
        "regions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=60), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_regions_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_regions_reading_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_regions")),
        sa.UniqueConstraint(
            "patient_id",
            "reading_task_id",
            "key",
            name=op.f("uq_regions_patient_id_reading_task_id_key"),
        ),
    )
    op.execute(
        "ALTER TABLE cases ADD COLUMN region_id INTEGER"
        " CONSTRAINT fk_cases_region_id REFERENCES regions (id)"
    )
    op.create_index("ix_cases_region_id", "cases", ["region_id"])
    op.create_index(
        "ix_assessments_by_finding",
        "assessments",
        ["finding_id", "state", "case_id"],
        sqlite_where=IS_CURRENT,
        postgresql_where=IS_CURRENT,
    )
    for columns in SEARCHED:
        op.create_index("_".join(["ix_reviews", *columns]), "reviews", columns)


def downgrade() -> None:
    for columns in SEARCHED:
        op.drop_index("_".join(["ix_reviews", *columns]), "reviews")
    op.drop_index("ix_assessments_by_finding", "assessments")
    op.drop_index("ix_cases_region_id", "cases")
    op.execute("ALTER TABLE cases DROP COLUMN region_id")
    op.drop_table("regions")
    op.execute("ALTER TABLE reading_tasks DROP COLUMN region_kind")
