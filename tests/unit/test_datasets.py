"""Data sets and snapshots: what is registered, what is locked away, what is frozen and learnt."""

import csv
import errno
import io
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from ml.datasets import packed
from ml.datasets.copying import sha256_of
from ml.recipe import DataRecipe
from ml.splits import split_manifest
from tests import clinic, datasets, trainings
from tests.conftest import People
from webapp import queue, storage
from webapp.accounts.models import User
from webapp.app import create_app
from webapp.cases.models import Case, Consent, Patient
from webapp.cases.services import record_consent
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import findings_by_code
from webapp.config import REPOSITORY, Settings, current_settings
from webapp.datasets import gathering, house, queries, services
from webapp.datasets.models import LeftOut, Side, Snapshot, Standing
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.jobs import ADMINISTER, ASSESS
from webapp.monitoring import services as monitoring
from webapp.registry.models import ModelVersion
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision, OutcomeSource
from webapp.reviews.queries import basis
from webapp.reviews.services import Found, Verdict
from webapp.training.queries import models_of_patient
from webapp.worker import jobs, registering, sharing
from webapp.worker.materialising import materialise
from webapp.worker.testing import TestSetMissing, locked_manifest

ONE_KIND = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LABELS = ("calm", "watch", "grave")
SHIPPED = {
    "blood-cell": ("blood-pbc", 1711),
    "breast-ultrasound": ("breast-busi", 78),
    "chest-ct": ("chest-ct", 546),
    "dermoscopy": ("skin-ham10000", 2004),
    "fundus": ("eye-odir5k", 1029),
}


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the rings instead of sending them."""
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: heard.append(job) or True)
    return heard


@pytest.fixture
def model(core: Flask) -> ModelVersion:
    return clinic.serve()


@pytest.fixture
def task(model: ModelVersion) -> ReadingTask:
    return model.reading_task


@pytest.fixture
def clinician(model: ModelVersion, people: People) -> User:
    return people.clinician()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures of three findings."""
    return datasets.write(tmp_path / "drawn", datasets.rows(LABELS))


# Registering


def test_a_data_set_is_checked_copied_and_counted(
    task: ReadingTask, folder: Path, people: People, rings: list[str]
) -> None:
    actor = people.administrator()
    dataset = services.register(
        actor=actor, reading_task=task, name=" Drawn ", licence="CC0 1.0", files=folder
    )
    assert dataset.standing is Standing.WAITING
    assert rings == [ADMINISTER]
    jobs.administer()
    db.session.refresh(dataset)
    assert dataset.standing is Standing.REGISTERED
    assert (dataset.image_count, dataset.subject_count, dataset.problems) == (12, 12, [])
    assert dataset.counts == dict.fromkeys(sorted(LABELS), 4)
    assert dataset.sides is not None
    assert sum(dataset.sides.values()) == 12
    copy = packed.read(current_settings().datasets_dir / (dataset.content_sha256 or ""))
    (first,) = (r for r in copy.records if r.metadata["published_file"] == "calm/0.png")
    assert sha256_of(first) == datasets.sha256(datasets.drawn("calm/0.png"))
    assert copy.read(first.file) == datasets.drawn("calm/0.png")
    assert queries.registered(task.id) == [dataset]
    asked, done = clinic.recorded("dataset.requested", "dataset.registered")
    assert (asked.actor_id, done.detail["name"]) == (actor.id, "Drawn")


@ONE_KIND
def test_what_cannot_be_learnt_from_is_left_out_and_told(task: ReadingTask, tmp_path: Path) -> None:
    rows = datasets.rows(LABELS)
    pictures = {row["file"]: datasets.drawn(row["file"]) for row in rows}
    rows[1]["label"], rows[2]["label"] = "something else", "calm|watch"
    pictures["calm/3.png"] = b"no picture"
    pictures["watch/1.png"] = pictures["watch/0.png"]
    pictures["grave/0.png"] = pictures["watch/2.png"]
    del pictures["grave/3.png"]
    dataset = datasets.register(task, datasets.write(tmp_path / "rough", rows, pictures))
    assert dataset.counts == {"calm": 1, "grave": 2, "watch": 2}
    assert {each["kind"]: (each["count"], each["examples"]) for each in dataset.problems} == {
        "unknown_labels": (2, ["calm/1.png", "calm/2.png"]),
        "unreadable": (2, ["calm/3.png", "grave/3.png"]),
        "same_bytes": (1, ["watch/1.png"]),
        "contradictory": (1, ["grave/0.png"]),
    }


