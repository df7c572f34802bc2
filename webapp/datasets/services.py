"""Ask for a data set to be registered, claim it, end it; freeze what the house has to teach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from webapp import audit, storage
from webapp.accounts.models import User
from webapp.assessments import leases
from webapp.assessments.models import State
from webapp.assessments.queries import is_due
from webapp.cases.services import plain_text
from webapp.catalogue.models import ReadingTask
from webapp.datasets.gathering import gather
from webapp.datasets.models import Dataset, Problem, Side, Snapshot, SnapshotCase
from webapp.db import db, now, on_commit, transaction
from webapp.errors import Invalid
from webapp.jobs import ADMINISTER

NAME_LENGTH_MAX = 120
TEXT_LENGTH_MAX = 4000

KIND = leases.Kind(
    rows=Dataset,
    job=ADMINISTER,
    word="dataset",
    detail=lambda dataset: {"reading_task": dataset.reading_task.code, "name": dataset.name},
)


@dataclass(frozen=True)
class Upload:
    """A table and its pictures, whose bytes are in the store."""

    table_sha256: str
    archive_sha256: str


@dataclass(frozen=True)
class Claim:
    """One data set that a worker holds."""

    dataset_id: int
    lease_token: str
    reading_task: ReadingTask
    files: Path | Upload


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found in a data set that can be learnt from."""

    content_sha256: str
    pictures_sha256: str
    image_count: int
    subject_count: int
    counts: Mapping[str, int]
    sides: Mapping[str, int]
    duplicates: Mapping[str, int]


@dataclass(frozen=True)
class Found:
    """What stands against a data set, or against some of its pictures."""

    problem: Problem
    count: int = 0
    examples: Sequence[str] = ()

    def as_plain(self) -> dict[str, Any]:
        return {
            "kind": self.problem.value,
            "count": self.count,
            "examples": [name[:200] for name in self.examples],
        }


def register(
    *,
    actor: User | None,
    reading_task: ReadingTask,
    name: str,
    licence: str,
    source: str = "",
    files: Path | Upload,
) -> Dataset:
    """Have a worker check a data set and copy it here.

    Raises:
        Invalid: `name_needed`, `licence_needed`, or `too_long`.
    """
    name, licence, source = plain_text(name), plain_text(licence), plain_text(source)
    if not name:
        raise Invalid("name_needed")
    if not licence:
        raise Invalid("licence_needed")
    if len(name) > NAME_LENGTH_MAX or max(len(licence), len(source)) > TEXT_LENGTH_MAX:
        raise Invalid("too_long")
    is_upload = isinstance(files, Upload)
    with transaction():
        if isinstance(files, Upload):
            storage.hold((files.table_sha256, files.archive_sha256))
        dataset = Dataset(
            reading_task=reading_task,
            name=name,
            licence=licence,
            source=source,
            requested_by=actor,
            folder=None if is_upload else str(files),
            table_sha256=files.table_sha256 if isinstance(files, Upload) else None,
            archive_sha256=files.archive_sha256 if isinstance(files, Upload) else None,
            problems=[],
        )
        KIND.put_in_queue(dataset)
        KIND.record("requested", dataset, actor=actor)
    return dataset


