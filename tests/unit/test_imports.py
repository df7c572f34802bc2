"""Many cases at once: what is checked, what is filed, and that it is filed once."""

import datetime as dt
import io
import struct
import threading
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm.attributes import set_committed_value

from tests import clinic, imports
from tests.conftest import People
from tests.dicoms import SOP, dicom
from webapp import queue, storage, sweeper
from webapp.accounts.models import User
from webapp.cases.models import Case, Laterality, Sex
from webapp.catalogue.models import Priority
from webapp.config import current_settings
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.imports import services
from webapp.imports.models import Import, ImportRow, ImportState, RowState
from webapp.imports.problems import Problem, Trouble
from webapp.imports.reading import MAX_ROWS, Archive, read_table
from webapp.triage import services as triage

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def clinician(core: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    clinic.serve()
    return people.clinician()


def troubles(subject: Import) -> list[list[str]]:
    """What stands against each row."""
    return [[problem["trouble"] for problem in row.problems] for row in subject.rows]


def filed() -> list[Case]:
    return list(db.session.scalars(sa.select(Case).order_by(Case.id)))


def blobs() -> int:
    return len(list((current_settings().instance_dir / "blobs").rglob("?" * 64)))


# From the table to cases


def test_a_table_is_checked_and_then_filed(core: Flask, clinician: User) -> None:
    rows = [
        {
            "file": "a.png|b.png",
            "identifier": "I-1",
            "birth_year": "1960",
            "sex": "F",
            "reading_task": "Test-Task",
            "priority": "Urgent",
            "age": "50",
            "side": "l",
            "note": "first",
        },
        {"file": "c.png", "identifier": "I-2"},
        {"file": "", "identifier": "I-3"},
    ]
    subject = imports.checked(clinician, rows)
    assert (subject.state, subject.archive_sha256) == (ImportState.CHECKED, None)
    assert [row.state for row in subject.rows] == [RowState.READY, RowState.READY, RowState.REFUSED]
    assert troubles(subject) == [[], [], ["no_file"]]
    assert filed() == []
    assert not services.work()
    services.confirm(actor=clinician, subject=subject)
    imports.work()
    first, second = filed()
    assert (first.patient.identifier, first.patient.birth_year) == ("I-1", 1960)
    assert (first.patient.sex, first.priority) == (Sex.FEMALE, Priority.URGENT)
    assert (first.age_at_acquisition_years, first.note) == (50, "first")
    assert (first.laterality, first.submitted_by_id) == (Laterality.LEFT, clinician.id)
    assert [image.original_file_name for image in first.images] == ["a.png", "b.png"]
    assert [len(case.images) for case in (first, second)] == [2, 1]
    subject = db.session.get_one(Import, subject.id, populate_existing=True)
    assert (subject.state, subject.lease_token) == (ImportState.FINISHED, None)
    assert [row.case_id for row in subject.rows] == [first.id, second.id, None]
    actions = [event.action for event in clinic.recorded(*(f"import.{act}" for act in ACTS))]
    assert actions == ["import.started", "import.checked", "import.confirmed", "import.finished"]
    assert len(clinic.recorded("case.submitted")) == 2


ACTS = ("started", "checked", "confirmed", "cancelled", "finished")


@SQLITE
def test_what_a_dicom_file_tells_fills_the_gaps(core: Flask, clinician: User) -> None:
    rows = [{"file": "a.dcm"}, {"file": "b.dcm", "identifier": "I-9", "birth_year": "1961"}]
    other = {"SOPInstanceUID": "1.2.3", "WindowCenter": 2000, "WindowWidth": 1000}
    files = {"a.dcm": dicom(), "sub/b.dcm": dicom(PatientID="D-9", **other)}
    subject = imports.checked(clinician, rows, files=files)
    assert troubles(subject) == [[], ["differs_from_dicom"]]
    services.confirm(actor=clinician, subject=subject)
    imports.work()
    first, second = filed()
    assert (first.patient.identifier, first.patient.sex) == ("D-1", Sex.FEMALE)
    assert (first.patient.birth_year, first.age_at_acquisition_years) == (1961, 59)
    assert first.images[0].sop_instance_uid == SOP
    assert second.patient.identifier == "I-9"


@SQLITE
@pytest.mark.parametrize(
    ("row", "trouble"),
    [
        ({"file": "missing.png"}, "file_missing"),
        ({"file": "../a.png"}, "file_missing"),
        ({"file": "two.png"}, "file_ambiguous"),
        ({"file": "text.png"}, "image"),
        ({"file": "|".join(["a.png"] * 21)}, "too_many_files"),
        ({"identifier": ""}, "identifier"),
        ({"identifier": "x" * 65}, "identifier"),
        ({"birth_year": "1066"}, "birth_year"),
        ({"birth_year": "19x0"}, "birth_year"),
        ({"sex": "woman"}, "sex"),
        ({"reading_task": "fundus"}, "reading_task"),
        ({"priority": "now"}, "priority"),
        ({"age": "131"}, "age"),
        ({"age": "99", "birth_year": "2000"}, "age"),
        ({"side": "both"}, "side"),
        ({"note": "x" * 4001}, "note"),
    ],
)
def test_what_stands_against_a_row_is_listed(
    core: Flask, clinician: User, row: Mapping[str, str], trouble: str
) -> None:
    one = {"file": "a.png", "identifier": "I-1"} | row
    files = {"a.png": clinic.picture(), "x/two.png": b"1", "y/two.png": b"2", "text.png": b"text"}
    subject = imports.checked(clinician, [one], files=files)
    assert troubles(subject) == [[trouble]]
    assert subject.rows[0].state is RowState.REFUSED
    with pytest.raises(Conflict):
        services.confirm(actor=clinician, subject=subject)


@SQLITE
def test_what_the_model_knows_of_body_sites_and_modalities_counts(
    core: Flask, clinician: User
) -> None:
    clinic.serve("dermoscopy", body_sites=["hand"])
    row = {"file": "a.dcm", "identifier": "D-1", "reading_task": "dermoscopy", "body_site": "Hand"}
    other = row | {"file": "b.png", "body_site": "knee"}
    files = {"a.dcm": dicom(), "b.png": clinic.picture()}
    subject = imports.checked(clinician, [row, other], files=files)
    assert troubles(subject) == [["other_modality"], ["body_site"]]


@SQLITE
def test_what_is_on_record_counts(core: Flask, clinician: User, people: People) -> None:
    data, theirs, unseen = clinic.picture(), clinic.picture(), clinic.picture()
    clinic.send(clinician, identifier="I-1", birth_year=1950, pictures=[data])
    clinic.send(clinician, identifier="I-0", pictures=[theirs])
    clinic.send(people.clinician(), pictures=[unseen])
    rows = [
        {"file": "a.png", "identifier": "I-1"},
        {"file": "b.png", "identifier": "I-1", "birth_year": "1951"},
        {"file": "c.png", "identifier": "I-2"},
        {"file": "d.png", "identifier": "I-3"},
    ]
    files = {"a.png": data, "b.png": clinic.picture(), "c.png": theirs, "d.png": unseen}
    subject = imports.checked(clinician, rows, files=files)
    assert troubles(subject) == [["already_filed"], ["patient_differs"], ["filed_elsewhere"], []]
    services.confirm(actor=clinician, subject=subject)
    imports.work()
    assert [case.patient.identifier for case in filed()[3:]] == ["I-2", "I-3"]


@SQLITE
def test_rows_are_held_against_each_other(core: Flask, clinician: User) -> None:
    same, other = clinic.picture(), clinic.picture()
    rows = [
        {"file": "a.png", "identifier": "I-1", "sex": "f"},
        {"file": "b.png", "identifier": "I-1", "sex": "m"},
        {"file": "c.png", "identifier": "I-1"},
        {"file": "d.png", "identifier": "I-2"},
        {"file": "e.png", "identifier": "I-3"},
    ]
    files = {"a.png": same, "b.png": other, "c.png": same, "d.png": same, "e.png": same + b"\0"}
    subject = imports.checked(clinician, rows, files=files)
    found = troubles(subject)
    shared = ["in_other_row"]  # the last one by what is stored
    assert found == [[], ["differs_from_row"], ["same_as_row"], shared, shared]
    assert subject.rows[3].problems[0]["facts"] == {"row": 2}
    services.confirm(actor=clinician, subject=subject)
    imports.work()
    assert [case.patient.identifier for case in filed()] == ["I-1", "I-2", "I-3"]


@SQLITE
def test_files_without_a_row_are_told(core: Flask, clinician: User) -> None:
    files = {"a.png": clinic.picture(), "x/b.png": b"", "__MACOSX/a.png": b"", "x/.DS_Store": b""}
    subject = imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}], files)
    assert subject.unmatched == ["x/b.png"]


