"""What was on record of a patient before a correction can be erased with them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLE, SENTENCE = "former_particulars", "former_particulars are kept as they were"
"""As with what people signed: of a patient who is marked as erased the year of birth may go, and
nothing else of the row."""


def upgrade() -> None:
    _drop_trigger()
    if _is_postgresql():
        op.execute(
            """
            CREATE FUNCTION refuse_change_but_erased_birth_year() RETURNS trigger AS $$
            BEGIN
                IF TG_OP = 'UPDATE' AND NEW.birth_year IS NULL
                    AND to_jsonb(NEW) - 'birth_year' = to_jsonb(OLD) - 'birth_year'
                    AND EXISTS (
                        SELECT 1 FROM patients
                        WHERE patients.id = OLD.patient_id AND patients.erased_at IS NOT NULL
                    )
                THEN
                    RETURN NEW;
                END IF;
                RAISE EXCEPTION USING
                    MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation';
            END $$ LANGUAGE plpgsql
            """
        )
        _make_trigger_postgresql("refuse_change_but_erased_birth_year")
        return
    columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns(TABLE)]
    same = [f"NEW.{name} IS OLD.{name}" for name in columns if name != "birth_year"]
    is_erased = (
        "EXISTS (SELECT 1 FROM patients"
        " WHERE patients.id = OLD.patient_id AND patients.erased_at IS NOT NULL)"
    )
    allowed = " AND ".join([*same, "NEW.birth_year IS NULL", is_erased])
    _make_trigger_sqlite("update", f" WHEN NOT ({allowed})")
    _make_trigger_sqlite("delete")


def downgrade() -> None:
    _drop_trigger()
    if _is_postgresql():
        _make_trigger_postgresql("refuse_change")
        op.execute("DROP FUNCTION refuse_change_but_erased_birth_year()")
        return
    _make_trigger_sqlite("update")
    _make_trigger_sqlite("delete")


def _make_trigger_postgresql(function: str) -> None:
    op.execute(
        f"CREATE TRIGGER {TABLE}_are_kept BEFORE UPDATE OR DELETE ON {TABLE} FOR EACH ROW"
        f" EXECUTE FUNCTION {function}('{SENTENCE}')"
    )


def _make_trigger_sqlite(change: str, condition: str = "") -> None:
    op.execute(
        f"CREATE TRIGGER {TABLE}_no_{change} BEFORE {change.upper()} ON {TABLE}{condition}"
        f" BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END"
    )


def _drop_trigger() -> None:
    if _is_postgresql():
        op.execute(f"DROP TRIGGER {TABLE}_are_kept ON {TABLE}")
        return
    for change in ("update", "delete"):
        op.execute(f"DROP TRIGGER {TABLE}_no_{change}")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
