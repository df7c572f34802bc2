"""The first version of the database."""

import sqlalchemy as sa
from alembic import op

import webapp.db

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# What the database itself refuses, whoever asks: changes to the record, and to what was fed.
SQLITE_TRIGGERS = [
    """
    CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END
    """,
    """
    CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END
    """,
    """
    CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
    WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END
    """,
    """
    CREATE TRIGGER assessments_input_is_fixed BEFORE UPDATE ON assessments FOR EACH ROW
        WHEN NEW.case_id IS NOT OLD.case_id
            OR NEW.model_version_id IS NOT OLD.model_version_id
            OR NEW.purpose IS NOT OLD.purpose
            OR NEW.metadata_fed IS NOT OLD.metadata_fed
            OR NEW.input_sha256 IS NOT OLD.input_sha256
    BEGIN SELECT RAISE(ABORT, 'what an assessment was fed is never changed'); END
    """,
    """
    CREATE TRIGGER assessments_answer_is_set_once BEFORE UPDATE ON assessments FOR EACH ROW
        WHEN (OLD.metadata_encoded IS NOT NULL AND NEW.metadata_encoded IS NOT OLD.metadata_encoded)
            OR (OLD.engine IS NOT NULL AND NEW.engine IS NOT OLD.engine)
            OR (OLD.code_version IS NOT NULL AND NEW.code_version IS NOT OLD.code_version)
            OR (OLD.finding_id IS NOT NULL AND NEW.finding_id IS NOT OLD.finding_id)
            OR (OLD.probability IS NOT NULL AND NEW.probability IS NOT OLD.probability)
            OR (OLD.completed_at IS NOT NULL AND NEW.completed_at IS NOT OLD.completed_at)
    BEGIN SELECT RAISE(ABORT, 'the answer of an assessment is never changed'); END
    """,
    """
    CREATE TRIGGER assessments_stay_read BEFORE UPDATE ON assessments FOR EACH ROW
        WHEN OLD.state IN ('completed', 'abstained') AND NEW.state <> OLD.state
    BEGIN SELECT RAISE(ABORT, 'the answer of an assessment is never changed'); END
    """,
    """
    CREATE TRIGGER assessments_are_kept BEFORE DELETE ON assessments FOR EACH ROW
    BEGIN SELECT RAISE(ABORT, 'assessments and their answers are kept'); END
    """,
    """
    CREATE TRIGGER assessed_images_input_is_fixed BEFORE UPDATE ON assessed_images FOR EACH ROW
        WHEN NEW.assessment_id IS NOT OLD.assessment_id
            OR NEW.image_id IS NOT OLD.image_id
            OR NEW.image_sha256 IS NOT OLD.image_sha256
            OR NEW.position IS NOT OLD.position
    BEGIN SELECT RAISE(ABORT, 'what an assessment was fed is never changed'); END
    """,
    """
    CREATE TRIGGER assessed_images_answer_is_set_once BEFORE UPDATE ON assessed_images FOR EACH ROW
        WHEN (OLD.finding_id IS NOT NULL AND NEW.finding_id IS NOT OLD.finding_id)
            OR (OLD.abstained IS NOT NULL AND NEW.abstained IS NOT OLD.abstained)
            OR (OLD.abstention_reason IS NOT NULL AND NEW.abstention_reason IS NOT OLD.abstention_reason)
    BEGIN SELECT RAISE(ABORT, 'the answer of an assessment is never changed'); END
    """,
    """
    CREATE TRIGGER assessed_images_are_kept BEFORE DELETE ON assessed_images FOR EACH ROW
    BEGIN SELECT RAISE(ABORT, 'assessments and their answers are kept'); END
    """,
    """
    CREATE TRIGGER predictions_are_fixed BEFORE UPDATE ON predictions FOR EACH ROW
    BEGIN SELECT RAISE(ABORT, 'predictions are never changed'); END
    """,
    """
    CREATE TRIGGER predictions_are_kept BEFORE DELETE ON predictions FOR EACH ROW
    BEGIN SELECT RAISE(ABORT, 'assessments and their answers are kept'); END
    """,
    """
    CREATE TRIGGER images_are_fixed BEFORE UPDATE ON images FOR EACH ROW
        WHEN NEW.case_id IS NOT OLD.case_id
            OR NEW.sha256 IS NOT OLD.sha256
            OR NEW.original_sha256 IS NOT OLD.original_sha256
    BEGIN SELECT RAISE(ABORT, 'a filed image is never changed'); END
    """,
]