# Once, whatever happens


def test_a_row_that_was_filed_before_a_crash_is_not_filed_again(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"file": f"{number}.png", "identifier": f"I-{number}"} for number in range(3)]
    subject = imports.checked(clinician, rows)
    services.confirm(actor=clinician, subject=subject)
    submit = triage.submit

    def crash(**asked: Any) -> Case:
        submit(**asked)
        raise SystemExit

    monkeypatch.setattr(triage, "submit", crash)
    with pytest.raises(SystemExit):
        services.work()
    assert len(filed()) == 1
    monkeypatch.setattr(triage, "submit", submit)
    imports.work()
    assert [case.patient.identifier for case in filed()] == ["I-0", "I-1", "I-2"]
    subject = db.session.get_one(Import, subject.id, populate_existing=True)
    assert [row.case_id for row in subject.rows] == [case.id for case in filed()]


@SQLITE
def test_a_row_that_ends_every_process_is_given_up(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}])

    def crash(*_args: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(services.Checker, "check", crash)
    for _ in range(services.MAX_ATTEMPTS):
        with pytest.raises(SystemExit):
            services.work()
    assert services.work()
    subject = db.session.get_one(Import, begun.id, populate_existing=True)
    assert subject.state is ImportState.CHECKED
    assert troubles(subject) == [["gave_up"]]


@SQLITE
def test_who_lost_the_lease_writes_nothing(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}])
    check = services.Checker.check

    def lose(self: Any, values: Mapping[str, str]) -> Any:
        checked = check(self, values)
        services.cancel(actor=clinician, subject=begun)
        return checked

    monkeypatch.setattr(services.Checker, "check", lose)
    assert services.work()
    subject = db.session.get_one(Import, begun.id, populate_existing=True)
    assert (subject.state, subject.rows) == (ImportState.CANCELLED, [])
    assert blobs() == 0
    assert not services.work()


