"""From a candidate to a model that serves, and back, through the pages and with real processes."""

import csv
import hashlib
import io
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml import predictor as predictors
from tests.stack import Client, Stack, wait_until
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
TASK = "blood-cell"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three that nobody trained: the one that serves, one that is worse, one that is better."""
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / str(seed), seed=seed) for seed in (0, 3, 1)]


@pytest.fixture(scope="module")
def test_set(bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that is the locked test set too. It shows what the third bundle says of it, and on
    a quarter of it what the first one says, where the second one is wrong."""
    folder = tmp_path_factory.mktemp("data")
    first, worse, better = (
        [answer.prediction for answer in model.predict([picture(seed=n) for n in range(COUNT)])]
        for model in (
            predictors.load(bundle, device="cpu", cache_dir=folder / "engines")
            for bundle in bundles
        )
    )
    right = [
        one if number % 4 == 0 and one != other else best
        for number, (one, other, best) in enumerate(zip(first, worse, better, strict=True))
    ]
    (folder / "set").mkdir()
    with zipfile.ZipFile(folder / "set" / "images.zip", "w") as archive:
        for number in range(COUNT):
            archive.writestr(f"{number}.png", picture_bytes(seed=number))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["file", "label"])
    writer.writerows((f"{number}.png", label) for number, label in enumerate(right))
    (folder / "set" / "manifest.csv").write_text(table.getvalue())
    hashes = (hashlib.sha256(picture_bytes(seed=number)).hexdigest() for number in range(COUNT))
    lines = ["sha256,subject,part", *(f"{sha256},,test" for sha256 in hashes)]
    (folder / "locked").mkdir()
    (folder / "locked" / f"{TASK}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def stack(bundles: list[Path], test_set: Path) -> Iterator[Stack]:
    with Stack(
        bundle=bundles[0],
        further_bundles=bundles[1:],
        environment={
            "LOCKED_TESTS_DIR": str(test_set / "locked"),
            "DATASETS_ROOT": str(test_set),
        },
        processes=("broker", "web", "worker", "steward", "sweeper"),
    ) as stack:
        yield stack


def post(client: Client, page: str, action: str, **fields: str) -> str:
    """Press the button of a form of a page; returns the page that follows."""
    shown = client.get(page).text
    form = re.search(rf'<form[^>]*action="{action}".*?</form>', shown, re.DOTALL)
    assert form, f"{page} has no form for {action}"
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))
    answer = client.post(action, hidden | fields)
    assert answer.ok, answer.text
    return str(answer.text)


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


def test_a_model_serves_once_it_has_proved_itself_and_is_taken_back_in_one_click(
    stack: Stack, test_set: Path
) -> None:
    clinician, office, approval = (
        stack.sign_in(role) for role in (Role.CLINICIAN, Role.ADMINISTRATOR, Role.APPROVER)
    )
    seen = [clinician.submit([picture_bytes(seed=number)]) for number in range(6)]
    assert [said_by(stack, case_id) for case_id in seen] == ["0.0.0"] * 6

    # The pictures of the locked test set are not there: refused, and told so.
    task_page = "/changes/1"
    post(office, task_page, "/models/3/comparisons")
    assert compared(stack, 1) is Verdict.REFUSED
    assert (
        f"{COUNT} pictures of the locked test set are not here" in office.get("/comparisons/1").text
    )
    with stack.rows():
        task = db.session.query(ReadingTask).one()
        datasets.register(
            actor=None, reading_task=task, name="Drawn", licence="CC0", files=test_set / "set"
        )
        # Bundles that nobody trained differ in what is not asked of them here.
        services.change_plan(
            actor=user_named("user2"),
            reading_task=task,
            plan=Plan(metric="accuracy", calibration_margin=1.0, latency_ratio_max=100.0),
            reason="For tests.",
            shown=1,
        )

    def registered() -> bool:
        with stack.rows():
            return db.session.query(Dataset).one().content_sha256 is not None

    wait_until(registered, "the data set's registration", 60)

    # A worse candidate does not pass, and cannot be asked for.
    post(office, task_page, "/models/2/comparisons")
    assert compared(stack, 2) is Verdict.FAILED
    assert "/comparisons/2/request" not in office.get("/comparisons/2").text

    # A better one passes; who asks cannot approve, a second person does.
    post(office, task_page, "/models/3/comparisons")
    assert compared(stack, 3) is Verdict.PASSED
    post(office, "/comparisons/3", "/comparisons/3/request", reason="It makes no mistakes.")
    token = re.search(r'name="csrf_token" value="([^"]+)"', office.get(task_page).text)
    assert token
    refused = office.post("/promotion-requests/1/approve", {"csrf_token": token[1]})
    assert refused.status_code == 403
    post(approval, task_page, "/promotion-requests/1/approve")

    # It answers at once, without a restart, and recent cases that it reads otherwise are told of.
    assert said_by(stack, clinician.submit([picture_bytes(seed=100)])) == "0.0.1"

    def told() -> int:
        with stack.rows():
            return count_read_otherwise(user_named("user1"))

    wait_until(told, "the readings that look back", 60)
    page = clinician.get("/cases/read-otherwise").text
    case_id = int(re.findall(r'name="case" value="(\d+)"', page)[0])
    assert case_id in seen
    post(clinician, "/cases/read-otherwise", "/cases/read-otherwise", case=str(case_id))
    assert said_by(stack, case_id) == "0.0.1"

    # One click, and what served before serves again.
    began = time.monotonic()
    post(approval, task_page, "/changes/1/rollback")
    new = clinician.submit([picture_bytes(seed=101)])
    assert time.monotonic() - began < 10
    assert said_by(stack, new) == "0.0.0"
    ledger = office.get("/ledger").text
    kinds = ("First of its reading task", "Promoted", "Rolled back to")
    assert all(kind in ledger for kind in kinds)
