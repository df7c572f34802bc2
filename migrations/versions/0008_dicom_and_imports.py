"""What DICOM files tell: sides, the names of pictures, and which modalities a reading task reads;
and cases that come many at once."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MODALITIES = {
    "blood-cell": ["GM", "SM"],
    "breast-ultrasound": ["US"],
    "chest-ct": ["CT"],
    "dermoscopy": ["DMS", "XC", "GM"],
    "fundus": ["OP"],
}
WITH_SIDES = ("breast-ultrasound",)
IMPORT_STATES = ("checking", "checked", "filing", "finished", "cancelled")
ROW_STATES = ("waiting", "ready", "refused", "filed")


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
    create_imports()


def create_imports() -> None:
    is_open = sa.text("state IN ('checking', 'filing')")
    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=False),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("state", _enum("import_state", IMPORT_STATES), nullable=False),
        sa.Column("archive_sha256", sa.String(length=64), nullable=True),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("unmatched", sa.JSON(), nullable=False),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("ended_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'checking') = (archive_sha256 IS NOT NULL)",
            name=op.f("ck_imports_archive_while_checking"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_imports_lease_has_an_end"),
        ),
        sa.CheckConstraint(
            "(state IN ('finished', 'cancelled')) = (ended_at IS NOT NULL)",
            name=op.f("ck_imports_ended_at"),
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_imports_site_id")),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name=op.f("fk_imports_created_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index(op.f("ix_imports_site_id"), "imports", ["site_id"])
    op.create_index(
        "ix_imports_open", "imports", ["id"], sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_table(
        "import_rows",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("state", _enum("row_state", ROW_STATES), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.Column("particulars", sa.JSON(), nullable=True),
        sa.Column("images", sa.JSON(), nullable=True),
        sa.Column("case_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "(state = 'filed') = (case_id IS NOT NULL)",
            name=op.f("ck_import_rows_case_when_filed"),
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["imports.id"],
            name=op.f("fk_import_rows_import_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_import_rows_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_rows")),
        sa.UniqueConstraint("import_id", "number", name=op.f("uq_import_rows_import_id_number")),
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
    op.drop_table("import_rows")
    op.drop_table("imports")
    op.drop_index(op.f("ix_images_sop_instance_uid"), "images")
    op.drop_column("images", "study_instance_uid")
    op.drop_column("images", "sop_instance_uid")
    op.drop_column("cases", "laterality")
    op.drop_column("reading_tasks", "has_sides")
    op.drop_column("reading_tasks", "dicom_modalities")


def _enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
