"""Cases that show how Firstlook works, made from the published pictures that bundles bring along.

They are marked wherever a case is shown, and are removed by voiding them: what was read is kept.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from webapp import imaging, storage
from webapp.accounts.models import Site, User
from webapp.assessments.models import Assessment
from webapp.assessments.queries import is_waiting
from webapp.cases.models import Case, Sex
from webapp.catalogue.models import Priority
from webapp.db import db
from webapp.errors import Conflict
from webapp.registry.models import ModelVersion, Sample
from webapp.registry.queries import champions, samples_of
from webapp.reviews.services import void_demonstration
from webapp.triage.services import Submission, Upload, submit

A_READING_TASK = 2
"""Cases that are added of each reading task, if it has so many pictures."""


def add(*, actor: User, site: Site) -> Sequence[Case]:
    """Send demonstration cases of every reading task that a model serves.

    Raises:
        NotFound: the site is not one of the actor's.
        Conflict: `demonstration_there`: some wait at the site; `no_samples`: no model that serves
            has brought pictures along.
    """
    if waiting(site.id):
        raise Conflict("demonstration_there")
    chosen = [sample for version in champions() for sample in _choice(version)]
    if not chosen:
        raise Conflict("no_samples")
    return [submit(actor=actor, submission=_submission(site, sample)) for sample in chosen]


def remove(*, actor: User, site: Site) -> int:
    """Void the demonstration cases of a site, signed or not; says how many.

    Raises:
        NotFound: the site is not one of the actor's, or the actor may not decide on cases.
    """
    cases = db.session.scalars(
        select(Case).where(Case.site_id == site.id, Case.is_demonstration).order_by(Case.id)
    ).all()
    reason = "The demonstration is over."
    return sum(
        void_demonstration(actor=actor, case=case, reason=reason) is not None for case in cases
    )


def waiting(site_id: int) -> Sequence[int]:
    """The numbers of the demonstration cases of a site that nobody has decided on."""
    return db.session.scalars(
        select(Case.id)
        .join(Assessment, Assessment.case_id == Case.id)
        .where(Case.site_id == site_id, Case.is_demonstration, is_waiting())
        .order_by(Case.id)
    ).all()


def _choice(version: ModelVersion) -> Sequence[Sample]:
    """The pictures of the gravest and of the most harmless finding."""
    samples = sorted(samples_of(version), key=_severity)
    return [*samples[:1], *samples[-1:]] if len(samples) >= A_READING_TASK else samples


def _severity(sample: Sample) -> int:
    return sample.finding.severity if sample.finding else 0


def _submission(site: Site, sample: Sample) -> Submission:
    known = _metadata(sample)
    age = known.get("age", "")
    body_site = known.get("localization")
    cleaned = imaging.clean(storage.get(sample.image_sha256))
    return Submission(
        form_token=f"demonstration-{secrets.token_hex(16)}",
        site_id=site.id,
        identifier=f"DEMO {sample.model_version.reading_task.code} {sample.id}",
        birth_year=None,
        sex=Sex(known["sex"]) if known.get("sex") in list(Sex) else Sex.UNKNOWN,
        reading_task_id=sample.model_version.reading_task_id,
        priority=Priority.ROUTINE,
        age_at_acquisition_years=int(age) if age.isdecimal() else None,
        body_site=body_site if body_site != "unknown" else None,
        note=f"A demonstration, no patient. {sample.source}",
        uploads=(Upload(cleaned, sample.name),),
        confirm_duplicates=True,
        is_demonstration=True,
    )


def _metadata(sample: Sample) -> Mapping[str, Any]:
    """What the bundle knows of whom a picture shows."""
    for said in sample.model_version.manifest.get("self_test", []):
        if said["file"].rpartition("/")[2] == sample.name:
            return said.get("metadata", {})
    return {}
