"""What there is of a patient, and what was erased."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.orm import joinedload

from webapp.assessments.models import AssessedImage, Assessment
from webapp.audit import AuditEvent
from webapp.cases.models import Case, Image, Patient
from webapp.datasets.models import SnapshotCase
from webapp.datasets.queries import snapshots_of_patient
from webapp.db import db
from webapp.erasures.models import Erasure
from webapp.errors import NotFound
from webapp.explanations.models import Explanation
from webapp.reviews.models import Outcome, Review
from webapp.training.models import TrainingRun

SHOWN = 50


def latest() -> Sequence[Erasure]:
    """The latest erasures, the last one first."""
    return db.session.scalars(
        select(Erasure)
        .options(joinedload(Erasure.erased_by), joinedload(Erasure.patient))
        .order_by(Erasure.id.desc())
        .limit(SHOWN)
    ).all()


def get_erasure(erasure_id: int) -> Erasure:
    """
    Raises:
        NotFound: there is none.
    """
    erasure = db.session.get(Erasure, erasure_id)
    if erasure is None:
        raise NotFound("erasure", erasure_id=erasure_id)
    return erasure


def training_runs(patient: Patient) -> Sequence[TrainingRun]:
    """What was, is or is to be trained with a snapshot that holds cases of a patient."""
    of_them = select(SnapshotCase.snapshot_id).where(SnapshotCase.patient_id == patient.id)
    return db.session.scalars(
        select(TrainingRun).where(TrainingRun.snapshot_id.in_(of_them)).order_by(TrainingRun.id)
    ).all()


def pictures(case_ids: Collection[int]) -> Mapping[str, list[str]]:
    """What the store has of some cases, by kind."""
    images = db.session.execute(
        select(Image.sha256, Image.thumbnail_sha256).where(Image.case_id.in_(case_ids))
    ).all()
    heat_maps = db.session.scalars(
        select(Explanation.heat_map_sha256)
        .join(Explanation.assessed_image)
        .join(AssessedImage.assessment)
        .where(Assessment.case_id.in_(case_ids), Explanation.heat_map_sha256.is_not(None))
    )
    return {
        "images": [image.sha256 for image in images],
        "thumbnails": [image.thumbnail_sha256 for image in images],
        "heat_maps": [sha256 for sha256 in heat_maps if sha256],
    }


def remains(patient: Patient, case_ids: Collection[int]) -> dict[str, int]:
    """How much of an erased patient stays, for statistics and for the record."""
    events = or_(
        (AuditEvent.subject_type == "Patient") & (AuditEvent.subject_id == patient.id),
        (AuditEvent.subject_type == "Case") & AuditEvent.subject_id.in_(case_ids),
    )
    counted = {
        "cases": select(func.count(Case.id)).where(Case.id.in_(case_ids)),
        "assessments": select(func.count(Assessment.id)).where(Assessment.case_id.in_(case_ids)),
        "decisions": select(func.count(Review.id)).where(Review.case_id.in_(case_ids)),
        "outcomes": select(func.count(Outcome.id)).where(Outcome.case_id.in_(case_ids)),
        "events": select(func.count(AuditEvent.id)).where(events),
    }
    counts = {name: db.session.scalar(count) or 0 for name, count in counted.items()}
    return counts | {"snapshots": len(snapshots_of_patient(patient))}
