"""Which data sets and snapshots there are, and what is locked away for tests."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from webapp.cases.models import Consent, Patient
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import reading_tasks
from webapp.config import current_settings
from webapp.datasets.house import pseudonym
from webapp.datasets.models import Dataset, Side, Snapshot, SnapshotCase
from webapp.db import db
from webapp.errors import NotFound

TABLE = "manifest.csv"
LEFT_OUT = "left_out"
"""What is neither learnt from nor tested on: it may show whom the test shows."""


@dataclass(frozen=True)
class LockedTest:
    """The pictures that models of a reading task are compared on, by the SHA-256 of their bytes,
    and all else that is held back with them. Empty where the reading task has none."""

    parts: Mapping[str, str]
    """`test`, `tune` or `dropped` by picture."""
    subjects: frozenset[str]
    """Whom the test shows, by the names of its publisher."""

    @cached_property
    def hashes(self) -> frozenset[str]:
        """What models are compared on."""
        return frozenset(sha256 for sha256, part in self.parts.items() if part == Side.TEST)

    def side(self, image_sha256: str, subject: str = "") -> str | None:
        """Where a picture of a data set must be: a `Side`, or `LEFT_OUT`; None where it is free."""
        part = self.parts.get(image_sha256)
        if part in (Side.TEST, Side.TUNE):
            return part
        return LEFT_OUT if part or (subject and subject in self.subjects) else None


def locked_test(reading_task: ReadingTask) -> LockedTest:
    """What is locked away for a reading task; `python -m ml.locked_test` makes the table."""
    return locked_test_of(reading_task.code)


def locked_test_of(code: str) -> LockedTest:
    """The same, by the code of the reading task."""
    path = _table_of(code)
    if not path.is_file():
        return LockedTest({}, frozenset())
    with path.open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    return LockedTest(
        {row["sha256"]: row["part"] for row in rows},
        frozenset(row["subject"] for row in rows if row["part"] == Side.TEST and row["subject"]),
    )


def _table_of(code: str) -> Path:
    return current_settings().locked_tests_dir / f"{code}.csv"


def datasets() -> Sequence[Dataset]:
    """All that were ever sent, the latest first."""
    return db.session.scalars(
        select(Dataset)
        .order_by(Dataset.id.desc())
        .options(joinedload(Dataset.reading_task), joinedload(Dataset.requested_by))
    ).all()


def registered(reading_task_id: int) -> Sequence[Dataset]:
    """Those of a reading task that can be learnt from, the latest first."""
    return db.session.scalars(
        select(Dataset)
        .where(Dataset.reading_task_id == reading_task_id, Dataset.content_sha256.is_not(None))
        .order_by(Dataset.id.desc())
    ).all()


def only_here() -> Sequence[Dataset]:
    """Those that were registered and are not in the store: one machine has their files."""
    return db.session.scalars(
        select(Dataset)
        .where(Dataset.content_sha256.is_not(None), Dataset.pictures_sha256.is_(None))
        .order_by(Dataset.id)
    ).all()


@dataclass(frozen=True)
class Coverage:
    """How much of the locked test of a reading task is registered."""

    reading_task: ReadingTask
    test_count: int
    registered_count: int
    """Of the data set that has the most of it."""

    @property
    def is_complete(self) -> bool:
        return 0 < self.test_count <= self.registered_count


def coverage() -> Sequence[Coverage]:
    """For each reading task by name, what models can be compared on here."""
    return [coverage_of(task) for task in reading_tasks()]


def coverage_of(task: ReadingTask) -> Coverage:
    """What models of a reading task can be compared on here."""
    tests = [(dataset.sides or {}).get(Side.TEST, 0) for dataset in registered(task.id)]
    return Coverage(task, len(locked_test(task).hashes), max(tests, default=0))


def folders() -> Sequence[str]:
    """The data sets in the folder that pages may register from, by their places in it."""
    root = current_settings().datasets_root
    if root is None:
        return []
    tables = [*root.glob(f"*/{TABLE}"), *root.glob(f"*/*/{TABLE}")]
    return sorted(table.parent.relative_to(root).as_posix() for table in tables)


def get_dataset(dataset_id: int) -> Dataset:
    """
    Raises:
        NotFound: there is none.
    """
    dataset = db.session.get(
        Dataset,
        dataset_id,
        options=[joinedload(Dataset.reading_task), joinedload(Dataset.requested_by)],
    )
    if dataset is None:
        raise NotFound("dataset", dataset_id=dataset_id)
    return dataset


def snapshots() -> Sequence[Snapshot]:
    """All of them, the latest first."""
    return db.session.scalars(
        select(Snapshot)
        .order_by(Snapshot.id.desc())
        .options(
            joinedload(Snapshot.reading_task),
            joinedload(Snapshot.dataset),
            joinedload(Snapshot.created_by),
        )
    ).all()


def get_snapshot(snapshot_id: int) -> Snapshot:
    """
    Raises:
        NotFound: there is none.
    """
    snapshot = db.session.get(
        Snapshot,
        snapshot_id,
        options=[
            joinedload(Snapshot.reading_task),
            joinedload(Snapshot.dataset),
            joinedload(Snapshot.created_by),
        ],
    )
    if snapshot is None:
        raise NotFound("snapshot", snapshot_id=snapshot_id)
    return snapshot


def snapshots_of_patient(patient: Patient) -> Sequence[Snapshot]:
    """Those that hold cases of a patient which a training may have learnt from, in order. The cases
    may be filed for somebody else by now: what counts is whose they were."""
    return db.session.scalars(
        select(Snapshot)
        .where(
            Snapshot.id.in_(
                select(SnapshotCase.snapshot_id).where(
                    SnapshotCase.patient_id == patient.id, ~SnapshotCase.is_test
                )
            )
        )
        .order_by(Snapshot.id)
    ).all()


def withdrawn_pseudonyms(snapshot: Snapshot) -> frozenset[str]:
    """The patients of a snapshot, as its manifest calls them, who do not consent any more."""
    left = db.session.scalars(
        select(SnapshotCase.patient_id)
        .join(SnapshotCase.patient)
        .where(SnapshotCase.snapshot_id == snapshot.id, Patient.consent != Consent.GIVEN)
        .distinct()
    )
    return frozenset(pseudonym(patient_id) for patient_id in left)


def lessons(snapshot: Snapshot) -> str:
    """Names what may be learnt from a snapshot now: another text once somebody has withdrawn
    consent, or given it again, or another table says what is locked away."""
    table = _table_of(snapshot.reading_task.code)
    said = (
        snapshot.manifest_sha256,
        *sorted(withdrawn_pseudonyms(snapshot)),
        hashlib.sha256(table.read_bytes() if table.is_file() else b"").hexdigest(),
    )
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
