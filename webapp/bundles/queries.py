"""What was sent to be installed, and what became of it."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from webapp.bundles.models import Installation
from webapp.db import db
from webapp.errors import NotFound
from webapp.registry.models import ModelVersion

SHOWN = 20


def latest() -> Sequence[Installation]:
    """What was sent last, the latest first."""
    return db.session.scalars(
        select(Installation).options(*_WITH_ALL).order_by(Installation.id.desc()).limit(SHOWN)
    ).all()


def get_installation(installation_id: int) -> Installation:
    """
    Raises:
        NotFound: there is none.
    """
    installation = db.session.scalars(
        select(Installation).options(*_WITH_ALL).where(Installation.id == installation_id)
    ).one_or_none()
    if installation is None:
        raise NotFound("installation", installation_id=installation_id)
    return installation


_WITH_ALL = (
    joinedload(Installation.requested_by),
    joinedload(Installation.model_version).joinedload(ModelVersion.reading_task),
)