@ONE_KIND
def test_near_duplicates_are_counted(task: ReadingTask, tmp_path: Path) -> None:
    rows = datasets.rows(LABELS, subject="")
    pictures = {row["file"]: datasets.drawn(row["file"]) for row in rows}
    pictures["calm/1.png"] = datasets.compressed(pictures["calm/0.png"])
    pictures["grave/1.png"] = datasets.compressed(pictures["watch/0.png"])
    dataset = datasets.register(task, datasets.write(tmp_path / "twins", rows, pictures))
    assert dataset.duplicates is not None
    assert dataset.duplicates["near"] >= 2
    assert 1 <= dataset.duplicates["disagree"] < dataset.duplicates["near"]
    assert dataset.subject_count == 0


@ONE_KIND
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda folder: (folder / "images.zip").unlink(), "missing_files"),
        (lambda folder: (folder / "images.zip").write_bytes(b"no ZIP"), "unreadable_table"),
        (lambda folder: (folder / "manifest.csv").write_bytes(b"a,b\n1,2\n"), "unreadable_table"),
        (lambda folder: (folder / "manifest.csv").write_bytes(b"\xff\xfe"), "unreadable_table"),
        (lambda folder: (folder / "manifest.csv").write_text("file,label\n"), "no_pictures"),
        (lambda folder: (folder / "manifest.csv").write_text("file,label\nx"), "no_pictures"),
    ],
)
def test_what_is_no_data_set_is_refused(
    task: ReadingTask, folder: Path, spoil: object, problem: str
) -> None:
    assert callable(spoil)
    spoil(folder)
    dataset = datasets.register(task, folder)
    assert dataset.standing is Standing.REFUSED
    assert dataset.problems[0]["kind"] == problem
    assert queries.registered(task.id) == []
    assert clinic.recorded("dataset.refused")


@ONE_KIND
def test_the_same_again_is_refused(task: ReadingTask, folder: Path) -> None:
    datasets.register(task, folder)
    again = datasets.register(task, folder)
    assert again.standing is Standing.REFUSED
    assert again.problems == [{"kind": "registered_before", "count": 0, "examples": ["drawn"]}]


@ONE_KIND
def test_an_upload_is_forgotten_once_it_is_checked(task: ReadingTask, folder: Path) -> None:
    upload = services.Upload(
        storage.put((folder / "manifest.csv").read_bytes()),
        storage.put((folder / "images.zip").read_bytes()),
    )
    dataset = datasets.register(task, upload, name="sent")
    assert dataset.standing is Standing.REGISTERED
    copy = {dataset.content_sha256, dataset.pictures_sha256}
    assert set(storage.hashes()) == copy
    home = current_settings().datasets_dir / (dataset.content_sha256 or "")
    upload = services.Upload(
        storage.put((home / "manifest.csv").read_bytes()),
        storage.put((home / "images.zip").read_bytes()),
    )
    again = datasets.register(task, upload, name="a copy that was sent")
    assert set(storage.hashes()) == copy | {again.content_sha256, again.pictures_sha256}


