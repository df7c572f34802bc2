"""From a candidate to a model that serves, and back, through the pages and with real processes."""

import hashlib
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml.bundle import load
from ml.engines import TorchEngine
from ml.predictor import Predictor
from tests.stack import Stack, wait_until
from tests.unit.ml.factories import make_bundle, picture, picture_bytes
from webapp.accounts.queries import user_named
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case
from webapp.catalogue.models import ReadingTask
from webapp.datasets import services as datasets
from webapp.datasets.models import Dataset
from webapp.db import db
from webapp.permissions import Role
from webapp.promotion import services
from webapp.promotion.models import Comparison, Verdict
from webapp.promotion.plans import Plan
from webapp.promotion.queries import count_read_otherwise

COUNT = 60


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that nobody trained, and that say different things: the first one serves."""
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / str(seed), seed=seed) for seed in range(2)]


@pytest.fixture(scope="module")
def data_set(bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and a locked test set of all its pictures. They show what the second bundle says
    of them: it makes no mistake there."""
    folder = tmp_path_factory.mktemp("data")
    right = Predictor(bundle := load(bundles[1]), TorchEngine(bundle, "cpu"))
    labels = [said.prediction for said in right.predict([picture(seed=n) for n in range(COUNT)])]
    files = [picture_bytes(seed=number) for number in range(COUNT)]
    (folder / "set").mkdir()
    with zipfile.ZipFile(folder / "set" / "images.zip", "w") as archive:
        for number, file in enumerate(files):
            archive.writestr(f"{number}.png", file)
    rows = [f"{number}.png,{label}" for number, label in enumerate(labels)]
    (folder / "set" / "manifest.csv").write_text("\n".join(["file,label", *rows]))
    (folder / "locked").mkdir()
    lines = [f"{hashlib.sha256(file).hexdigest()},,test" for file in files]
    locked = "\n".join(["sha256,subject,part", *lines])
    (folder / "locked" / "blood-cell.csv").write_text(locked)
    return folder


@pytest.fixture(scope="module")
def stack(bundles: list[Path], data_set: Path) -> Iterator[Stack]:
    with Stack(
        bundle=bundles[0],
        further_bundles=bundles[1:],
        environment={
            "LOCKED_TESTS_DIR": str(data_set / "locked"),
            "DATASETS_ROOT": str(data_set),
        },
        processes=("broker", "web", "worker", "steward", "sweeper"),
    ) as stack:
        yield stack


def test_a_model_serves_once_it_has_proved_itself_and_is_taken_back_in_one_click(
    stack: Stack, data_set: Path
) -> None:
    clinician = stack.sign_in(Role.CLINICIAN)
    office = stack.sign_in(Role.ADMINISTRATOR, Role.APPROVER)
    approval = stack.sign_in(Role.APPROVER)
    seen = [clinician.submit([picture_bytes(seed=number)]) for number in range(3)]
    assert [said_by(stack, case_id) for case_id in seen] == ["0.0.0"] * 3
    task_page = "/changes/1"

    # The pictures of the locked test set are not there: refused, and told so.
    office.press(task_page, "/models/2/comparisons")
    assert compared(stack, 1) is Verdict.REFUSED
    page = office.get("/comparisons/1").text
    assert f"{COUNT} pictures of the locked test set are not here" in page
    register(stack, data_set / "set")

    # A better candidate passes. Who asks cannot approve, whatever their roles; another person can.
    office.press(task_page, "/models/2/comparisons")
    assert compared(stack, 2) is Verdict.PASSED
    page = office.press("/comparisons/2", "/comparisons/2/request", reason="It makes no mistakes.")
    assert "it takes a second person" in page
    refused = office.forge(task_page, "/promotion-requests/1/approve")
    assert refused.status_code == 409
    approval.press(task_page, "/promotion-requests/1/approve")

    # It answers at once, without a restart, and recent cases that it reads otherwise are told of.
    assert said_by(stack, clinician.submit([picture_bytes(seed=100)])) == "0.0.1"

    def told() -> int:
        with stack.rows():
            return count_read_otherwise(user_named("user1"))

    wait_until(told, "the readings that look back", 60)
    page = clinician.get("/cases/read-otherwise").text
    case_id = int(re.findall(r'name="case" value="(\d+)"', page)[0])
    assert case_id in seen
    clinician.press("/cases/read-otherwise", "/cases/read-otherwise", case=str(case_id))
    assert said_by(stack, case_id) == "0.0.1"

    # The one that served before is worse now: it does not pass, and cannot be asked for.
    office.press(task_page, "/models/1/comparisons")
    assert compared(stack, 3) is Verdict.FAILED
    refused = office.forge("/comparisons/3", "/comparisons/3/request", reason="Please.")
    assert refused.status_code == 409

    # A click takes the other back nevertheless, at once.
    began = time.monotonic()
    approval.press(task_page, "/changes/1/rollback")
    assert time.monotonic() - began < 10
    assert said_by(stack, clinician.submit([picture_bytes(seed=101)])) == "0.0.0"
    ledger = office.get("/ledger").text
    kinds = ("First of its reading task", "Promoted", "Rolled back to")
    assert all(kind in ledger for kind in kinds)


def register(stack: Stack, folder: Path) -> None:
    """Have the data set registered, by a plan that asks no more than bundles can show which nobody
    trained."""
    with stack.rows():
        task = db.session.query(ReadingTask).one()
        datasets.register(actor=None, reading_task=task, name="Drawn", licence="CC0", files=folder)
        services.change_plan(
            actor=user_named("user2"),
            reading_task=task,
            plan=Plan(metric="accuracy", calibration_margin=1.0, latency_ratio_max=100.0),
            reason="For tests.",
            shown=1,
        )

    def is_registered() -> bool:
        with stack.rows():
            return db.session.query(Dataset).one().content_sha256 is not None

    wait_until(is_registered, "the data set's registration", 60)


def compared(stack: Stack, number: int) -> Verdict:
    """The verdict of a comparison, once there is one."""

    def verdict() -> Verdict | None:
        with stack.rows():
            return db.session.get_one(Comparison, number).verdict

    return wait_until(verdict, f"comparison {number}", 120)


def said_by(stack: Stack, case_id: int) -> str:
    """The version whose answer counts for a case."""
    stack.wait_for(case_id, 60)
    with stack.rows():
        reading = current_assessment(db.session.get_one(Case, case_id))
        assert reading is not None
        return reading.model_version.version
