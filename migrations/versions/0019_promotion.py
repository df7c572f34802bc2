"""What a model has to show before it serves: plans, comparisons, requests, and the ledger of which
version served when; versions that read unseen."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATES = ("scheduled", "in_progress", "completed", "abstained", "failed", "cancelled")
FAILURES = ("unreadable_image", "missing_image", "missing_bundle", "worker_lost", "unexpected")
KINDS = ("first", "promotion", "rollback")
VERDICTS = ("passed", "failed", "refused")
DECISIONS = ("approved", "declined", "withdrawn", "overtaken")
KEPT = ("change_plans", "promotions")
IS_SHADOW = sa.text("purpose = 'shadow'")
INDEXES = {
    "ix_comparisons_claimable": (["id", "not_before_at"], "state = 'scheduled'", False),
    "ix_comparisons_leased": (["lease_expires_at"], "state = 'in_progress'", False),
    "uq_comparisons_open": (["candidate_id"], "state IN ('scheduled', 'in_progress')", True),
}


def upgrade() -> None:
    _create_change_plans()
    _create_comparisons()
    _create_promotion_requests()
    _create_promotions()
    for table in KEPT:
        _refuse_changes(table)
    _allow("model_aliases", "alias", ("champion",), ("champion", "shadow"))
    _allow("assessments", "purpose", ("triage",), ("triage", "shadow"))
    op.create_index(
        "ix_assessments_shadow",
        "assessments",
        ["model_version_id", "case_id"],
        sqlite_where=IS_SHADOW,
        postgresql_where=IS_SHADOW,
    )


def downgrade() -> None:
    """What was read unseen cannot be removed, since the database keeps what was read: there is no
    way back from there."""
    shadows = op.get_bind().scalar(sa.text("SELECT count(*) FROM assessments WHERE purpose = 'shadow'"))
    if shadows:
        raise RuntimeError(f"{shadows} assessments were made unseen, which 0018 does not know")
    op.execute("DELETE FROM model_aliases WHERE alias = 'shadow'")
    op.drop_index("ix_assessments_shadow", "assessments")
    _allow("assessments", "purpose", ("triage", "shadow"), ("triage",))
    _allow("model_aliases", "alias", ("champion", "shadow"), ("champion",))
    for table in ("promotions", "promotion_requests", "comparisons", "change_plans"):
        op.drop_table(table)


def _create_change_plans() -> None:
    op.create_table(
        "change_plans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by_id", sa.Integer(), nullable=True),
        sa.Column("changed_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_change_plans_version_from_one")),
        sa.CheckConstraint(
            "changed_by_id IS NULL OR reason <> ''", name=op.f("ck_change_plans_reason_given")
        ),
        *_references("change_plans", reading_task_id="reading_tasks", changed_by_id="users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_plans")),
        sa.UniqueConstraint(
            "reading_task_id", "version", name=op.f("uq_change_plans_reading_task_id_version")
        ),
    )


def _create_comparisons() -> None:
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("candidate_id", sa.Integer(), nullable=False),
        sa.Column("champion_id", sa.Integer(), nullable=False),
        sa.Column("plan_id", sa.Integer(), nullable=False),
        sa.Column("requested_by_id", sa.Integer(), nullable=True),
        sa.Column("state", _enum("state", STATES), nullable=False),
        sa.Column("scheduled_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("not_before_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("claimed_by", sa.String(length=120), nullable=True),
        sa.Column("started_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("completed_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("failure", _enum("failure", FAILURES), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("engine", sa.String(length=120), nullable=True),
        sa.Column("code_version", sa.String(length=60), nullable=True),
        sa.Column("verdict", _enum("verdict", VERDICTS), nullable=True),
        sa.Column("refusal", sa.JSON(), nullable=True),
        sa.Column("test_sha256", sa.String(length=64), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("checks", sa.JSON(), nullable=True),
        sa.Column("predictions_sha256", sa.String(length=64), nullable=True),
        *_checks(
            "comparisons",
            lease_when_in_progress="(state = 'in_progress') = (lease_token IS NOT NULL)",
            lease_has_an_end="(lease_token IS NULL) = (lease_expires_at IS NULL)",
            failure_when_failed="(state = 'failed') = (failure IS NOT NULL)",
            completed_at_when_made="(state = 'completed') = (completed_at IS NOT NULL)",
            verdict_when_made="(state = 'completed') = (verdict IS NOT NULL)",
            refusal_when_refused=(
                "verdict IS NULL OR (verdict = 'refused') = (refusal IS NOT NULL)"
            ),
            result_when_judged=(
                "verdict IS NULL OR verdict = 'refused' OR (result IS NOT NULL"
                " AND checks IS NOT NULL AND test_sha256 IS NOT NULL"
                " AND predictions_sha256 IS NOT NULL)"
            ),
            of_two="candidate_id <> champion_id",
        ),
        *_references(
            "comparisons",
            candidate_id="model_versions",
            champion_id="model_versions",
            plan_id="change_plans",
            requested_by_id="users",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
    )
    op.create_index(op.f("ix_comparisons_candidate_id"), "comparisons", ["candidate_id"])
    for name, (columns, where, unique) in INDEXES.items():
        _create_partial_index(name, "comparisons", columns, where, unique=unique)


def _create_promotion_requests() -> None:
    op.create_table(
        "promotion_requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by_id", sa.Integer(), nullable=False),
        sa.Column("requested_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("decision", _enum("decision", DECISIONS), nullable=True),
        sa.Column("decided_by_id", sa.Integer(), nullable=True),
        sa.Column("decided_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        *_checks(
            "promotion_requests",
            decided_at_when_decided="(decision IS NULL) = (decided_at IS NULL)",
            approved_by_another=(
                "decision IS NULL OR decision <> 'approved'"
                " OR (decided_by_id IS NOT NULL AND decided_by_id <> requested_by_id)"
            ),
            reason_given="reason <> ''",
        ),
        *_references(
            "promotion_requests",
            reading_task_id="reading_tasks",
            comparison_id="comparisons",
            requested_by_id="users",
            decided_by_id="users",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion_requests")),
    )
    op.create_index(
        op.f("ix_promotion_requests_comparison_id"), "promotion_requests", ["comparison_id"]
    )
    _create_partial_index(
        "uq_promotion_requests_open",
        "promotion_requests",
        ["reading_task_id"],
        "decision IS NULL",
        unique=True,
    )


def _create_promotions() -> None:
    """The ledger; it begins with what serves now, since when it is known to."""
    op.create_table(
        "promotions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("former_id", sa.Integer(), nullable=True),
        sa.Column("kind", _enum("promotion_kind", KINDS), nullable=False),
        sa.Column("requested_by_id", sa.Integer(), nullable=True),
        sa.Column("approved_by_id", sa.Integer(), nullable=True),
        sa.Column("comparison_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("serves_from", webapp.db.UTCDateTime(timezone=True), nullable=False),
        *_checks(
            "promotions",
            first_has_no_former="(kind = 'first') = (former_id IS NULL)",
            promotion_is_proven="(kind = 'promotion') = (comparison_id IS NOT NULL)",
            promotion_by_two=(
                "kind <> 'promotion' OR (requested_by_id IS NOT NULL AND approved_by_id IS NOT NULL"
                " AND requested_by_id <> approved_by_id)"
            ),
        ),
        *_references(
            "promotions",
            reading_task_id="reading_tasks",
            model_version_id="model_versions",
            former_id="model_versions",
            requested_by_id="users",
            approved_by_id="users",
            comparison_id="comparisons",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_index(op.f("ix_promotions_reading_task_id"), "promotions", ["reading_task_id"])
    op.execute(
        "INSERT INTO promotions (reading_task_id, model_version_id, kind, reason, serves_from)"
        " SELECT reading_task_id, model_version_id, 'first', '', since FROM model_aliases"
        " WHERE alias = 'champion' ORDER BY since"
    )


def _create_partial_index(
    name: str, table: str, columns: list[str], where: str, *, unique: bool
) -> None:
    condition = sa.text(where)
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _allow(table: str, column: str, former: tuple[str, ...], values: tuple[str, ...]) -> None:
    """Change which values a column may have.

    SQLite cannot change a constraint, and a table as large as `assessments`, with its triggers and
    what refers to it, is not made anew for a word: the text of the constraint is replaced, in the
    way that https://www.sqlite.org/lang_altertable.html describes in its section 8.
    """
    name = f"ck_{table}_{column}"
    condition = _is_one_of(column, values)
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint(op.f(name), table, type_="check")
        op.create_check_constraint(op.f(name), table, condition)
        return
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?)"
        " WHERE type = 'table' AND name = ? AND instr(sql, ?) > 0",
        (
            f"CHECK ({_is_one_of(column, former)})",
            f"CHECK ({condition})",
            table,
            f"CHECK ({_is_one_of(column, former)})",
        ),
    )
    if changed.rowcount != 1:
        raise RuntimeError(f"{table} has no constraint {name} as it was made")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")


def _is_one_of(column: str, values: tuple[str, ...]) -> str:
    return "{} IN ({})".format(column, ", ".join(f"'{value}'" for value in values))


def _checks(table: str, **conditions: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
        for name, condition in conditions.items()
    ]


def _references(table: str, **columns: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint([column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}"))
        for column, other in columns.items()
    ]


def _enum(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def _refuse_changes(table: str) -> None:
    sentence = f"{table} are kept as they were"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_are_kept BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
            f" EXECUTE FUNCTION refuse_change('{sentence}')"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{sentence}'); END"
        )
