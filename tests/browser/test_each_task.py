"""Each reading task from the upload to the signed report, and back from the patient's history."""

import csv
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader
from sqlalchemy import select

from ml import bundle as bundles
from tests.demo import newest_bundle
from tests.stack import Answer, Stack
from webapp.assessments.models import Assessment, State
from webapp.config import REPOSITORY
from webapp.db import db
from webapp.permissions import Role

ANSWER_MS = 60_000
"""Each flow is the first to ask for its model, which is loaded then."""
CASE = re.compile(r"/cases/\d+$")
PATIENT = re.compile(r"/patients/\d+$")
CT_SLICES = REPOSITORY.parent / "shared" / "data" / "chest-ct"


@dataclass(frozen=True)
class Task:
    """A reading task, and how one of its cases is filled in."""

    bundle: str
    sample: str = ""
    """One of the pictures that the bundle brings along; CT brings none of a patient."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What is typed, by the label of the field."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """What is chosen, likewise."""
    finding: str = ""
    """What the model says of it, by its code; empty where that is not settled beforehand."""

    @property
    def is_fed_metadata(self) -> bool:
        return self.bundle == "dermoscopy-fusion"

    @property
    def folder(self) -> Path:
        return newest_bundle(self.bundle)

    @property
    def manifest(self) -> dict[str, object]:
        return json.loads((self.folder / "bundle.json").read_text())


TASKS = [
    Task(
        "dermoscopy-fusion",
        "mel.jpg",
        {"Age when the images were taken": "70", "Lesion": "back A"},
        {"Sex": "Male", "Body site": "Back"},
        "mel",
    ),
    Task(
        "fundus",
        "retina.jpg",
        {"Birth year": "1950"},
        {"Sex": "Female", "Eye": "Right eye"},
    ),
    Task("chest-ct", fields={"Birth year": "1961"}, choices={"Sex": "Male"}),
    Task(
        "breast-ultrasound",
        "benign_or_normal.jpg",
        {"Age when the images were taken": "48"},
        {"Sex": "Female", "Side": "Left"},
        "benign_or_normal",
    ),
    Task("blood-cell", "eosinophil.jpg", {"Note": "Routine smear."}, finding="eosinophil"),
]


@pytest.fixture(scope="module")
def house() -> Iterator[Stack]:
    """The whole house, with a shipped model of each reading task."""
    first, *others = (task.folder for task in TASKS)
    with Stack(bundle=first, further_bundles=others) as stack:
        yield stack


def picture_of(task: Task, folder: Path) -> Path:
    """A picture to send."""
    if task.sample:
        return task.folder / "selftest" / task.sample
    if not CT_SLICES.is_dir():
        pytest.skip(f"no slice of a chest CT is at hand: {CT_SLICES} is not there")
    with (CT_SLICES / "manifest.csv").open() as table:
        name = next(csv.DictReader(table))["file"]
    with zipfile.ZipFile(CT_SLICES / "images.zip") as archive:
        return Path(archive.extract(name, folder))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.bundle)
def test_from_the_upload_to_the_signed_report_and_back_from_the_history(
    task: Task, house: Stack, sign_in: Callable[..., Page], tmp_path: Path
) -> None:
    page = sign_in(Role.CLINICIAN)
    identifier = f"{task.bundle} 1"
    send(page, task, identifier, picture_of(task, tmp_path))
    page.wait_for_url(CASE)
    verdict = page.locator("#verdict-title")
    expect(verdict).to_have_text(
        re.compile("^(Most likely|Stands out most|No answer)"), timeout=ANSWER_MS
    )
    answer = house.answer(int(page.url.rpartition("/")[2]))
    expect_what_was_fed(page, task, house)
    decided = sign(page, task, answer)
    expect(page.locator("#decision-panel")).to_contain_text("Version 1, signed by ")
    expect(page.locator("#decision-panel")).to_contain_text(decided)

    case_url, said = page.url, verdict.inner_text()
    words = report(page)
    for part in (identifier, decided, f"version {task.folder.name}", "never makes one"):
        assert part in words, part

    page.get_by_role("link", name=identifier).first.click()
    page.wait_for_url(PATIENT)
    visit = page.locator(".visit")
    expect(visit).to_have_count(1)
    expect(visit).to_contain_text("Final")
    visit.get_by_role("link", name=re.compile("^Case")).click()
    page.wait_for_url(case_url)
    expect(verdict).to_have_text(said)
    expect(page.locator("#decision-panel")).to_contain_text(decided)


def send(page: Page, task: Task, identifier: str, picture: Path) -> None:
    """Fill in the form for a new case of the task, and send it."""
    page.goto("/cases/new")
    name = task.manifest["reading_task"]["name"]
    asked_for_one_kind = page.locator("[data-asked-for]")
    expect(asked_for_one_kind).to_have_count(4)
    expect(asked_for_one_kind.locator("visible=true")).to_have_count(0)
    page.get_by_role("radio", name=name).check()
    page.locator("input[type=file]").first.set_input_files(picture)
    page.get_by_label("Patient identifier").fill(identifier)
    for label, text in task.fields.items():
        page.get_by_label(re.compile(f"^{label}( optional)?$")).fill(text)
    for label, choice in task.choices.items():
        page.get_by_label(label, exact=True).select_option(label=choice)
    page.get_by_role("button", name="Send case").click()


def expect_what_was_fed(page: Page, task: Task, house: Stack) -> None:
    """It is kept as the network received it, with what received it, and the page says it."""
    case_id = int(page.url.rpartition("/")[2])
    with house.rows():
        read = db.session.scalars(select(Assessment).where(Assessment.case_id == case_id)).one()
        encoded, raw = read.metadata_encoded or {}, read.metadata_fed["raw"]
        bundle_sha256 = read.model_version.bundle_sha256
        told = [str(read.engine), str(read.code_version), read.input_sha256, bundle_sha256]
    assert bundle_sha256 == bundles.load(task.folder).sha256
    assert encoded["encoding_version"] == task.manifest["metadata"]["encoding_version"]
    assert len(encoded["vector"]) == len(encoded["units"])
    if task.is_fed_metadata:
        assert encoded["raw"] == raw
        assert encoded["missing"] == []
        ticked = [
            unit
            for unit, value in zip(encoded["units"], encoded["vector"], strict=True)
            if value == 1
        ]
        assert {"sex is male", "localization is back"} <= set(ticked)
        told += ["As the network received it:", '"sex is male"', *map(str, raw.values())]
    else:
        assert encoded["vector"] == []
        told += ["This model reads the image alone"]
    told += ["Submitted by", "Scheduled", "Taken up by the model", "of computing"]
    said = " ".join(page.locator("main").text_content().split())
    for words in told:
        assert words in said, words


def sign(page: Page, task: Task, answer: Answer) -> str:
    """Agree with the model, or name the least likely finding where it gave no answer; returns what
    the page then says."""
    names = {one["code"]: one["name"] for one in task.manifest["findings"]}
    if task.finding:
        assert (answer.state, answer.finding) == (State.COMPLETED, task.finding)
    if answer.finding:
        expect(page.locator("#verdict-title")).to_contain_text(names[answer.finding])
        page.get_by_role("radio", name=f"Agree: {names[answer.finding]}").check()
        decided = names[answer.finding]
    else:
        assert answer.state is State.ABSTAINED
        decided = names[list(answer.probabilities[0])[-1]]
        page.get_by_role("radio", name="A finding of my own").check()
        page.get_by_label("Finding", exact=True).select_option(label=decided)
    page.get_by_role("button", name="Sign", exact=True).click()
    return decided


def report(page: Page) -> str:
    """The words of the case's report."""
    with page.expect_download() as started:
        page.get_by_role("link", name="as PDF").click()
    path = started.value.path()
    assert path.read_bytes().startswith(b"%PDF-")
    return " ".join(PdfReader(path).pages[0].extract_text().split())