def claim(*, worker: str, lease_seconds: int) -> Claim | None:
    """Take what has waited longest; None if nothing waits."""
    with transaction():
        dataset = db.session.scalars(
            select(Dataset)
            .where(is_due(Dataset))
            .order_by(Dataset.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if dataset is None:
            return None
        token = leases.take(Dataset, [dataset.id], worker=worker, lease_seconds=lease_seconds)
        return Claim(dataset.id, token, dataset.reading_task, _files(dataset))


def complete(*, claim: Claim, checked: Checked | None, found: Sequence[Found]) -> bool:
    """End the work with what was found; without anything `checked` the data set is refused, as is
    one that is registered already. False, and nothing written, if the claim was lost."""
    with transaction():
        dataset = KIND.held(claim.dataset_id, claim.lease_token)
        if dataset is None:
            return False
        if checked is not None:
            same = _registered_as(dataset.reading_task_id, checked.content_sha256)
            if same is not None:
                found = [Found(Problem.REGISTERED_BEFORE, examples=[same.name]), *found]
                checked = None
        if checked is not None:
            storage.hold((checked.content_sha256, checked.pictures_sha256))
            dataset.content_sha256 = checked.content_sha256
            dataset.pictures_sha256 = checked.pictures_sha256
            dataset.image_count = checked.image_count
            dataset.subject_count = checked.subject_count
            dataset.counts = dict(checked.counts)
            dataset.sides = dict(checked.sides)
            dataset.duplicates = dict(checked.duplicates)
        dataset.problems = [one.as_plain() for one in found]
        dataset.state = State.COMPLETED
        dataset.completed_at = now()
        leases.let_go(dataset)
        _forget_upload(dataset)
        if checked is None:
            KIND.record("refused", dataset, problems=[one.problem.value for one in found])
        else:
            KIND.record("registered", dataset, content_sha256=checked.content_sha256)
    return True


def note_pictures(*, dataset: Dataset, pictures_sha256: str) -> None:
    """Note where in the store the pictures of a data set are, for workers of other machines."""
    with transaction():
        storage.hold([pictures_sha256])
        dataset.pictures_sha256 = pictures_sha256


def freeze(
    *,
    actor: User | None,
    reading_task: ReadingTask,
    dataset: Dataset | None,
    includes_agreement: bool = False,
    note: str = "",
) -> Snapshot:
    """Keep, unchangeably, what the house's clinicians have decided of a reading task so far, and
    which data set stands beside it.

    Raises:
        Invalid: `no_base`: the data set is not registered, or of another reading task;
            `nothing`: neither a data set nor any case that could be learnt from; `too_long`.
    """
    note = plain_text(note)
    if len(note) > TEXT_LENGTH_MAX:
        raise Invalid("too_long", limit=TEXT_LENGTH_MAX)
    if dataset is not None and not (
        dataset.is_registered and dataset.reading_task_id == reading_task.id
    ):
        raise Invalid("no_base")
    gathered = gather(reading_task, includes_agreement=includes_agreement)
    if dataset is None and all(lesson.side is Side.TEST for lesson in gathered.lessons):
        raise Invalid("nothing")
    manifest_sha256 = storage.put(gathered.manifest())
    with transaction():
        storage.hold([manifest_sha256])
        snapshot = Snapshot(
            reading_task=reading_task,
            dataset=dataset,
            manifest_sha256=manifest_sha256,
            includes_agreement=includes_agreement,
            counts=gathered.counts(),
            note=note,
            created_by=actor,
            created_at=now(),
        )
        db.session.add(snapshot)
        db.session.flush()
        db.session.add_all(
            SnapshotCase(
                snapshot_id=snapshot.id,
                case_id=lesson.case.id,
                patient_id=lesson.case.patient_id,
                is_test=lesson.side is Side.TEST,
            )
            for lesson in gathered.lessons
        )
        audit.record(
            actor=actor,
            action="snapshot.frozen",
            subject=snapshot,
            reading_task=reading_task.code,
            dataset_id=dataset.id if dataset else None,
            manifest_sha256=manifest_sha256,
            case_count=len(gathered.lessons),
        )
    return snapshot


def _files(dataset: Dataset) -> Path | Upload:
    if dataset.table_sha256 and dataset.archive_sha256:
        return Upload(dataset.table_sha256, dataset.archive_sha256)
    return Path(dataset.folder or "")


def _registered_as(reading_task_id: int, content_sha256: str) -> Dataset | None:
    return db.session.scalars(
        select(Dataset).where(
            Dataset.reading_task_id == reading_task_id, Dataset.content_sha256 == content_sha256
        )
    ).one_or_none()


def _forget_upload(dataset: Dataset) -> None:
    """What was uploaded is checked: the copy is what counts from now on, and may be the same."""
    uploaded = {dataset.table_sha256, dataset.archive_sha256} - {None}
    dataset.table_sha256 = dataset.archive_sha256 = None
    db.session.flush()
    for column in (
        Dataset.table_sha256,  # the same was sent twice
        Dataset.archive_sha256,
        Dataset.content_sha256,
        Dataset.pictures_sha256,
    ):
        uploaded -= set(db.session.scalars(select(column).where(column.in_(uploaded))))
    for sha256 in uploaded:
        on_commit(partial(storage.remove, sha256 or ""))