@ONE_KIND
def test_what_nobody_foresaw_is_on_record_and_tried_again(
    task: ReadingTask, folder: Path, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = services.register(
        actor=None, reading_task=task, name="drawn", licence="CC0", files=folder
    )

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(registering, "copy", fail)
    with pytest.raises(MemoryError):
        registering.step()
    db.session.refresh(dataset)
    assert (dataset.standing, dataset.last_error) == (Standing.WAITING, "MemoryError: full")
    assert [path.name for path in current_settings().datasets_dir.iterdir()] == []
    assert not registering.step()  # not before its pause is over
    with transaction():
        dataset.attempt_count, dataset.not_before_at = 2, None
    with pytest.raises(MemoryError):
        registering.step()
    monkeypatch.undo()
    db.session.refresh(dataset)
    assert dataset.standing is Standing.FAILED
    monitoring.retry(actor=people.administrator(), kind="dataset", work_id=dataset.id)
    assert registering.step()
    db.session.refresh(dataset)
    assert dataset.standing is Standing.REGISTERED


@ONE_KIND
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"name": " "}, "name_needed"),
        ({"licence": ""}, "licence_needed"),
        ({"name": "x" * 121}, "too_long"),
        ({"source": "x" * 4001}, "too_long"),
    ],
)
def test_a_data_set_has_a_name_and_a_licence(
    task: ReadingTask, folder: Path, said: dict[str, str], reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        datasets.register(task, folder, **said)


# What is locked away


@ONE_KIND
@pytest.mark.parametrize("code", SHIPPED)
def test_the_shipped_locked_tests(core: Flask, code: str) -> None:
    locked = queries.locked_test_of(code)
    assert len(locked.hashes) == SHIPPED[code][1]
    assert set(locked.parts.values()) <= {"test", "tune", "dropped"}
    assert "tune" in locked.parts.values()
    assert queries.locked_test_of("nothing").hashes == frozenset()


@ONE_KIND
@pytest.mark.parametrize("code", SHIPPED)
def test_they_name_pictures_of_the_development_data(core: Flask, data_dir: Path, code: str) -> None:
    manifest = packed.read(data_dir / SHIPPED[code][0])
    locked = queries.locked_test_of(code)
    some = manifest.records[:: max(1, len(manifest.records) // 150)]
    parts = [locked.parts.get(datasets.sha256(manifest.read(record.file))) for record in some]
    assert 0.05 < parts.count("test") / len(some) < 0.35
    assert parts.count(None) / len(some) > 0.5


@ONE_KIND
def test_the_locked_test_is_complete_or_says_what_is_missing(
    task: ReadingTask, folder: Path, tmp_path: Path
) -> None:
    hashes = {name: datasets.sha256(datasets.drawn(name)) for name in ("calm/0.png", "grave/1.png")}
    with pytest.raises(TestSetMissing) as none:
        locked_manifest(task.code)
    assert none.value.missing_count == 0
    datasets.lock(task, dict.fromkeys(hashes.values(), "test"), {})
    with pytest.raises(TestSetMissing, match="2 pictures"):
        locked_manifest(task.code)
    dataset = datasets.register(task, folder)
    manifest = locked_manifest(task.code)
    assert [sha256_of(record) for record in manifest.records] == sorted(hashes.values())
    read = {datasets.sha256(manifest.read(record.file)) for record in manifest.records}
    assert read == set(hashes.values())
    home = current_settings().datasets_dir / (dataset.content_sha256 or "")
    shutil.rmtree(home)
    assert locked_manifest(task.code).records == manifest.records  # out of the store
    shutil.rmtree(home)
    with transaction():
        dataset.pictures_sha256 = None
    with pytest.raises(TestSetMissing) as elsewhere:
        locked_manifest(task.code)
    assert (elsewhere.value.missing_count, elsewhere.value.datasets) == (2, ("drawn",))
    with pytest.raises(NotFound):
        locked_manifest("nothing")


# On other machines


@ONE_KIND
def test_a_data_set_is_fetched_once_whole_and_verified(
    core: Flask, task: ReadingTask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = datasets.register(task, folder)
    home = current_settings().datasets_dir / (dataset.content_sha256 or "")
    table = (home / "manifest.csv").read_bytes()
    shutil.rmtree(home)
    fetched: list[str] = []
    fetch = storage.fetch

    def slow(sha256: str, target: Path) -> None:
        fetched.append(sha256)
        time.sleep(0.05)
        fetch(sha256, target)

    def come(number: int) -> Path:
        with core.app_context():
            return sharing.fetched(queries.get_dataset(number))

    with monkeypatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(storage, "fetch", slow)
        assert set(pool.map(come, [dataset.id] * 3)) == {home}
    assert fetched == [dataset.content_sha256, dataset.pictures_sha256]
    assert (home / "manifest.csv").read_bytes() == table
    assert len(packed.read(home).read(sharing.records(dataset)[0].file)) > 100

    shutil.rmtree(home)
    files, path = storage._locate(dataset.pictures_sha256 or "")
    files.pipe_file(path, b"something else")
    with pytest.raises(storage.CorruptBlob):
        sharing.fetched(dataset)
    assert [entry.name for entry in home.parent.iterdir()] == []


@ONE_KIND
def test_a_data_set_that_the_disk_has_no_room_for_is_not_fetched(
    task: ReadingTask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = datasets.register(task, folder)
    home = current_settings().datasets_dir / (dataset.content_sha256 or "")
    shutil.rmtree(home)
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "SPARE_BYTES", 10**18)
        with pytest.raises(OSError, match="GB are free") as full:
            sharing.fetched(dataset)
    assert full.value.errno == errno.ENOSPC

    def full_disk(_sha256: str, target: Path) -> None:
        target.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "fetch", full_disk)
    with pytest.raises(OSError, match="No space"):
        sharing.fetched(dataset)
    assert [entry.name for entry in home.parent.iterdir()] == []


@ONE_KIND
def test_what_was_registered_before_the_store_had_data_sets_is_kept_there(
    task: ReadingTask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = datasets.register(task, folder)
    pictures = dataset.pictures_sha256 or ""
    for sha256 in list(storage.hashes()):
        storage.remove(sha256)
    with transaction():
        dataset.pictures_sha256 = None
    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", Mock(side_effect=storage.Away("nobody answers")))
        jobs.administer()
    assert dataset.pictures_sha256 is None
    jobs.administer()
    db.session.refresh(dataset)
    assert dataset.pictures_sha256 == pictures
    assert set(storage.hashes()) == {dataset.content_sha256, pictures}


@ONE_KIND
def test_the_same_pictures_are_the_same_archive(task: ReadingTask, folder: Path) -> None:
    """Whoever registers them again, and when."""
    first = datasets.register(task, folder)
    home = current_settings().datasets_dir / (first.content_sha256 or "")
    before = (home / "images.zip").read_bytes()
    shutil.rmtree(home)
    datasets.register(task, folder)
    assert (home / "images.zip").read_bytes() == before
    assert set(storage.hashes()) == {first.content_sha256, first.pictures_sha256}


@ONE_KIND
def test_a_fifth_of_the_patients_is_test_for_ever(core: Flask) -> None:
    sides = [house.side_of(number) for number in range(1, 5001)]
    assert sides == [house.side_of(number) for number in range(1, 5001)]
    assert sides.count(Side.TEST) / len(sides) == pytest.approx(0.2, abs=0.02)
    assert sides.count(Side.TUNE) / len(sides) == pytest.approx(0.08, abs=0.02)
    assert house.is_test_patient(Patient(id=sides.index(Side.TEST) + 1))
    assert len({house.pseudonym(number) for number in range(500)}) == 500
    core.extensions["audit_key"] = b"another"
    assert sides != [house.side_of(number) for number in range(1, 5001)]


# Consent


def test_consent_is_kept_with_its_history(clinician: User, people: People) -> None:
    patient = clinic.send(clinician).patient
    assert patient.consent is Consent.NOT_ASKED
    given, withdrawn = Consent.GIVEN, Consent.WITHDRAWN
    assert say(clinician, patient, given)
    assert not say(clinician, patient, given)
    with pytest.raises(Conflict, match="consent_changed"):
        record_consent(actor=clinician, patient=patient, consent=withdrawn, shown=withdrawn)
    with pytest.raises(Invalid):
        say(clinician, patient, Consent.NOT_ASKED)
    with pytest.raises(NotFound):
        say(people.clinician(), patient, withdrawn)
    assert say(clinician, patient, withdrawn)
    events = clinic.recorded("patient.consent_recorded")
    assert [event.detail["consent"] for event in events] == ["given", "withdrawn"]
    for statement in ("DELETE FROM consent_changes", "UPDATE consent_changes SET id = 9"):
        with pytest.raises(DatabaseError, match="are kept as they were"), transaction():
            db.session.execute(text(statement))


# Snapshots


def say(actor: User, patient: Patient, consent: Consent) -> bool:
    return record_consent(actor=actor, patient=patient, consent=consent, shown=patient.consent)


def consenting(actor: User, side: Side = Side.TRAIN, **changes: object) -> Case:
    """A case of a patient on that side, who consents, read as grave."""
    while True:
        case = clinic.send(actor, confirm_duplicates=True, **changes)
        if house.side_of(case.patient_id) is side:
            break
    say(actor, case.patient, Consent.GIVEN)
    clinic.read(case, "grave")
    return case


def sign(actor: User, case: Case, decision: Decision = Decision.AGREE, finding: str = "") -> None:
    findings = findings_by_code(case.reading_task_id)
    reviews.sign(
        actor=actor,
        case=case,
        verdict=Verdict(
            decision=decision, finding_id=findings[finding].id if finding else None, reason="why"
        ),
        shown=basis(case).mark,
        form_token=f"{decision}-{basis(case).next_version}",
    )


def turn_out(actor: User, case: Case, finding: str | None) -> None:
    findings = findings_by_code(case.reading_task_id)
    reviews.record_outcome(
        actor=actor,
        case=case,
        found=Found(
            finding_id=findings[finding].id if finding else None,
            source=OutcomeSource.HISTOLOGY,
            found_on=now().date(),
            note="seen",
        ),
        shown="0",
        form_token="o",
    )


def see(actor: User, case: Case, finding: str | None) -> None:
    findings = findings_by_code(case.reading_task_id)
    finding_id = findings[finding].id if finding else None
    reviews.save_impression(actor=actor, case=case, finding_id=finding_id)


def frozen_rows(snapshot: Snapshot) -> list[dict[str, str]]:
    content = storage.get(snapshot.manifest_sha256).decode()
    return list(csv.DictReader(io.StringIO(content)))


def test_labels_come_from_the_surest_source(
    clinician: User, task: ReadingTask, people: People
) -> None:
    outcome, override, own, changed, agreed = (consenting(clinician) for _ in range(5))
    sign(clinician, outcome)
    turn_out(clinician, outcome, "calm")
    sign(clinician, override, Decision.OVERRIDE, "watch")
    see(clinician, own, "grave")
    see(clinician, changed, "calm")
    for case in (own, changed, agreed):
        sign(clinician, case)
    uncertain, void, nothing, unasked, shown = (consenting(clinician) for _ in range(5))
    consenting(clinician)  # nobody signs it
    sign(clinician, uncertain, Decision.UNCERTAIN)
    sign(clinician, void)
    turn_out(clinician, void, "calm")
    sign(clinician, void, Decision.VOID)
    sign(clinician, nothing)
    turn_out(clinician, nothing, None)
    say(clinician, unasked.patient, Consent.WITHDRAWN)
    sign(clinician, unasked)
    shown.is_demonstration = True
    sign(clinician, shown, Decision.OVERRIDE, "calm")
    actor = people.administrator()
    snapshot = services.freeze(actor=actor, reading_task=task, dataset=None, note="first")
    pictures = {case.images[0].sha256: case for case in (outcome, override, own)}
    rows = {row["sha256"]: row for row in frozen_rows(snapshot)}
    assert rows.keys() == pictures.keys()
    labels = [(r["labels"], r["label_source"]) for r in (rows[sha256] for sha256 in pictures)]
    assert labels == [("calm", "outcome"), ("watch", "override"), ("grave", "impression")]
    assert snapshot.counts["left_out"] == {
        "agreement": 2,
        "undecided": 2,
        "void": 1,
        "withdrawn": 1,
    }
    assert snapshot.counts["label_sources"]["outcome"] == {"train": 1}
    (event,) = clinic.recorded("snapshot.frozen")
    assert (event.actor_id, event.detail["case_count"]) == (actor.id, 3)
    both = services.freeze(actor=actor, reading_task=task, dataset=None, includes_agreement=True)
    assert len(frozen_rows(both)) == 5
    assert both.counts["label_sources"]["agreement"] == {"train": 2}
    assert queries.snapshots() == [both, snapshot]


def test_a_snapshot_cannot_be_changed(clinician: User, task: ReadingTask) -> None:
    sign_one(clinician)
    services.freeze(actor=None, reading_task=task, dataset=None)
    for statement in (
        "UPDATE snapshots SET note = 'x'",
        "DELETE FROM snapshots",
        "UPDATE snapshot_cases SET is_test = NOT is_test",
        "DELETE FROM snapshot_cases",
    ):
        with pytest.raises(DatabaseError, match="are kept as they were"), transaction():
            db.session.execute(text(statement))


def sign_one(actor: User, side: Side = Side.TRAIN, **changes: object) -> Case:
    """A case with an own finding."""
    case = consenting(actor, side, **changes)
    sign(actor, case, Decision.OVERRIDE, "watch")
    return case


@ONE_KIND
def test_what_is_in_a_locked_test_or_of_a_test_patient_is_left_out(
    clinician: User, task: ReadingTask
) -> None:
    locked, same = clinic.picture(), clinic.picture()
    datasets.lock(task, {datasets.sha256(locked): "test"}, {})
    tested = sign_one(clinician, Side.TEST, pictures=[same])
    sign_one(clinician, pictures=[locked])
    sign_one(clinician, pictures=[same])
    own = sign_one(clinician)
    gathered = gathering.gather(task, includes_agreement=False)
    assert gathered.left_out == {LeftOut.LOCKED: 2}
    sides = {lesson.case.id: lesson.side for lesson in gathered.lessons}
    assert sides == {tested.id: Side.TEST, own.id: Side.TRAIN}


@ONE_KIND
def test_a_snapshot_needs_something_to_learn_from(
    clinician: User, task: ReadingTask, folder: Path
) -> None:
    with pytest.raises(Invalid, match="nothing"):
        services.freeze(actor=None, reading_task=task, dataset=None)
    other = clinic.serve(task="other-task").reading_task
    dataset = datasets.register(other, folder)
    with pytest.raises(Invalid, match="no_base"):
        services.freeze(actor=None, reading_task=task, dataset=dataset)
    with pytest.raises(Invalid, match="too_long"):
        services.freeze(actor=None, reading_task=other, dataset=dataset, note="x" * 4001)


def test_a_training_reads_the_base_and_the_house_and_never_a_test(
    clinician: User, task: ReadingTask, tmp_path: Path
) -> None:
    rows = datasets.rows(LABELS, count=8)
    by_name = {row["file"]: datasets.sha256(datasets.drawn(row["file"])) for row in rows}
    parts = {by_name["calm/0.png"]: "test", by_name["calm/1.png"]: "tune"}
    parts |= {by_name["calm/2.png"]: "dropped", by_name["watch/0.png"]: "test"}
    rows[8 + 7]["subject"] = "seen in the test"
    datasets.lock(task, parts, {by_name["watch/0.png"]: "seen in the test"})
    dataset = datasets.register(task, datasets.write(tmp_path / "base", rows))
    assert dataset.sides == {"test": 2, "tune": 1, "left_out": 2, "train": 19}
    train, tune, tested, left = (
        sign_one(clinician, side) for side in (Side.TRAIN, Side.TUNE, Side.TEST, Side.TRAIN)
    )
    snapshot = services.freeze(actor=None, reading_task=task, dataset=dataset)
    assert snapshot.counts["findings"]["watch"] == {"train": 2, "tune": 1, "test": 1}
    say(clinician, left.patient, Consent.WITHDRAWN)
    assert queries.snapshots_of_patient(left.patient) == [snapshot]
    assert queries.snapshots_of_patient(tested.patient) == []
    folder = materialise(snapshot.id, tmp_path / "run" / "data")
    manifest = packed.read(folder)
    found = {sha256_of(record): record.split for record in manifest.records}
    taken_out = {by_name["calm/2.png"], by_name["watch/7.png"]}
    base = dict.fromkeys(set(by_name.values()) - taken_out, "train")
    base |= {by_name["calm/0.png"]: "test", by_name["watch/0.png"]: "test"}
    base |= {by_name["calm/1.png"]: "val"}
    own = {train.images[0].sha256: "train", tune.images[0].sha256: "val"}
    assert found == base | own
    (record,) = (r for r in manifest.records if sha256_of(r) == train.images[0].sha256)
    assert record.subject == house.pseudonym(train.patient_id)
    assert record.labels == ("watch",)
    assert manifest.open_image(record.file).size
    facts = packed.read_facts(folder)
    assert (facts["title"], facts["base_content_sha256"]) == ("base", dataset.content_sha256)
    assert facts["licence"].startswith("CC0 1.0; the house's own pictures")
    assert facts["own_pictures"].startswith("2 pictures of 2 patients of the house")
    assert snapshot.manifest_sha256 in facts["own_pictures"]
    assert facts["locked_test"] == {"image_count": 2, "missing_count": 0}
    names = zipfile.ZipFile(folder / "images.zip").namelist()
    assert sorted(names) == sorted(record.file for record in manifest.records)
    split = split_manifest(manifest, DataRecipe(split="published"), 0)
    tests = {by_name["calm/0.png"], by_name["watch/0.png"]}
    assert {Path(file).stem for file in split.test} == tests
    assert not {Path(file).stem for file in split.train + split.tune} & tests


@ONE_KIND
def test_a_training_says_how_much_of_the_locked_test_it_is_measured_on(
    task: ReadingTask, folder: Path, tmp_path: Path
) -> None:
    names = ("calm/0.png", "calm/1.png", "watch/0.png", "elsewhere.png")
    datasets.lock(task, {datasets.sha256(datasets.drawn(name)): "test" for name in names}, {})
    dataset = datasets.register(task, folder)
    assert queries.coverage_of(task).registered_count == 3
    snapshot = services.freeze(actor=None, reading_task=task, dataset=dataset)
    facts = packed.read_facts(materialise(snapshot.id, tmp_path / "data"))
    assert facts["locked_test"] == {"image_count": 3, "missing_count": 1}
    assert (facts["licence"], facts["own_pictures"]) == ("CC0 1.0", "")


@ONE_KIND
def test_models_that_may_have_learnt_from_a_patient_are_known(
    clinician: User, task: ReadingTask, model: ModelVersion
) -> None:
    case = sign_one(clinician)
    before = services.freeze(actor=None, reading_task=task, dataset=None)
    say(clinician, case.patient, Consent.WITHDRAWN)
    sign_one(clinician)
    after = services.freeze(actor=None, reading_task=task, dataset=None)
    own, other, heir = (clinic.serve_newer(version) for version in ("2.0.0", "3.0.0", "4.0.0"))
    trainings.trained(own, before, "imagenet")
    trainings.trained(other, after, f"bundle:{model.bundle_sha256}")
    trainings.trained(heir, after, f"bundle:{own.bundle_sha256}")
    assert models_of_patient(case.patient) == [own, heir]
    assert models_of_patient(clinic.send(clinician).patient) == []


@ONE_KIND
def test_a_base_without_a_locked_test_is_divided_by_subject(
    task: ReadingTask, tmp_path: Path
) -> None:
    rows = datasets.rows(LABELS, count=25)
    dataset = datasets.register(task, datasets.write(tmp_path / "base", rows))
    assert dataset.sides is not None
    assert dataset.sides["train"] > dataset.sides["tune"] > 0
    snapshot = services.freeze(actor=None, reading_task=task, dataset=dataset)
    first = materialise(snapshot.id, tmp_path / "first")
    again = materialise(snapshot.id, tmp_path / "again")
    same = [(folder / "manifest.csv").read_bytes() for folder in (first, again)]
    assert same[0] == same[1]
    published = [
        {**row, "split": split}
        for row, split in zip(rows, ["train", "val", "test"] * 25, strict=True)
    ]
    other = datasets.register(task, datasets.write(tmp_path / "published", published))
    assert other.sides == {"train": 25, "tune": 25, "left_out": 25}


@ONE_KIND
def test_a_slice_of_real_data_is_registered_and_divided_as_the_champion_was(
    core: Flask, data_dir: Path, tmp_path: Path
) -> None:
    task = clinic.serve(task="breast-ultrasound").reading_task
    manifest = packed.read(data_dir / "breast-busi")
    locked = queries.locked_test(task)
    some = manifest.records[::12]
    pictures = {record.file: manifest.read(record.file) for record in some}
    rows = [{"file": r.file, "label": LABELS[len(r.label) % 3], "split": r.split} for r in some]
    dataset = datasets.register(task, datasets.write(tmp_path / "busi", rows, pictures))
    assert dataset.image_count == len(some)
    assert dataset.sides is not None
    expected = [locked.parts.get(datasets.sha256(data)) for data in pictures.values()]
    assert dataset.sides.get("test", 0) == expected.count("test")
    with pytest.raises(TestSetMissing) as missing:
        locked_manifest(task.code)
    assert missing.value.missing_count == 78 - expected.count("test")
    assert "BUSI" in missing.value.datasets[0]


def test_the_locked_tests_are_shipped_where_the_settings_say() -> None:
    names = {path.stem for path in (REPOSITORY / "ml" / "locked_tests").glob("*.csv")}
    assert names == set(SHIPPED)


# The command line


@pytest.fixture
def run(settings: Settings) -> Iterator[Callable[..., Result]]:
    """Runs a command of an installation where a worker does at once what it is rung for."""
    app = create_app(settings)
    with app.app_context():
        clinic.serve()
        yield lambda *words: app.test_cli_runner().invoke(args=words)
        db.session.remove()
        db.engine.dispose()


def test_the_commands(
    run: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "dataset.json").write_text('{"title": "Drawn", "licence": "CC0 1.0"}')
    monkeypatch.setattr("webapp.datasets.cli.time.sleep", lambda _: registering.step())
    done = run("dataset", "register", str(folder / "manifest.csv"), "--task", "test-task")
    assert done.exit_code == 0, done.output
    assert "Data set 1: 12 pictures" in done.output
    assert "calm\t4" in done.output
    assert "test-task\tregistered\t12\tDrawn" in run("dataset", "list").output
    again = run("dataset", "register", str(folder), "--task", "test-task")
    assert again.exit_code == 1
    assert "registered already" in again.output
    frozen = run("snapshot", "freeze", "--task", "test-task", "--dataset", "1", "--note", "n")
    assert "Snapshot 1: 0 own pictures" in frozen.output
    assert "1\ttest-task\t0\tDrawn" in run("snapshot", "list").output
    for words, said in (
        (("dataset", "register", str(folder), "--task", "nothing"), "known are test-task"),
        (("snapshot", "freeze", "--task", "test-task"), "refused: nothing"),
        (("snapshot", "freeze", "--task", "test-task", "--dataset", "9"), "refused: dataset"),
    ):
        refused = run(*words)
        assert refused.exit_code == 1
        assert said in refused.output


def test_a_command_that_waits_asks_whether_anything_runs(
    run: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = iter([None, None, registering.step])
    monkeypatch.setattr("webapp.datasets.cli.PATIENCE_SECONDS", -1)
    monkeypatch.setattr("webapp.datasets.cli.time.sleep", lambda _: (next(waits) or str)())
    done = run("dataset", "register", str(folder), "--task", "test-task", "--licence", "CC0")
    assert done.exit_code == 0
    assert done.output.count("does the service run?") == 1