POSTGRESQL_TRIGGERS = [
    """
    CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the audit record is append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_events_no_change BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()
    """,
    """
    CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()
    """,
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER assessments_input_is_fixed BEFORE UPDATE ON assessments FOR EACH ROW
        WHEN (NEW.case_id IS DISTINCT FROM OLD.case_id
            OR NEW.model_version_id IS DISTINCT FROM OLD.model_version_id
            OR NEW.purpose IS DISTINCT FROM OLD.purpose
            OR NEW.metadata_fed::text IS DISTINCT FROM OLD.metadata_fed::text
            OR NEW.input_sha256 IS DISTINCT FROM OLD.input_sha256)
    EXECUTE FUNCTION refuse_change('what an assessment was fed is never changed')
    """,
    """
    CREATE TRIGGER assessments_answer_is_set_once BEFORE UPDATE ON assessments FOR EACH ROW
        WHEN ((OLD.metadata_encoded IS NOT NULL AND NEW.metadata_encoded::text IS DISTINCT FROM OLD.metadata_encoded::text)
            OR (OLD.engine IS NOT NULL AND NEW.engine IS DISTINCT FROM OLD.engine)
            OR (OLD.code_version IS NOT NULL AND NEW.code_version IS DISTINCT FROM OLD.code_version)
            OR (OLD.finding_id IS NOT NULL AND NEW.finding_id IS DISTINCT FROM OLD.finding_id)
            OR (OLD.probability IS NOT NULL AND NEW.probability IS DISTINCT FROM OLD.probability)
            OR (OLD.completed_at IS NOT NULL AND NEW.completed_at IS DISTINCT FROM OLD.completed_at))
    EXECUTE FUNCTION refuse_change('the answer of an assessment is never changed')
    """,
    """
    CREATE TRIGGER assessments_stay_read BEFORE UPDATE ON assessments FOR EACH ROW
        WHEN (OLD.state IN ('completed', 'abstained') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION refuse_change('the answer of an assessment is never changed')
    """,
    """
    CREATE TRIGGER assessments_are_kept BEFORE DELETE ON assessments FOR EACH ROW
    EXECUTE FUNCTION refuse_change('assessments and their answers are kept')
    """,
    """
    CREATE TRIGGER assessed_images_input_is_fixed BEFORE UPDATE ON assessed_images FOR EACH ROW
        WHEN (NEW.assessment_id IS DISTINCT FROM OLD.assessment_id
            OR NEW.image_id IS DISTINCT FROM OLD.image_id
            OR NEW.image_sha256 IS DISTINCT FROM OLD.image_sha256
            OR NEW.position IS DISTINCT FROM OLD.position)
    EXECUTE FUNCTION refuse_change('what an assessment was fed is never changed')
    """,
    """
    CREATE TRIGGER assessed_images_answer_is_set_once BEFORE UPDATE ON assessed_images FOR EACH ROW
        WHEN ((OLD.finding_id IS NOT NULL AND NEW.finding_id IS DISTINCT FROM OLD.finding_id)
            OR (OLD.abstained IS NOT NULL AND NEW.abstained IS DISTINCT FROM OLD.abstained)
            OR (OLD.abstention_reason IS NOT NULL AND NEW.abstention_reason IS DISTINCT FROM OLD.abstention_reason))
    EXECUTE FUNCTION refuse_change('the answer of an assessment is never changed')
    """,
    """
    CREATE TRIGGER assessed_images_are_kept BEFORE DELETE ON assessed_images FOR EACH ROW
    EXECUTE FUNCTION refuse_change('assessments and their answers are kept')
    """,
    """
    CREATE TRIGGER predictions_are_fixed BEFORE UPDATE ON predictions FOR EACH ROW
    EXECUTE FUNCTION refuse_change('predictions are never changed')
    """,
    """
    CREATE TRIGGER predictions_are_kept BEFORE DELETE ON predictions FOR EACH ROW
    EXECUTE FUNCTION refuse_change('assessments and their answers are kept')
    """,
    """
    CREATE TRIGGER images_are_fixed BEFORE UPDATE ON images FOR EACH ROW
        WHEN (NEW.case_id IS DISTINCT FROM OLD.case_id
            OR NEW.sha256 IS DISTINCT FROM OLD.sha256
            OR NEW.original_sha256 IS DISTINCT FROM OLD.original_sha256)
    EXECUTE FUNCTION refuse_change('a filed image is never changed')
    """,
]


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Integer(), nullable=True),
        sa.Column("actor_name", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject_type", sa.String(length=40), nullable=True),
        sa.Column("subject_id", sa.Integer(), nullable=True),
        sa.Column("site_id", sa.Integer(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=True),
        sa.Column("remote_address", sa.String(length=64), nullable=True),
        sa.Column("previous_mac", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index("ix_audit_events_action_id", ["action", "id"], unique=False)
        batch_op.create_index(
            "ix_audit_events_actor_id_action_id", ["actor_id", "action", "id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_audit_events_at"), ["at"], unique=False)

    op.create_table(
        "reading_tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reading_tasks")),
        sa.UniqueConstraint("code", name=op.f("uq_reading_tasks_code")),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("failed_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_failures")),
    )
    with op.batch_alter_table("sign_in_failures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sign_in_failures_subject"), ["subject"], unique=False)

    op.create_table(
        "sites",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
        sa.UniqueConstraint("name", name=op.f("uq_sites_name")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=80), nullable=False),
        sa.Column("full_name", sa.String(length=120), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("password_is_one_time", sa.Boolean(), nullable=False),
        sa.Column("password_issued_by_id", sa.Integer(), nullable=True),
        sa.Column("password_changed_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "password_is_one_time OR password_issued_by_id IS NULL",
            name=op.f("ck_users_own_password_not_issued"),
        ),
        sa.CheckConstraint("username = lower(username)", name=op.f("ck_users_username_lower")),
        sa.ForeignKeyConstraint(
            ["password_issued_by_id"], ["users.id"], name=op.f("fk_users_password_issued_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("username", name=op.f("uq_users_username")),
    )
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("malignancy", sa.String(length=20), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column(
            "urgency",
            sa.Enum(
                "routine",
                "urgent",
                "asap",
                "stat",
                name="priority",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("recommendation", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_findings_reading_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
        sa.UniqueConstraint(
            "reading_task_id", "code", name=op.f("uq_findings_reading_task_id_code")
        ),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("intended_use", sa.Text(), nullable=False),
        sa.Column("model_card", sa.Text(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("installed_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "length(bundle_sha256) = 64", name=op.f("ck_model_versions_bundle_sha256_length")
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"],
            ["reading_tasks.id"],
            name=op.f("fk_model_versions_reading_task_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("bundle_sha256", name=op.f("uq_model_versions_bundle_sha256")),
        sa.UniqueConstraint(
            "reading_task_id", "version", name=op.f("uq_model_versions_reading_task_id_version")
        ),
    )
    op.create_table(
        "patients",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column(
            "identifier",
            sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column(
            "sex",
            sa.Enum(
                "female",
                "male",
                "other",
                "unknown",
                name="sex",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "birth_year BETWEEN 1850 AND 2200", name=op.f("ck_patients_birth_year_plausible")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_patients_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint("id", "site_id", name=op.f("uq_patients_id_site_id")),
        sa.UniqueConstraint("site_id", "identifier", name=op.f("uq_patients_site_id_identifier")),
    )
    op.create_table(
        "user_roles",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "clinician",
                "administrator",
                name="role",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_roles_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "role", name=op.f("pk_user_roles")),
    )
    op.create_table(
        "user_sessions",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("created_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("last_active_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_sessions_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_user_sessions")),
    )
    with op.batch_alter_table("user_sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_user_sessions_user_id"), ["user_id"], unique=False)

    op.create_table(
        "user_sites",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_user_sites_site_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_sites_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "site_id", name=op.f("pk_user_sites")),
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=False),
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column(
            "priority",
            sa.Enum(
                "routine",
                "urgent",
                "asap",
                "stat",
                name="priority",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("age_at_acquisition_years", sa.Integer(), nullable=True),
        sa.Column("age_is_derived", sa.Boolean(), nullable=False),
        sa.Column("body_site", sa.String(length=60), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("form_token", sa.String(length=64), nullable=False),
        sa.Column("submitted_by_id", sa.Integer(), nullable=False),
        sa.Column("submitted_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "age_at_acquisition_years BETWEEN 0 AND 130",
            name=op.f("ck_cases_age_at_acquisition_plausible"),
        ),
        sa.ForeignKeyConstraint(
            ["patient_id", "site_id"],
            ["patients.id", "patients.site_id"],
            name=op.f("fk_cases_patient_id_site_id"),
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_cases_reading_task_id")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_cases_site_id")),
        sa.ForeignKeyConstraint(
            ["submitted_by_id"], ["users.id"], name=op.f("fk_cases_submitted_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("form_token", name=op.f("uq_cases_form_token")),
    )
    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_cases_patient_id_submitted_at"),
            ["patient_id", "submitted_at"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_cases_submitted_at"), ["submitted_at"], unique=False)
        batch_op.create_index(
            "ix_cases_worklist", ["site_id", "id", "reading_task_id"], unique=False
        )

    op.create_table(
        "model_aliases",
        sa.Column("reading_task_id", sa.Integer(), nullable=False),
        sa.Column(
            "alias",
            sa.Enum("champion", name="alias", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("since", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name=op.f("fk_model_aliases_model_version_id"),
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.id"], name=op.f("fk_model_aliases_reading_task_id")
        ),
        sa.PrimaryKeyConstraint("reading_task_id", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_table(
        "assessments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum("triage", name="purpose", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("priority_rank", sa.Integer(), nullable=False),
        sa.Column("metadata_fed", sa.JSON(), nullable=False),
        sa.Column("metadata_encoded", sa.JSON(), nullable=True),
        sa.Column("input_sha256", sa.String(length=64), nullable=False),
        sa.Column("superseded_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "scheduled",
                "in_progress",
                "completed",
                "abstained",
                "failed",
                "cancelled",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("scheduled_at", webapp.db.UTCDateTime(timezone=True), nullable=False),
        sa.Column("not_before_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("claimed_by", sa.String(length=120), nullable=True),
        sa.Column("started_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column("completed_at", webapp.db.UTCDateTime(timezone=True), nullable=True),
        sa.Column(
            "failure",
            sa.Enum(
                "unreadable_image",
                "missing_image",
                "missing_bundle",
                "worker_lost",
                "unexpected",
                name="failure",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("finding_id", sa.Integer(), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("engine", sa.String(length=120), nullable=True),
        sa.Column("code_version", sa.String(length=60), nullable=True),
        sa.Column("inference_ms", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "(state = 'failed') = (failure IS NOT NULL)",
            name=op.f("ck_assessments_failure_when_failed"),
        ),
        sa.CheckConstraint(
            "(state = 'in_progress') = (lease_token IS NOT NULL)",
            name=op.f("ck_assessments_lease_when_in_progress"),
        ),
        sa.CheckConstraint(
            "(state IN ('completed', 'abstained')) = (completed_at IS NOT NULL)",
            name=op.f("ck_assessments_completed_at_when_read"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('completed', 'abstained') OR (finding_id IS NOT NULL AND probability IS NOT NULL AND engine IS NOT NULL AND code_version IS NOT NULL AND metadata_encoded IS NOT NULL)",
            name=op.f("ck_assessments_answer_when_read"),
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_assessments_lease_has_an_end"),
        ),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_assessments_case_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_assessments_finding_id")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name=op.f("fk_assessments_model_version_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assessments")),
        sa.UniqueConstraint(
            "case_id",
            "model_version_id",
            "input_sha256",
            "purpose",
            name=op.f("uq_assessments_case_id_model_version_id_input_sha256_purpose"),
        ),
    )
    with op.batch_alter_table("assessments", schema=None) as batch_op:
        batch_op.create_index(
            "ix_assessments_by_priority",
            ["priority_rank", "case_id", "state"],
            unique=False,
            sqlite_where=sa.text("superseded_at IS NULL AND purpose = 'triage'"),
            postgresql_where=sa.text("superseded_at IS NULL AND purpose = 'triage'"),
        )
        batch_op.create_index(
            "ix_assessments_by_state",
            ["state", "case_id", "priority_rank"],
            unique=False,
            sqlite_where=sa.text("superseded_at IS NULL AND purpose = 'triage'"),
            postgresql_where=sa.text("superseded_at IS NULL AND purpose = 'triage'"),
        )
        batch_op.create_index(
            "ix_assessments_claimable",
            ["priority_rank", "id", "model_version_id", "not_before_at"],
            unique=False,
            sqlite_where=sa.text("state = 'scheduled'"),
            postgresql_where=sa.text("state = 'scheduled'"),
        )
        batch_op.create_index(
            "ix_assessments_leased",
            ["lease_expires_at"],
            unique=False,
            sqlite_where=sa.text("state = 'in_progress'"),
            postgresql_where=sa.text("state = 'in_progress'"),
        )
        batch_op.create_index(
            "uq_assessments_current",
            ["case_id"],
            unique=True,
            sqlite_where=sa.text("superseded_at IS NULL AND purpose = 'triage'"),
            postgresql_where=sa.text("superseded_at IS NULL AND purpose = 'triage'"),
        )

    op.create_table(
        "images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("thumbnail_sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=40), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("original_sha256", sa.String(length=64), nullable=False),
        sa.Column("original_file_name", sa.String(length=255), nullable=False),
        sa.Column("notices", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "length(original_sha256) = 64", name=op.f("ck_images_original_sha256_length")
        ),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_images_sha256_length")),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_images_case_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint("case_id", "position", name=op.f("uq_images_case_id_position")),
    )
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_images_original_sha256"), ["original_sha256"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_images_sha256"), ["sha256"], unique=False)

    op.create_table(
        "assessed_images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assessment_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=True),
        sa.Column("abstained", sa.Boolean(), nullable=True),
        sa.Column("abstention_reason", sa.String(length=60), nullable=True),
        sa.ForeignKeyConstraint(
            ["assessment_id"],
            ["assessments.id"],
            name=op.f("fk_assessed_images_assessment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_assessed_images_finding_id")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_assessed_images_image_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assessed_images")),
        sa.UniqueConstraint(
            "assessment_id", "position", name=op.f("uq_assessed_images_assessment_id_position")
        ),
    )
    with op.batch_alter_table("assessed_images", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_assessed_images_assessment_id"), ["assessment_id"], unique=False
        )

    op.create_table(
        "predictions",
        sa.Column("assessed_image_id", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "probability BETWEEN 0 AND 1", name=op.f("ck_predictions_probability_range")
        ),
        sa.ForeignKeyConstraint(
            ["assessed_image_id"],
            ["assessed_images.id"],
            name=op.f("fk_predictions_assessed_image_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["findings.id"], name=op.f("fk_predictions_finding_id")
        ),
        sa.PrimaryKeyConstraint("assessed_image_id", "finding_id", name=op.f("pk_predictions")),
    )

    statements = {"sqlite": SQLITE_TRIGGERS, "postgresql": POSTGRESQL_TRIGGERS}
    for statement in statements[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise RuntimeError("nothing lies before the first version")
