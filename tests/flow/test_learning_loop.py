"""From what clinicians decide to a model that learnt from it, serves, and is taken back."""

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import datasets
from tests.stack import Client, Stack, wait_until
from tests.unit.ml.factories import make_bundle
from webapp.accounts.queries import user_named
from webapp.assessments.models import State
from webapp.assessments.queries import current_assessment
from webapp.cases.models import Case
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import findings_by_code
from webapp.datasets.models import Dataset, Snapshot
from webapp.db import db
from webapp.permissions import Role
from webapp.promotion import services
from webapp.promotion.models import Comparison, Verdict
from webapp.promotion.plans import Plan
from webapp.promotion.queries import count_read_otherwise, plan_in_force
from webapp.registry.models import ModelVersion
from webapp.training.queries import get_run

COLOURS = {"basophil": (110, 60, 150), "eosinophil": (220, 120, 60)}
"""What a picture of each finding is drawn in, so that there is something to learn."""
A_FINDING = 30
"""Pictures of each in the base data set; the first ten are locked away for the test."""
CASES = 10
SMALL = ("preprocess.native_short_side_px=32", "preprocess.size_px=32", "training.batch_size=16")
ROLLBACK_SECONDS = 10
PATIENCE_SECONDS = 240
"""What a start of torch and a short training may take on a busy machine."""


