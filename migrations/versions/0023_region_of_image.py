"""An image names its lesion or eye, and no longer its case: two of them may be sent in one."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Columns are written out, as in 0007.
    op.execute(
        "ALTER TABLE images ADD COLUMN region_id INTEGER"
        " CONSTRAINT fk_images_region_id REFERENCES regions (id)"
    )
    op.execute(
        "UPDATE images SET region_id ="
        " (SELECT cases.region_id FROM cases WHERE cases.id = images.case_id)"
        " WHERE case_id IN (SELECT cases.id FROM cases WHERE cases.region_id IS NOT NULL)"
    )
    op.create_index("ix_images_region_id", "images", ["region_id"])
    op.drop_index("ix_cases_region_id", "cases")
    op.execute("ALTER TABLE cases DROP COLUMN region_id")


def downgrade() -> None:
    """Of a case that shows several, the first is kept."""
    op.execute(
        "ALTER TABLE cases ADD COLUMN region_id INTEGER"
        " CONSTRAINT fk_cases_region_id REFERENCES regions (id)"
    )
    op.execute(
        "UPDATE cases SET region_id = (SELECT images.region_id FROM images"
        " WHERE images.case_id = cases.id AND images.region_id IS NOT NULL"
        " ORDER BY images.position LIMIT 1)"
        " WHERE id IN (SELECT images.case_id FROM images WHERE images.region_id IS NOT NULL)"
    )
    op.create_index("ix_cases_region_id", "cases", ["region_id"])
    op.drop_index("ix_images_region_id", "images")
    op.execute("ALTER TABLE images DROP COLUMN region_id")
