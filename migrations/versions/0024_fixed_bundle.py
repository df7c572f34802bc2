"""The hash of a bundle is fixed: answers say by it what they were made with."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TRIGGER = "model_versions_bundle_is_fixed"
SENTENCE = "the bundle of a model version is never changed"


def upgrade() -> None:
    begin = f"CREATE TRIGGER {TRIGGER} BEFORE UPDATE ON model_versions FOR EACH ROW"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"{begin} WHEN (NEW.bundle_sha256 IS DISTINCT FROM OLD.bundle_sha256)"
            f" EXECUTE FUNCTION refuse_change('{SENTENCE}')"
        )
        return
    op.execute(
        f"{begin} WHEN NEW.bundle_sha256 IS NOT OLD.bundle_sha256"
        f" BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END"
    )


def downgrade() -> None:
    on_table = " ON model_versions" if op.get_bind().dialect.name == "postgresql" else ""
    op.execute(f"DROP TRIGGER {TRIGGER}{on_table}")
