"""Imports, as far as the one who asks may see them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from webapp.accounts.models import User
from webapp.cases.models import Case, Image, Patient
from webapp.db import db
from webapp.errors import NotFound
from webapp.imports.models import Import
from webapp.permissions import Permission

SHOWN_IMPORTS = 20


def get_import(*, actor: User, import_id: int) -> Import:
    """An import with its rows.

    Raises:
        NotFound: there is none, or it is not at a site of the actor.
    """
    found = db.session.scalars(
        select(Import)
        .where(Import.id == import_id, Import.site_id.in_(_site_ids(actor)))
        .options(joinedload(Import.site), joinedload(Import.created_by), selectinload(Import.rows))
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("import", import_id=import_id)
    return found


def latest_imports(*, actor: User) -> Sequence[Import]:
    """Imports at the actor's sites, the latest first; some of them, where there are many."""
    return db.session.scalars(
        select(Import)
        .where(Import.site_id.in_(_site_ids(actor)))
        .options(joinedload(Import.site), joinedload(Import.created_by))
        .order_by(Import.id.desc())
        .limit(SHOWN_IMPORTS)
    ).all()


def case_with_images(
    *, patient: Patient, reading_task_id: int | None, original_sha256s: Sequence[str]
) -> int | None:
    """The number of the patient's first case of a reading task that has one of these images."""
    return db.session.scalars(
        select(Case.id)
        .join(Case.images)
        .where(
            Case.patient_id == patient.id,
            Case.reading_task_id == reading_task_id,
            Image.original_sha256.in_(original_sha256s),
        )
        .order_by(Case.id)
        .limit(1)
    ).one_or_none()


def _site_ids(actor: User) -> frozenset[int]:
    return actor.site_ids if actor.can(Permission.SUBMIT_CASES) else frozenset()