def coloured(finding: str, seed: int) -> bytes:
    """A picture of a finding, like no other."""
    noise = np.random.default_rng(seed).normal(0, 25, (48, 48, 3))
    pixels = np.clip(np.array(COLOURS[finding]) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A data set, some of which is locked away for the test."""
    rows = datasets.rows(tuple(COLOURS), A_FINDING)
    pictures = {
        row["file"]: coloured(row["label"], 1000 * index + number)
        for index, finding in enumerate(COLOURS)
        for number, row in enumerate(row for row in rows if row["label"] == finding)
    }
    parts = {"test": slice(0, 10), "tune": slice(10, 16)}
    locked = [
        f"{datasets.sha256(pictures[row['file']])},,{part}"
        for finding in COLOURS
        for part, some in parts.items()
        for row in [row for row in rows if row["label"] == finding][some]
    ]
    home = tmp_path / "locked"
    home.mkdir()
    (home / "blood-cell.csv").write_text("\n".join(["sha256,subject,part", *locked, ""]))
    return datasets.write(tmp_path / "coloured", rows, pictures)


@pytest.fixture
def stack(base: Path, tmp_path: Path) -> Iterator[Stack]:
    """A whole house, in which a model serves that nobody has trained."""
    environment = {
        "LOCKED_TESTS_DIR": str(tmp_path / "locked"),
        "TRAINING_PRIORITY": "normal",  # others use this machine too
        "WORKER_PROCESSES": "1",
    }
    processes = ("broker", "web", "worker", "steward", "trainer", "sweeper")
    bundle = make_bundle(tmp_path / "bundle")
    with Stack(bundle=bundle, environment=environment, processes=processes) as stack:
        yield stack


def train(stack: Stack, snapshot_id: int, **settings: float) -> ModelVersion:
    """The candidate of a training from random weights."""
    asked = [*SMALL, *(f"training.{name}={value}" for name, value in settings.items())]
    command = ("training", "run", "--recipe", "s2-blood-plain", "--snapshot", str(snapshot_id))
    options = ("--init", "random", *(f"--set={one}" for one in asked))
    run_id = int(stack.run("flask", "--app", "wsgi", *command, *options).split()[1])

    def candidate() -> ModelVersion | None:
        with stack.rows():
            run = get_run(run_id)
            assert run.state is not State.FAILED, run.last_error
            return run.model_version

    return wait_until(candidate, f"training {run_id}", PATIENCE_SECONDS)


def compared(stack: Stack, candidate: ModelVersion) -> tuple[int, Verdict]:
    """What comes of comparing a candidate with what serves, which nobody has to ask for: the
    comparison, and its verdict."""

    def judged() -> tuple[int, Verdict] | None:
        with stack.rows():
            made = db.session.query(Comparison).filter_by(candidate_id=candidate.id).one_or_none()
            return (made.id, made.verdict) if made and made.verdict else None

    return wait_until(judged, "the comparison", PATIENCE_SECONDS)


def told(stack: Stack) -> int:
    """Of how many cases the clinician is told that what serves reads them otherwise."""
    with stack.rows():
        return count_read_otherwise(user_named("user1"))


def answer(stack: Stack, case_id: int) -> tuple[str, str]:
    """The finding that counts for a case, and the version that named it."""
    stack.wait_for(case_id, 60)
    with stack.rows():
        reading = current_assessment(db.session.get_one(Case, case_id))
        assert reading is not None
        assert reading.finding is not None
        return reading.finding.code, reading.model_version.version


def decide(stack: Stack, clinician: Client, number: int) -> int:
    """A case of a patient who consents, signed with what it shows."""
    finding = list(COLOURS)[number % 2]
    case_id = clinician.submit([coloured(finding, 5000 + number)], identifier=f"L-{number}")
    stack.wait_for(case_id, 60)
    with stack.rows():
        case = db.session.get_one(Case, case_id)
        patient = f"/patients/{case.patient_id}"
        named = str(findings_by_code(case.reading_task_id)[finding].id)
    clinician.press(patient, f"{patient}/consent", consent="given")
    page, form = f"/cases/{case_id}", f"/cases/{case_id}/reviews"
    assert "Final" in clinician.press(page, form, decision="override", finding=named)
    return case_id


def test_what_clinicians_decide_makes_a_model_that_proves_itself_serves_and_is_taken_back(
    stack: Stack, base: Path
) -> None:
    clinician = stack.sign_in(Role.CLINICIAN)
    office = stack.sign_in(Role.ADMINISTRATOR, Role.APPROVER)
    approval = stack.sign_in(Role.APPROVER)
    for number in range(CASES):
        decide(stack, clinician, number)
    shown = {finding: coloured(finding, 9000) for finding in COLOURS}
    seen = {finding: clinician.submit([shown[finding]]) for finding in COLOURS}
    before = {finding: answer(stack, case_id) for finding, case_id in seen.items()}
    assert {version for _, version in before.values()} == {"0.0.0"}

    # What was decided freezes beside a data set.
    registering = (
        "dataset",
        "register",
        str(base),
        "--task",
        "blood-cell",
        "--licence",
        "CC BY 4.0",
    )
    stack.run("flask", "--app", "wsgi", *registering)
    with stack.rows():
        task, dataset = db.session.query(ReadingTask).one(), db.session.query(Dataset).one()
        office_user = user_named("user2")
        assert office_user
        services.change_plan(
            actor=office_user,
            reading_task=task,
            # The one that serves was never trained: it knows neither doubt nor calibration.
            plan=Plan(
                metric="accuracy",
                calibration_margin=1.0,
                abstention_margin=1.0,
                latency_ratio_max=100.0,
            ),
            reason="For tests.",
            shown=plan_in_force(task.id).version,
        )
    office.press(
        "/snapshots", "/snapshots", reading_task_id=str(task.id), dataset_id=str(dataset.id)
    )
    with stack.rows():
        snapshot = db.session.query(Snapshot).one()
        assert sum(snapshot.counts["label_sources"]["override"].values()) == CASES

    # One that learnt from it proves itself against the one that serves.
    better = train(stack, snapshot.id, epochs=150, patience_epochs=150)
    comparison_id, verdict = compared(stack, better)
    assert verdict is Verdict.PASSED, office.get(f"/comparisons/{comparison_id}").text
    page = f"/comparisons/{comparison_id}"
    asked = office.press(page, f"{page}/request", reason="It has learnt from us.")
    assert "it takes a second person" in asked
    assert office.forge("/changes/1", "/promotion-requests/1/approve").status_code == 409
    approval.press("/changes/1", "/promotion-requests/1/approve")
    after = {finding: answer(stack, clinician.submit([shown[finding]])) for finding in COLOURS}
    assert after == {finding: (finding, better.version) for finding in COLOURS}
    assert any(before[finding][0] != finding for finding in COLOURS)

    assert f"snapshot {snapshot.id}" in better.model_card

    # Recent cases that it reads otherwise are told of, and one press has one read by it.
    wait_until(lambda: told(stack), "the readings that look back", 60)
    page = clinician.get("/cases/read-otherwise").text
    otherwise = [int(number) for number in re.findall(r'name="case" value="(\d+)"', page)]
    case_id = next(case_id for case_id in otherwise if case_id in seen.values())
    clinician.press("/cases/read-otherwise", "/cases/read-otherwise", case=str(case_id))
    assert answer(stack, case_id)[1] == better.version

    # One that hardly learnt is worse, and cannot be asked for.
    worse = train(stack, snapshot.id, epochs=1, learning_rate=1e-9)
    comparison_id, verdict = compared(stack, worse)
    assert verdict is Verdict.FAILED
    page = f"/comparisons/{comparison_id}"
    assert f"{page}/request" not in office.get(page).text
    assert office.forge(page, f"{page}/request", reason="Please.").status_code == 409

    # What served before serves again, by one press and at once.
    began = time.monotonic()
    approval.press("/changes/1", "/changes/1/rollback")
    assert time.monotonic() - began < ROLLBACK_SECONDS
    again = clinician.submit([coloured("eosinophil", 9001)])
    assert answer(stack, again)[1] == "0.0.0"
    ledger = office.get("/ledger").text
    kinds = ("First of its reading task", "Promoted", "Rolled back to")
    assert all(kind in ledger for kind in kinds)
