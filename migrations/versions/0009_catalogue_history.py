"""What findings mean and how long cases may wait, in versions, for everyone and for a site; samples
of what bundles read; cases that only demonstrate."""

import datetime as dt

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PRIORITIES = ("routine", "urgent", "asap", "stat")
MALIGNANCIES = ("none", "benign", "malignant")
KEPT = ("finding_terms", "allowances")
"""The database lets nobody change what was said, or remove what administrators said."""

UNIQUE_TERMS = sa.text("site_id IS NULL")
UNIQUE_FOR_ALL = sa.text("reading_task_id IS NULL")
UNIQUE_GENERAL = sa.text("reading_task_id IS NOT NULL AND site_id IS NULL")


def upgrade() -> None:
    _create_finding_terms()
    _create_allowances()
    _add_reference("predictions", "terms_id", "finding_terms")
    _add_reference("assessments", "raised_by_id", "finding_terms")
    _name_the_terms_of_answers()
    _create_samples()
    op.add_column(
        "cases",
        sa.Column("is_demonstration", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    for table in KEPT:
        _refuse_changes(table)


def downgrade() -> None:
    former = op.get_bind().execute(
        sa.text(
            "SELECT routine_minutes, urgent_minutes, asap_minutes, stat_minutes FROM allowances"
            " WHERE reading_task_id IS NULL ORDER BY version DESC LIMIT 1"
        )
    ).one()
    op.drop_column("cases", "is_demonstration")
    op.drop_table("samples")
    op.drop_column("assessments", "raised_by_id")
    op.drop_column("predictions", "terms_id")
    op.drop_table("allowances")
    op.drop_table("finding_terms")
    allowances = op.create_table(
        "allowances",
        sa.Column("priority", _enum("priority", PRIORITIES), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.CheckConstraint("minutes >= 0", name=op.f("ck_allowances_minutes_not_negative")),
        sa.PrimaryKeyConstraint("priority", name=op.f("pk_allowances")),
    )
    op.bulk_insert(
        allowances,
        [
            {"priority": name, "minutes": minutes}
            for name, minutes in zip(PRIORITIES, former, strict=True)
        ],
    )


def _create_finding_terms() -> None:
    """The first version is what each finding means today."""
    op.create_table(
        "finding_terms",
        *_version_columns(),
        sa.Column("finding_id", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=True),
        sa.Column("malignancy", _enum("malignancy", MALIGNANCIES), nullable=False),
        sa.Column("urgency", _enum("priority", PRIORITIES), nullable=False),
        sa.Column("recommendation", sa.Text(), nullable=False),
        sa.Column("mark", sa.Double(), nullable=True),
        *_version_constraints("finding_terms", "site_id IS NOT NULL OR is_own"),
        sa.CheckConstraint("mark > 0 AND mark <= 1", name=op.f("ck_finding_terms_mark_range")),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_finding_terms_finding_id")
        ),
        sa.UniqueConstraint(
            "finding_id",
            "site_id",
            "version",
            name=op.f("uq_finding_terms_finding_id_site_id_version"),
        ),
    )
    _unique_where("uq_finding_terms_general", ["finding_id", "version"], UNIQUE_TERMS)
    op.get_bind().execute(
        sa.text(
            "INSERT INTO finding_terms (finding_id, version, is_own, reason, changed_at,"
            " description, malignancy, urgency, recommendation)"
            " SELECT findings.id, 1, :yes, '', reading_tasks.created_at, findings.description,"
            " findings.malignancy, findings.urgency, findings.recommendation"
            " FROM findings JOIN reading_tasks ON reading_tasks.id = findings.reading_task_id"
            " ORDER BY findings.id"
        ),
        {"yes": True},
    )


def _create_allowances() -> None:
    """In the place of the former table, a row a priority, whose minutes are the first version."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT priority, minutes FROM allowances"))
    former = {row.priority: row.minutes for row in rows}
    op.drop_table("allowances")
    allowances = op.create_table(
        "allowances",
        *_version_columns(),
        sa.Column("reading_task_id", sa.Integer(), nullable=True),
        *(sa.Column(f"{name}_minutes", sa.Integer(), nullable=False) for name in PRIORITIES),
        *_version_constraints("allowances", "reading_task_id IS NOT NULL OR is_own"),
        sa.CheckConstraint(
            "site_id IS NULL OR reading_task_id IS NOT NULL",
            name=op.f("ck_allowances_site_of_a_task"),
        ),
        sa.CheckConstraint(
            "0 <= stat_minutes AND stat_minutes <= asap_minutes AND asap_minutes <= urgent_minutes"
            " AND urgent_minutes <= routine_minutes",
            name=op.f("ck_allowances_more_urgent_waits_no_longer"),
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_allowances_reading_task_id")
        ),
        sa.UniqueConstraint(
            "reading_task_id",
            "site_id",
            "version",
            name=op.f("uq_allowances_reading_task_id_site_id_version"),
        ),
    )
    _unique_where("uq_allowances_for_all", ["version"], UNIQUE_FOR_ALL)
    _unique_where("uq_allowances_general", ["reading_task_id", "version"], UNIQUE_GENERAL)
    first = {
        "version": 1,
        "is_own": True,
        "reason": "",
        "changed_at": dt.datetime.now(dt.UTC),
        **{f"{name}_minutes": former[name] for name in PRIORITIES},
    }
    op.bulk_insert(allowances, [first])


def _name_the_terms_of_answers() -> None:
    """Nobody could change the terms so far: every answer was given with the first version."""
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    on_table = "" if is_sqlite else " ON predictions"
    op.execute(f"DROP TRIGGER predictions_are_fixed{on_table}")
    op.execute(
        "UPDATE predictions SET terms_id = (SELECT finding_terms.id FROM finding_terms"
        " WHERE finding_terms.finding_id = predictions.finding_id)"
    )
    refuse = (
        "BEGIN SELECT RAISE(ABORT, 'predictions are never changed'); END"
        if is_sqlite
        else "EXECUTE FUNCTION refuse_change('predictions are never changed')"
    )
    op.execute(
        f"CREATE TRIGGER predictions_are_fixed BEFORE UPDATE ON predictions FOR EACH ROW {refuse}"
    )


def _create_samples() -> None:
    op.create_table(
        "samples",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=40), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint("source <> ''", name=op.f("ck_samples_source_known")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_samples_model_version_id")
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_samples_finding_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
        sa.UniqueConstraint(
            "model_version_id", "name", name=op.f("uq_samples_model_version_id_name")
        ),
    )
    op.create_index(op.f("ix_samples_finding_id"), "samples", ["finding_id"])


def _version_columns() -> tuple[sa.Column, ...]:
    return (
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_own", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by_id", sa.Integer(), nullable=True),
        sa.Column("changed_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
    )


def _version_constraints(table: str, general_is_own: str) -> tuple[sa.Constraint, ...]:
    return (
        sa.CheckConstraint("version >= 1", name=op.f(f"ck_{table}_version_from_one")),
        sa.CheckConstraint(general_is_own, name=op.f(f"ck_{table}_general_is_own")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f(f"fk_{table}_site_id")),
        sa.ForeignKeyConstraint(
            ["changed_by_id"], ["users.id"], name=op.f(f"fk_{table}_changed_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )


def _unique_where(name: str, columns: list[str], condition: sa.TextClause) -> None:
    table = "finding_terms" if name.startswith("uq_finding_terms") else "allowances"
    op.create_index(
        name, table, columns, unique=True, sqlite_where=condition, postgresql_where=condition
    )


def _add_reference(table: str, column: str, target: str) -> None:
    """Written out: Alembic would make the table anew on SQLite, and drop what refers to it."""
    op.execute(
        f"ALTER TABLE {table} ADD COLUMN {column} INTEGER"
        f" CONSTRAINT fk_{table}_{column} REFERENCES {target} (id)"
    )


def _refuse_changes(table: str) -> None:
    """What came with Firstlook may be removed, to be restored from a backup: nobody said it."""
    sentence = f"{table} are kept as they were"
    said = "WHEN (OLD.changed_by_id IS NOT NULL)"
    refuse = (
        f"EXECUTE FUNCTION refuse_change('{sentence}')"
        if op.get_bind().dialect.name == "postgresql"
        else f"BEGIN SELECT RAISE(ABORT, '{sentence}'); END"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH ROW {refuse}"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW {said} {refuse}"
    )


def _enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
