"""Bundles from outside and in the store; patients who are erased."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_STATES = ("scheduled", "in_progress", "completed", "abstained", "failed", "cancelled")
_FAILURES = ("unreadable_image", "missing_image", "missing_bundle", "worker_lost", "unexpected")
_INDEXES = {
    "ix_installations_claimable": (["id", "not_before_at"], "state = 'scheduled'"),
    "ix_installations_leased": (["lease_expires_at"], "state = 'in_progress'"),
}

_OF_CASE = "SELECT 1 FROM cases JOIN patients ON patients.id = cases.patient_id"
_ERASED = "patients.erased_at IS NOT NULL"
KEPT = {
    "reviews": (
        ("comment", "reason"),
        f"{_OF_CASE} WHERE cases.id = {{case_id}} AND {_ERASED}",
    ),
    "outcomes": (
        ("note",),
        f"{_OF_CASE} WHERE cases.id = {{case_id}} AND {_ERASED}",
    ),
    "second_reads": (
        ("comment",),
        f"{_OF_CASE} JOIN reviews ON reviews.case_id = cases.id"
        f" WHERE reviews.id = {{review_id}} AND {_ERASED}",
    ),
    "case_moves": (
        ("reason",),
        f"SELECT 1 FROM patients WHERE patients.id IN ({{from_patient_id}}, {{to_patient_id}})"
        f" AND {_ERASED}",
    ),
}
"""What people signed is kept as it was. One change alone is let through: that a text, of a patient
who is marked as erased, becomes `[erased]`; and nothing else of the row with it. Of each table the
texts, and how the patient is found."""
_SENTENCES = {"case_moves": "case_moves are kept as they were"}


def upgrade() -> None:
    op.create_table(
        "installations",
        sa.Column("archive_sha256", sa.String(length=64), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("expected_sha256", sa.String(length=64), nullable=True),
        sa.Column("requested_by_id", sa.Integer(), nullable=True),
        sa.Column("problems", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("model_version_id", sa.Integer(), nullable=True),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("state", _enum("state", _STATES), nullable=False),
        sa.Column("scheduled_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("not_before_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("claimed_by", sa.String(length=120), nullable=True),
        sa.Column("started_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("completed_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("failure", _enum("failure", _FAILURES), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("engine", sa.String(length=120), nullable=True),
        sa.Column("code_version", sa.String(length=60), nullable=True),
        sa.CheckConstraint(
            "(state = 'in_progress') = (lease_token IS NOT NULL)",
            name=op.f("ck_installations_lease_when_in_progress"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_installations_lease_has_an_end"),
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (failure IS NOT NULL)",
            name=op.f("ck_installations_failure_when_failed"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("ck_installations_completed_at_when_judged"),
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (model_version_id IS NOT NULL OR problems IS NOT NULL)"
            " AND (model_version_id IS NULL OR problems IS NULL)",
            name=op.f("ck_installations_judged_when_completed"),
        ),
        sa.ForeignKeyConstraint(
            ["requested_by_id"], ["users.id"], name=op.f("fk_installations_requested_by_id")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name=op.f("fk_installations_model_version_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installations")),
    )
    for name, (columns, where) in _INDEXES.items():
        op.create_index(
            name,
            "installations",
            columns,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.add_column("model_versions", sa.Column("archive_sha256", sa.String(64), nullable=True))
    op.add_column(
        "patients", sa.Column("erased_at", webapp.db.UTCDateTime(timezone=True), nullable=True)
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Integer(), nullable=False),
        sa.Column("cause", _enum("cause", ("request", "retention")), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("erased_by_id", sa.Integer(), nullable=True),
        sa.Column("erased_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("removed", sa.JSON(), nullable=False),
        sa.Column("remains", sa.JSON(), nullable=False),
        sa.Column("blobs_left", sa.JSON(), nullable=False),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_erasures_reason_given")),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_erasures_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["erased_by_id"], ["users.id"], name=op.f("fk_erasures_erased_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sa.UniqueConstraint("patient_id", name=op.f("uq_erasures_patient_id")),
    )
    if _is_postgresql():
        op.execute(_UNLESS_ERASED)
    for table in KEPT:
        _drop_trigger(table)
        _let_texts_be_erased(table)


def downgrade() -> None:
    for table in KEPT:
        _drop_trigger(table)
        _refuse_all_changes(table)
    if _is_postgresql():
        op.execute("DROP FUNCTION refuse_change_unless_erased()")
    op.drop_table("erasures")
    op.drop_column("patients", "erased_at")
    op.drop_column("model_versions", "archive_sha256")
    op.drop_table("installations")


_UNLESS_ERASED = """
CREATE FUNCTION refuse_change_unless_erased() RETURNS trigger AS $$
DECLARE
    old_row jsonb := to_jsonb(OLD);
    new_row jsonb;
    name text;
    is_erased boolean;
BEGIN
    -- The arguments: what is said, how the patient is found, and the texts.
    IF TG_OP = 'UPDATE' THEN
        new_row := to_jsonb(NEW);
        FOR i IN 2 .. TG_NARGS - 1 LOOP
            name := TG_ARGV[i];
            IF new_row->>name = '[erased]' OR new_row->name = old_row->name THEN
                new_row := new_row - name;
                old_row := old_row - name;
            END IF;
        END LOOP;
        EXECUTE 'SELECT EXISTS (' || TG_ARGV[1] || ')' INTO is_erased USING to_jsonb(OLD);
        IF new_row = old_row AND is_erased THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '%', TG_ARGV[0];
END $$ LANGUAGE plpgsql
"""


def _let_texts_be_erased(table: str) -> None:
    texts, patient = KEPT[table]
    columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)]
    if _is_postgresql():
        found = patient.format_map({name: f"($1->>''{name}'')::int" for name in columns})
        arguments = ", ".join(f"'{text}'" for text in (_sentence(table), found, *texts))
        op.execute(
            f"CREATE TRIGGER {table}_are_kept BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
            f" EXECUTE FUNCTION refuse_change_unless_erased({arguments})"
        )
        return
    same = [f"NEW.{name} IS OLD.{name}" for name in columns if name not in texts]
    erased = [f"(NEW.{name} IS OLD.{name} OR NEW.{name} = '[erased]')" for name in texts]
    found = patient.format_map({name: f"OLD.{name}" for name in columns})
    allowed = " AND ".join([*same, *erased, f"EXISTS ({found})"])
    op.execute(
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} WHEN NOT ({allowed})"
        f" BEGIN SELECT RAISE(ABORT, '{_sentence(table)}'); END"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}"
        f" BEGIN SELECT RAISE(ABORT, '{_sentence(table)}'); END"
    )


def _refuse_all_changes(table: str) -> None:
    if _is_postgresql():
        op.execute(
            f"CREATE TRIGGER {table}_are_kept BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
            f" EXECUTE FUNCTION refuse_change('{_sentence(table)}')"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{_sentence(table)}'); END"
        )


def _drop_trigger(table: str) -> None:
    if _is_postgresql():
        op.execute(f"DROP TRIGGER {table}_are_kept ON {table}")
        return
    for change in ("update", "delete"):
        op.execute(f"DROP TRIGGER {table}_no_{change}")


def _sentence(table: str) -> str:
    return _SENTENCES.get(table, f"{table} are kept as they were signed")


def _enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
