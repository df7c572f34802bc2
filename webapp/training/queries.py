"""Which recipes there are, and which runs."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from webapp.assessments.models import State
from webapp.cases.models import Patient
from webapp.catalogue.models import ReadingTask
from webapp.datasets.models import Snapshot
from webapp.datasets.queries import snapshots_of_patient
from webapp.db import db
from webapp.errors import NotFound
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion, versions_of
from webapp.training.models import RecipeEntry, TrainingRun

LISTED = 100


def recipes() -> Sequence[RecipeEntry]:
    """All that the trainer knows, by reading task and name."""
    return db.session.scalars(
        select(RecipeEntry).order_by(RecipeEntry.reading_task, RecipeEntry.name)
    ).all()


def get_recipe(name: str) -> RecipeEntry:
    """
    Raises:
        NotFound: there is none.
    """
    entry = db.session.scalars(select(RecipeEntry).where(RecipeEntry.name == name)).one_or_none()
    if entry is None:
        raise NotFound("recipe", name=name)
    return entry


def snapshots_of(reading_task: str) -> Sequence[Snapshot]:
    """What can be trained on for a reading task, by its code, the latest first."""
    return db.session.scalars(
        select(Snapshot)
        .join(Snapshot.reading_task)
        .where(ReadingTask.code == reading_task)
        .order_by(Snapshot.id.desc())
        .options(joinedload(Snapshot.reading_task), joinedload(Snapshot.dataset))
    ).all()


def starts(recipe: RecipeEntry, reading_task_id: int) -> list[ModelVersion]:
    """The installed versions whose weights a recipe's network can start from: those of the same
    network, the one that serves first."""
    serving = champion(reading_task_id)
    fitting = [
        version
        for version in versions_of(reading_task_id)
        if network_of(version) == recipe.table["network"]["name"]
    ]
    return sorted(fitting, key=lambda version: version != serving)


def network_of(version: ModelVersion) -> str:
    """What network a version is; empty where its bundle does not say."""
    return str(version.manifest.get("network", {}).get("name", ""))


def latest_runs() -> Sequence[TrainingRun]:
    """The runs of late, the latest first."""
    return db.session.scalars(
        select(TrainingRun)
        .order_by(TrainingRun.id.desc())
        .limit(LISTED)
        .options(
            joinedload(TrainingRun.reading_task),
            joinedload(TrainingRun.requested_by),
            joinedload(TrainingRun.model_version),
        )
    ).all()


def get_run(run_id: int) -> TrainingRun:
    """
    Raises:
        NotFound: there is none.
    """
    run = db.session.get(
        TrainingRun,
        run_id,
        options=[
            joinedload(TrainingRun.reading_task),
            joinedload(TrainingRun.snapshot),
            joinedload(TrainingRun.requested_by),
            joinedload(TrainingRun.model_version),
        ],
    )
    if run is None:
        raise NotFound("training_run", run_id=run_id)
    return run


def models_of_patient(patient: Patient) -> list[ModelVersion]:
    """The models that may have learnt from a patient's cases, in the order in which they were made:
    from a snapshot that holds some, or from the weights of such a model."""
    snapshot_ids = {snapshot.id for snapshot in snapshots_of_patient(patient)}
    if not snapshot_ids:
        return []
    found: dict[str, ModelVersion] = {}
    for run in db.session.scalars(
        select(TrainingRun)
        .where(TrainingRun.model_version_id.is_not(None))
        .order_by(TrainingRun.completed_at, TrainingRun.id)
        .options(joinedload(TrainingRun.model_version))
    ):
        began_with = run.init.rpartition(":")[2]
        learnt = run.snapshot_id in snapshot_ids or began_with in found
        if learnt and run.model_version is not None:
            found[run.model_version.bundle_sha256] = run.model_version
    return list(found.values())


def run_of(version: ModelVersion) -> TrainingRun | None:
    """The run that a version came of; None where it was not trained here."""
    return db.session.scalars(
        select(TrainingRun).where(TrainingRun.model_version_id == version.id).limit(1)
    ).one_or_none()


def ended_run_ids(run_ids: Sequence[int]) -> set[int]:
    """Those of some runs that nobody can take up again."""
    over = (State.COMPLETED, State.CANCELLED)
    return set(
        db.session.scalars(
            select(TrainingRun.id).where(TrainingRun.id.in_(run_ids), TrainingRun.state.in_(over))
        )
    )
