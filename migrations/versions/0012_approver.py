"""The role that lets models serve."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _allow_roles("clinician", "reviewer", "administrator", "approver")


def downgrade() -> None:
    op.execute("DELETE FROM user_roles WHERE role = 'approver'")
    _allow_roles("clinician", "reviewer", "administrator")


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