@SQLITE
def test_what_somebody_works_on_is_left_alone(core: Flask, clinician: User) -> None:
    begun = imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}])
    with transaction():
        begun.lease_token, begun.lease_expires_at = "x", now() + dt.timedelta(seconds=9)
    assert not services.work()
    with transaction():
        begun.lease_expires_at = now() - dt.timedelta(seconds=1)
    assert services.work()


@SQLITE
def test_nothing_of_a_cancelled_import_is_kept(core: Flask, clinician: User) -> None:
    begun = imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}])
    assert blobs() == 1
    services.cancel(actor=clinician, subject=begun)
    assert blobs() == 0
    assert db.session.scalars(sa.select(ImportRow)).all() == []
    with pytest.raises(Conflict):
        services.cancel(actor=clinician, subject=begun)


def test_pictures_of_a_cancelled_import_leave_the_store(core: Flask, clinician: User) -> None:
    shared = clinic.picture()
    case = clinic.send(clinician, identifier="I-0", pictures=[shared])
    waiting = imports.checked(clinician, [{"file": "w.png", "identifier": "I-5"}])
    kept = {case.images[0].sha256, case.images[0].thumbnail_sha256, *waiting.rows[0].blobs}
    rows = [
        {"file": "a.png", "identifier": "I-1"},
        {"file": "b.png", "identifier": "I-2"},
        {"file": "", "identifier": "I-3"},
    ]
    subject = imports.checked(clinician, rows, files={"a.png": clinic.picture(), "b.png": shared})
    assert subject.rows[1].blobs < kept
    assert blobs() == 6
    services.cancel(actor=clinician, subject=subject)
    assert set(storage.hashes()) == kept
    assert [row.import_id for row in db.session.scalars(sa.select(ImportRow))] == [waiting.id]


@SQLITE
def test_pictures_of_a_row_that_another_sweeper_has_checked_are_needed(
    core: Flask, clinician: User
) -> None:
    (row,) = imports.checked(clinician, [{"file": "a.png", "identifier": "I-1"}]).rows
    stored = row.blobs
    set_committed_value(row, "images", None)  # as this session knew it before
    assert len(stored) == 2
    assert storage.named(stored) == stored


