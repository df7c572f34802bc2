"""What a training needs, in a few lines: a recipe, and a snapshot. Call inside an application
context, with a model that serves `test-task`."""

import copy
from typing import Any

from webapp import storage
from webapp.accounts.models import User
from webapp.assessments.models import State
from webapp.cases.models import Case
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import reading_task_by_code
from webapp.datasets.gathering import Gathered
from webapp.datasets.models import Dataset, Snapshot, SnapshotCase
from webapp.datasets.queries import registered
from webapp.db import db, now
from webapp.registry.models import ModelVersion
from webapp.training import services
from webapp.training.models import Device, RecipeEntry, TrainingRun
from webapp.training.queries import get_recipe

TABLE: dict[str, Any] = {
    "reading_task": "test-task",
    "version": "1.0.0",
    "name": "",
    "serves": True,
    "seed": 3,
    "data": {"split": "locked", "sampling": "natural"},
    "preprocess": {"size_px": 32, "mean": [127.0, 127.5, 127.0], "interpolation": "bicubic"},
    "network": {"name": "plain-cnn", "init": "random", "frozen_norms": False},
    "training": {"epochs": 4, "learning_rate": 0.001, "monitor": "tune_loss"},
}
CHOICES = {
    "sampling": ["natural", "weighted"],
    "split": ["locked", "published"],
    "interpolation": ["bilinear", "bicubic"],
    "name": ["plain-cnn", "efficientnet-lite0"],
    "monitor": ["tune_loss", "tune_auc"],
}


def _key(name: str, value: Any) -> dict[str, Any]:
    kind = "floats" if isinstance(value, list) else type(value).__name__
    return {
        "name": name,
        "type": kind,
        "default": value,
        "choices": CHOICES.get(name),
        "about": f"What {name} does.",
    }


def _table(name: str, values: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    return {
        "name": name,
        "about": f"About {name or 'all'}.",
        "keys": [_key(key, value) for key, value in plain.items()],
    }


SCHEMA = [
    _table("", TABLE),
    *(_table(name, values) for name, values in TABLE.items() if isinstance(values, dict)),
]


def recipe(name: str = "small", **changes: Any) -> RecipeEntry:
    """The only recipe there is."""
    table = copy.deepcopy(TABLE) | changes
    written = services.Recipe(name, "Small, for tests.", table, SCHEMA)
    services.write_recipes(recipes=[written])
    return get_recipe(name)


def snapshot(task: str = "test-task", note: str = "", tested: int = 1) -> Snapshot:
    """A snapshot of nothing, beside a registered data set with so many pictures of the test."""
    reading_task = reading_task_by_code(task)
    assert reading_task
    if tested and not registered(reading_task.id):
        db.session.add(_tested(reading_task, tested))
    made = Snapshot(
        reading_task=reading_task,
        manifest_sha256=storage.put(b"sha256\n"),
        includes_agreement=False,
        counts=Gathered((), {}).counts(),
        note=note,
        created_at=now(),
    )
    db.session.add(made)
    db.session.commit()
    return made


def _tested(reading_task: ReadingTask, count: int) -> Dataset:
    return Dataset(
        reading_task=reading_task,
        name="A test",
        source="",
        licence="CC0 1.0",
        content_sha256="0" * 64,
        pictures_sha256="0" * 64,
        image_count=count,
        subject_count=0,
        counts={},
        sides={"test": count},
        duplicates={"near": 0, "disagree": 0},
        state=State.COMPLETED,
        scheduled_at=now(),
        completed_at=now(),
        attempt_count=1,
    )


def holding(case: Case) -> Snapshot:
    """A snapshot of this case alone."""
    made = snapshot(case.reading_task.code)
    held = SnapshotCase(snapshot_id=made.id, case_id=case.id, is_test=False)
    held.patient_id = case.patient_id
    db.session.add(held)
    db.session.commit()
    return made


def trained(version: ModelVersion, learnt: Snapshot, init: str = "random") -> TrainingRun:
    """A run on this snapshot, from these weights, of which a version has come."""
    made = TrainingRun(
        reading_task_id=learnt.reading_task_id,
        snapshot=learnt,
        recipe_name="test",
        recipe={},
        overrides={},
        init=init,
        device=Device.AUTO,
        requested_at=now(),
        curves=[],
        log_tail="",
        bundle_sha256=version.bundle_sha256,
        model_version=version,
        state=State.COMPLETED,
        scheduled_at=now(),
        completed_at=now(),
        attempt_count=1,
    )
    db.session.add(made)
    db.session.commit()
    return made


def run(actor: User | None = None, **asked: Any) -> TrainingRun:
    """A run that waits."""
    return services.request_run(
        actor=actor,
        snapshot=asked.pop("snapshot", None) or snapshot(),
        recipe=asked.pop("recipe", None) or recipe(),
        **asked,
    )


def claim(*, has_gpu: bool = False, lease_seconds: int = 60) -> services.Claim:
    """The run that has waited longest, held by a trainer."""
    taken = services.claim(worker="trainer:1", has_gpu=has_gpu, lease_seconds=lease_seconds)
    assert taken
    return taken


def seen(epochs: int = 0, stage: str = "training") -> services.Seen:
    """A run after so many whole epochs of four."""
    said: dict[str, Any] = {"stage": stage}
    if stage == "training":
        said |= {"epoch": epochs + 1, "epochs": 4, "batch": 1, "batches": 2, "seconds_left": 90.0}
    rows = [
        {
            "epoch": float(number),
            "train_loss": 2.0 / (number + 1),
            "tune_loss": 2.1 / (number + 1),
            "tune_accuracy": 0.5,
            "tune_balanced_accuracy": 0.5,
            "tune_auc": None if number == 0 else 0.7,
            "tune_macro_f1": 0.4,
            "learning_rate": 0.001,
            "seconds": 12.0,
        }
        for number in range(epochs)
    ]
    return services.Seen(said, rows, f"the log after {epochs} epochs")
