"""What DICOM files tell: sides, the names of pictures, and which modalities a reading task reads."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None

MODALITIES = {
    "blood-cell": ["GM", "SM"],
    "breast-ultrasound": ["US"],
    "chest-ct": ["CT"],
    "dermoscopy": ["DMS", "XC", "GM"],
    "fundus": ["OP"],
}
WITH_SIDES = ("breast-ultrasound", "fundus")


def upgrade() -> None:
    # Defaults, since SQLite would else have to write the tables anew; no new row keeps one.
    op.add_column(
        "reading_tasks",
        sa.Column("dicom_modalities", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
    )
    op.add_column(
        "reading_tasks",
        sa.Column("has_sides", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.execute(
        "ALTER TABLE cases ADD COLUMN laterality VARCHAR(32) DEFAULT 'unknown' NOT NULL"
        " CONSTRAINT ck_cases_laterality CHECK (laterality IN ('left', 'right', 'unknown'))"
    )
    if op.get_bind().dialect.name != "sqlite":
        for table, column in (
            ("reading_tasks", "dicom_modalities"),
            ("reading_tasks", "has_sides"),
            ("cases", "laterality"),
        ):
            op.alter_column(table, column, server_default=None)
    fill()
    op.add_column("images", sa.Column("sop_instance_uid", sa.String(length=64), nullable=True))
    op.add_column("images", sa.Column("study_instance_uid", sa.String(length=64), nullable=True))
    op.create_index(
        op.f("ix_images_sop_instance_uid"), "images", ["sop_instance_uid"], unique=False
    )


def fill() -> None:
    """Tell of the reading tasks that are there what a new one is told by its code."""
    tasks = sa.table(
        "reading_tasks",
        sa.column("code", sa.String),
        sa.column("dicom_modalities", sa.JSON),
        sa.column("has_sides", sa.Boolean),
    )
    for code, modalities in MODALITIES.items():
        op.execute(
            sa.update(tasks)
            .where(tasks.c.code == code)
            .values(dicom_modalities=modalities, has_sides=code in WITH_SIDES)
        )


def downgrade() -> None:
    op.drop_index(op.f("ix_images_sop_instance_uid"), "images")
    op.drop_column("images", "study_instance_uid")
    op.drop_column("images", "sop_instance_uid")
    op.drop_column("cases", "laterality")
    op.drop_column("reading_tasks", "has_sides")
    op.drop_column("reading_tasks", "dicom_modalities")