@SQLITE
def test_a_store_that_is_away_lets_go_later(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = imports.checked(clinician, [{"file": "a.png", "identifier": "I-1", "note": "N"}])

    def away(_sha256: str) -> None:
        raise storage.Away("store")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", away)
        services.cancel(actor=clinician, subject=subject)
    assert blobs() == 2
    (row,) = db.session.scalars(sa.select(ImportRow))
    assert (row.values, row.particulars) == ({}, None)
    services.let_go()
    assert blobs() == 0
    assert db.session.scalars(sa.select(ImportRow)).all() == []


@SQLITE
def test_pictures_of_rows_that_are_left_out_are_not_kept(core: Flask, clinician: User) -> None:
    same = clinic.picture()
    rows = [
        {"file": "a.png", "identifier": "I-1", "sex": "f"},
        {"file": "b.png", "identifier": "I-1", "sex": "m"},
        {"file": "c.png", "identifier": "I-1"},
    ]
    files = {"a.png": same, "b.png": clinic.picture(), "c.png": same}
    subject = imports.checked(clinician, rows, files=files)
    assert troubles(subject) == [[], ["differs_from_row"], ["same_as_row"]]
    assert set(storage.hashes()) == subject.rows[0].blobs
    services.confirm(actor=clinician, subject=subject)
    db.session.get_one(User, clinician.id).disabled_at = now()
    db.session.commit()
    imports.work()
    assert blobs() == 0


@SQLITE
def test_what_nobody_confirms_is_forgotten(core: Flask, clinician: User) -> None:
    old, new, confirmed = (
        imports.checked(clinician, [{"file": "a.png", "identifier": f"I-{number}"}])
        for number in range(3)
    )
    for subject in (old, confirmed):
        subject.created_at -= dt.timedelta(days=7)
    db.session.commit()
    services.confirm(actor=clinician, subject=confirmed)
    services.end_unconfirmed()
    states = [subject.state for subject in (old, new, confirmed)]
    assert states == [ImportState.CANCELLED, ImportState.CHECKED, ImportState.FILING]
    assert set(storage.hashes()) == new.rows[0].blobs | confirmed.rows[0].blobs
    assert [event.subject_id for event in clinic.recorded("import.expired")] == [old.id]


def test_who_confirms_in_the_last_moment_has_it_filed(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = imports.checked(clinician, [{"file": "a.png", "identifier": "I-1"}])
    subject.created_at -= dt.timedelta(days=7)
    db.session.commit()

    def confirmed_before() -> Any:
        monkeypatch.setattr(services, "transaction", transaction)
        services.confirm(actor=clinician, subject=subject)
        return transaction()

    monkeypatch.setattr(services, "transaction", confirmed_before)
    services.end_unconfirmed()
    services.let_go()
    imports.work()
    (case,) = filed()
    assert storage.get(case.images[0].sha256)


def test_who_sends_a_picture_while_it_leaves_the_store_has_it_stored_again(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clinic.picture()
    row = {"file": "a.png", "identifier": "I-1"}
    subject = imports.checked(clinician, [row], files={"a.png": data})
    stored = triage._stored

    def cancelled_after(submission: Any) -> Any:
        images = stored(submission)
        monkeypatch.setattr(triage, "_stored", stored)
        services.cancel(actor=clinician, subject=subject)
        assert blobs() == 0
        return images

    monkeypatch.setattr(triage, "_stored", cancelled_after)
    case = clinic.send(clinician, pictures=[data])
    assert storage.get(case.images[0].sha256)


@SQLITE
def test_an_archive_that_is_gone_refuses_its_rows(core: Flask, clinician: User) -> None:
    begun = imports.start(clinician, [{"file": "a.png", "identifier": "I-1"}])
    storage.remove(begun.archive_sha256 or "")
    imports.work()
    subject = db.session.get_one(Import, begun.id, populate_existing=True)
    assert troubles(subject) == [["archive_damaged"]]


@SQLITE
def test_nobody_files_for_a_site_that_is_not_theirs(
    core: Flask, clinician: User, people: People
) -> None:
    with pytest.raises(NotFound):
        services.start(
            actor=clinician,
            site_id=people.site().id,
            table=read_table(b"file\na.png"),
            file_name="",
            archive=imports.archive({}),
        )
    subject = imports.checked(clinician, [{"file": "a.png", "identifier": "I-1"}])
    services.confirm(actor=clinician, subject=subject)
    db.session.get_one(User, clinician.id).disabled_at = now()
    db.session.commit()
    imports.work()
    assert filed() == []
    assert troubles(db.session.get_one(Import, subject.id)) == [["not_filed"]]


@SQLITE
def test_the_sweeper_does_it_until_it_is_stopped(
    core: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    outcomes = iter([True, RuntimeError("for tests"), False])

    def work() -> bool:
        outcome = next(outcomes, None)
        if outcome is None:
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    monkeypatch.setattr(services, "work", work)
    monkeypatch.setattr(sweeper, "IMPORT_SECONDS", 0)
    sweeper.work_on_imports(core, stop)
    assert next(outcomes, None) is None


# Tables


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_marks_of_spreadsheets_are_understood(separator: str) -> None:
    names = separator.join(["\ufeffFile", "Birth year", "", ""])
    text = f'{names}\r\n"a{separator}b"{separator}1960\r\n\r\n'
    (row,) = read_table(text.encode())
    assert (row.number, row.values) == (2, {"file": f"a{separator}b", "birth_year": "1960"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "table_empty"),
        (b"file\n\n", "table_empty"),
        ("file,note\na,M\u00fcller".encode("cp1252"), "table_encoding"),
        ("file\na".encode("utf-16"), "table_encoding"),
        ("file\na".encode("utf-16-le"), "table_encoding"),
        (b'file\n"a', "table_format"),
        (b"file,colour\na,b", "table_columns"),
        (b"file,File\na,b", "table_columns"),
        (b"identifier\na", "table_columns"),
        (b"file\na,b", "table_cells"),
        (b"file\n" + b"a\n" * (MAX_ROWS + 1), "table_rows"),
        (b"file\n" + b"a" * 2_000_000, "table_size"),
        (b"file\n" + b"a" * 200_000, "table_format"),
    ],
)
def test_what_is_no_table_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_table(data)
    assert refusal.value.reason == reason


# Archives


def test_files_are_found_by_path_or_by_name() -> None:
    packed = imports.archive(
        {"a/one.png": b"1", "b/two.png": b"2", "two.png": b"3", "e\u0301": b""}
    )
    found = Archive(packed)
    assert found.find("one.png") == found.find("./a/one.png") == found.find("a\\one.png")
    assert found.read(found.find("two.png")[0]) == b"3"  # where it says exactly that
    assert found.find("\u00e9") == ["\u00e9"]
    assert found.find("/etc/passwd") == found.find("../a/one.png") == []


def twice() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("a.png", b"2")
    return stream.getvalue()


def test_a_name_that_stands_twice_is_ambiguous() -> None:
    assert len(Archive(twice()).find("a.png")) == 2


def with_flags(data: bytes, flags: int) -> bytes:
    """An archive whose first entry has these flags in the directory."""
    changed = bytearray(data)
    struct.pack_into("<H", changed, changed.index(b"PK\1\2") + 8, flags)
    return bytes(changed)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"", "archive_format"),
        (lambda: b"PK\3\4" + bytes(100), "archive_format"),
        (lambda: imports.archive({"a": b"1" * 500})[:-30], "archive_format"),
        (lambda: with_flags(imports.archive({"a": b"1"}), 1), "archive_encrypted"),
        (lambda: imports.archive({"a": b"1"}, zipfile.ZIP_LZMA), "archive_method"),
        (lambda: imports.archive({str(n): b"" for n in range(5001)}), "archive_entries"),
        (lambda: bytes(100_000_001), "archive_size"),
    ],
    ids=["empty", "head alone", "cut", "encrypted", "method", "entries", "size"],
)
def test_what_is_no_archive_is_refused(make: Callable[[], bytes], reason: str) -> None:
    data = make()
    with pytest.raises(Invalid) as refusal:
        Archive(data)
    assert refusal.value.reason == reason


def test_a_bomb_gives_no_more_than_a_picture_may_have() -> None:
    packed = imports.archive({"a": bytes(60_000_000)})
    assert len(Archive(packed).read("a")) == 25_000_001


def test_damaged_entries_are_refused() -> None:
    data = bytearray(imports.archive({"a": b"some text that is long enough"}, zipfile.ZIP_STORED))
    data[data.index(b"some")] ^= 1
    with pytest.raises(Invalid, match="archive_damaged"):
        Archive(bytes(data)).read("a")


def test_every_trouble_has_its_words() -> None:
    names = "file limit first last known modality case_id row told column identifier"
    facts = dict.fromkeys(names.split(" "), 1)
    image = {"reason": "empty", "facts": {}}
    sentences = {Problem(trouble, facts | image).sentence for trouble in Trouble}
    assert len(sentences) == len(Trouble)
