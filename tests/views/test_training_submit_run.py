"""`POST /training/new`: a training is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import trainings
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.datasets.models import Dataset
from webapp.db import db
from webapp.training.models import Device, TrainingRun

PATH = "/training/new?recipe=small"


@pytest.fixture
def filled(app: Flask, clinician: User) -> dict[str, Any]:
    """The form as its page shows it."""
    with app.app_context():
        trainings.recipe()
        return {
            "snapshot_id": trainings.snapshot().id,
            "init": "random",
            "device": "cpu",
            "seed": "3",
            "data-sampling": "natural",
            "preprocess-size_px": "32",
            "preprocess-mean": "127 127.5 127",
            "preprocess-interpolation": "bicubic",
            "network-name": "plain-cnn",
            "training-epochs": "4",
            "training-learning_rate": "0.001",
            "training-monitor": "tune_loss",
        }


def runs(app: Flask) -> list[TrainingRun]:
    with app.app_context():
        return db.session.query(TrainingRun).all()


def test_what_differs_from_the_recipe_is_kept_with_the_run(
    app: Flask, filled: dict[str, Any], office: Browser, record: Callable[..., list[Any]]
) -> None:
    changed = {
        "training-epochs": "2",
        "training-learning_rate": "1e-2",
        "network-frozen_norms": "y",
    }
    answer = office.post(PATH, filled | changed)
    (run,) = runs(app)
    assert (answer.status_code, answer.location) == (303, f"/training/{run.id}")
    assert run.overrides == {
        "network.frozen_norms": True,
        "training.epochs": 2,
        "training.learning_rate": 0.01,
    }
    assert (run.device, run.init, run.recipe["preprocess"]["mean"]) == (
        Device.CPU,
        "random",
        [127.0, 127.5, 127.0],
    )
    assert run.requested_by_id
    assert record("training.requested")[0]["subject"] == ("TrainingRun", run.id)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"training-epochs": "many"}, "Enter a whole number."),
        ({"training-epochs": ""}, "This is needed."),
        ({"training-learning_rate": "fast"}, "Enter a number, such as"),
        ({"training-learning_rate": "nan"}, "not of the kind"),
        ({"preprocess-mean": "1 two"}, "Enter numbers"),
        ({"training-monitor": "luck"}, "Not a valid choice."),
        ({"snapshot_id": "99"}, "Not a valid choice."),
        ({"init": "bundle:" + "0" * 64}, "Not a valid choice."),
        ({"device": "abacus"}, "Invalid Choice"),
    ],
)
def test_what_cannot_be_used_is_said_beside_its_field(
    app: Flask, filled: dict[str, Any], office: Browser, wrong: dict[str, str], sentence: str
) -> None:
    answer = office.post(PATH, filled | wrong)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert f'href="#{next(iter(wrong))}"' in answer.text
    assert not runs(app)


def test_without_a_picture_of_the_locked_test_it_says_what_to_register(
    app: Flask, filled: dict[str, Any], office: Browser
) -> None:
    with app.app_context():
        db.session.query(Dataset).delete()
        db.session.commit()
    page = office.get(PATH).text
    assert "0 of 0 pictures are registered. Without any, it cannot be trained." in page
    answer = office.post(PATH, filled)
    assert answer.status_code == 422
    assert "No picture of the locked test of this reading task is registered here" in answer.text
    assert 'href="#snapshot_id"' in answer.text
    assert not runs(app)


def test_an_unknown_recipe_leads_nowhere(office: Browser) -> None:
    assert office.post("/training/new?recipe=unknown").status_code == 404
    assert office.post("/training/new").location == "/training/new"


def test_who_may_not_is_refused(turned_away: Callable[[str], None], app: Flask) -> None:
    turned_away(PATH)
    assert not runs(app)
