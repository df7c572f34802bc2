"""Erasing a patient: what names or shows them goes, what counts stays, others keep theirs."""

import datetime as dt
import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests import clinic, trainings
from tests.conftest import People
from webapp import audit, queue, storage, sweeper
from webapp.accounts.models import User
from webapp.assessments.models import Assessment, Failure, State
from webapp.cases.models import (
    Case,
    CaseMove,
    CaseParticulars,
    Consent,
    FormerCase,
    FormerParticulars,
    Image,
    Patient,
    Region,
    Sex,
)
from webapp.cases.queries import find_patient, images_filed_elsewhere
from webapp.catalogue.models import ReadingTask, RegionKind
from webapp.datasets.models import SnapshotCase
from webapp.datasets.queries import snapshots_of_patient, withdrawn_pseudonyms
from webapp.db import db, now, transaction
from webapp.erasures import queries, services
from webapp.erasures.models import Cause, Erasure
from webapp.errors import Conflict, Invalid, NotFound
from webapp.explanations import services as explanations
from webapp.explanations.models import Explanation
from webapp.imports import services as imports
from webapp.imports.models import ImportRow, RowState
from webapp.imports.reading import TableRow
from webapp.permissions import Role
from webapp.registry.models import ModelVersion
from webapp.reproductions import services as reproductions
from webapp.reproductions.models import Reproduction
from webapp.reviews import queries as review_queries
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision, Outcome, OutcomeSource, Review, SecondRead
from webapp.training.queries import ended_run_ids
from webapp.triage import services as triage

ONE_KIND = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SECRET = "Anna Muster"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: False)


@pytest.fixture
def clinician(core: Flask, people: People) -> User:
    clinic.serve()
    task = db.session.scalars(sa.select(ReadingTask)).one()
    task.region_kind = RegionKind.LESION
    db.session.commit()
    return people.user(Role.CLINICIAN, Role.REVIEWER, sites=[people.site()])


@pytest.fixture
def administrator(clinician: User, people: People) -> User:
    return people.administrator()


def site_of(user: User) -> Any:
    return user.sites[0]


def erase(administrator: User | None, clinician: User, identifier: str = "P-secret") -> Erasure:
    return services.erase_named(
        actor=administrator, site=site_of(clinician), identifier=identifier, reason="they asked"
    )


def full_case(clinician: User, data: bytes) -> Case:
    """A case with everything that may tell who its patient is."""
    case = clinic.send(
        clinician,
        identifier="P-secret",
        birth_year=1961,
        note=SECRET,
        pictures=[data],
        region=f"{SECRET}, arm",
    )
    read = clinic.read(case, "grave").images[0]
    explanations.request(actor=clinician, read=read)
    clinic.explain(clinic.picture())
    shown = review_queries.basis(case).mark
    verdict = reviews.Verdict(decision=Decision.AGREE, comment=SECRET)
    reviews.sign(actor=clinician, case=case, verdict=verdict, shown=shown, form_token="1")
    amended = reviews.Verdict(decision=Decision.UNCERTAIN, comment=SECRET, reason=SECRET)
    shown = review_queries.basis(case).mark
    reviews.sign(actor=clinician, case=case, verdict=amended, shown=shown, form_token="2")
    with transaction():
        db.session.add(
            FormerParticulars(
                patient_id=case.patient_id,
                birth_year=1961,
                sex=Sex.FEMALE,
                corrected_by=clinician,
                corrected_at=now(),
            )
        )
        signed = db.session.scalars(sa.select(Review).order_by(Review.id)).all()[-1]
        db.session.add(
            Outcome(
                case=case,
                version=1,
                finding_id=None,
                source=OutcomeSource.OTHER,
                found_on=dt.date(2026, 1, 5),
                note=SECRET,
                form_token="3",
                recorded_by=clinician,
                recorded_at=now(),
            )
        )
        db.session.add(
            SecondRead(
                review=signed, reader=clinician, finding_id=None, comment=SECRET, read_at=now()
            )
        )
    return case


def start_import(clinician: User, rows: Sequence[TableRow], pictures: Mapping[str, bytes]) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in pictures.items():
            archive.writestr(f"{name}.png", data)
    imports.start(
        actor=clinician,
        site_id=site_of(clinician).id,
        table=rows,
        file_name="table.csv",
        archive=stream.getvalue(),
    )


def everything() -> str:
    """All that the database says, as one text, but for the record of who looked for whom."""
    found = []
    db.session.rollback()
    for table in db.metadata.sorted_tables:
        found += [str(dict(row)) for row in db.session.execute(sa.select(table)).mappings()]
    return "\n".join(found)


def test_what_names_or_shows_a_patient_goes_and_what_counts_stays(
    clinician: User, administrator: User
) -> None:
    case = full_case(clinician, clinic.picture())
    other = clinic.send(clinician, identifier="P-other", note="kept")
    kept = {other.images[0].sha256, other.images[0].thumbnail_sha256}
    numbers = sa.select(Assessment.finding_id, Assessment.probability, Assessment.state)
    before = db.session.execute(numbers.order_by(Assessment.id)).all()
    audit.append_anchor()
    erasure = erase(administrator, clinician)
    assert erasure.blobs_left == []
    assert set(storage.hashes()) == kept
    said = everything()
    for secret in (SECRET, "P-secret", "1961"):
        assert not re.search(rf"\b{secret}\b", said)  # a hash may hold a year by chance
    assert "P-other" in said
    assert "kept" in said
    assert db.session.execute(numbers.order_by(Assessment.id)).all() == before
    patient = db.session.get_one(Patient, case.patient_id)
    assert patient.erased_at is not None
    assert patient.identifier.startswith(f"erased {patient.id}")
    assert audit.verify() == []
    assert erasure.removed == {
        "images": 1,
        "thumbnails": 1,
        "heat_maps": 1,
        "identifiers": 1,
        "regions": 1,
        "notes": 1,
        "file_names": 1,
        "texts": 5,
        "import_rows": 0,
    }
    assert {name: erasure.remains[name] for name in ("cases", "decisions", "outcomes")} == {
        "cases": 1,
        "decisions": 2,
        "outcomes": 1,
    }
    (event,) = clinic.recorded("patient.erased")
    assert (event.actor_id, event.subject_id) == (administrator.id, patient.id)


def test_the_database_lets_go_of_the_texts_of_erased_patients_and_of_nothing_else(
    clinician: User, administrator: User
) -> None:
    case = full_case(clinician, clinic.picture())

    def refused(statement: sa.Update | sa.Delete) -> None:
        with pytest.raises(sa.exc.DBAPIError, match="kept as they were"), transaction():
            db.session.execute(statement)

    refused(sa.update(Review).values(comment=services.ERASED))  # nobody is erased yet
    refused(sa.update(Outcome).values(note=services.ERASED))
    refused(sa.update(SecondRead).values(comment=services.ERASED))
    refused(sa.update(FormerParticulars).values(birth_year=None))
    erase(administrator, clinician)
    refused(sa.update(Review).values(comment="another text"))
    refused(sa.update(Review).values(comment=services.ERASED, decision=Decision.OVERRIDE))
    refused(sa.update(Outcome).values(found_on=dt.date(2020, 1, 1)))
    refused(sa.update(SecondRead).values(finding_id=1))
    refused(sa.delete(Review).where(Review.case_id == case.id))
    refused(sa.delete(SecondRead))
    refused(sa.update(FormerParticulars).values(sex=Sex.MALE))
    refused(sa.delete(FormerParticulars))


def test_a_picture_that_another_patient_has_too_stays(clinician: User, administrator: User) -> None:
    data = clinic.picture()
    case = clinic.send(clinician, identifier="P-secret", pictures=[data])
    other = clinic.send(clinician, pictures=[data], confirm_duplicates=True)
    erasure = erase(administrator, clinician)
    assert erasure.remains["shared_pictures"] == 2
    assert storage.get(other.images[0].sha256)
    assert storage.get(other.images[0].thumbnail_sha256)
    assert images_filed_elsewhere(
        actor=clinician,
        original_sha256s=[case.images[0].original_sha256],
        site_id=case.site_id,
        identifier="P-new",
    ) == [other.images[0]]
    erase(administrator, clinician, other.patient.identifier)
    assert list(storage.hashes()) == []


def test_a_picture_that_is_stored_just_before_it_is_removed_is_stored_again(
    clinician: User, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clinic.picture()
    clinic.send(clinician, identifier="P-secret", pictures=[data])
    submit_once = triage._submit_once

    def erase_first(*asked: Any) -> Case:
        """Between the bytes, which are put already, and the row that names them."""
        monkeypatch.setattr(triage, "_submit_once", submit_once)
        assert erase(administrator, clinician).blobs_left == []
        assert list(storage.hashes()) == []
        return submit_once(*asked)

    monkeypatch.setattr(triage, "_submit_once", erase_first)
    other = clinic.send(clinician, pictures=[data], confirm_duplicates=True)
    assert storage.get(other.images[0].sha256)
    assert storage.get(other.images[0].thumbnail_sha256)


def test_a_picture_that_is_filed_while_it_is_removed_stays(
    core: Flask, clinician: User, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has let go of it before the other one's row is there, or not at all."""
    data = clinic.picture()
    clinic.send(clinician, identifier="P-secret", pictures=[data])
    remove = storage.remove
    sent: list[int] = []

    def send() -> None:
        with core.app_context():
            case = clinic.send(clinician, pictures=[data], confirm_duplicates=True)
            sent.append(case.id)
            db.session.remove()

    sender = threading.Thread(target=send)

    def remove_slowly(sha256: str) -> None:
        if not sender.ident:
            sender.start()
            sender.join(1)  # as far as it gets
        remove(sha256)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", remove_slowly)
        erase(administrator, clinician)
    sender.join(30)
    db.session.rollback()
    (image,) = db.session.get_one(Case, sent[0]).images
    assert storage.get(image.sha256)
    assert storage.get(image.thumbnail_sha256)


@ONE_KIND
def test_heat_maps_and_rows_of_tables_name_nothing_that_is_gone(
    clinician: User, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clinic.picture()
    read = clinic.read(clinic.send(clinician, identifier="P-secret", pictures=[data]), "grave")
    explanations.request(actor=clinician, read=read.images[0])
    storage.remove(storage.put(b"a map"))
    monkeypatch.setattr(storage, "put", lambda data: hashlib.sha256(data).hexdigest())
    with pytest.raises(storage.Gone):
        clinic.explain(b"a map")
    monkeypatch.undo()
    assert db.session.scalars(sa.select(Explanation.heat_map_sha256)).all() == [None]

    monkeypatch.setattr(queue, "ring", lambda *_: False)
    start_import(clinician, [TableRow(2, {"file": "a.png", "identifier": "P-other"})], {"a": data})
    write_checked = imports._write_checked

    def erase_first(*checked: Any) -> None:
        monkeypatch.setattr(imports, "_write_checked", write_checked)
        erase(administrator, clinician)
        write_checked(*checked)

    monkeypatch.setattr(imports, "_write_checked", erase_first)
    with pytest.raises(storage.Gone):
        imports.work()
    while imports.work():  # as the sweeper does
        pass
    (row,) = db.session.scalars(sa.select(ImportRow))
    assert row.state is RowState.READY
    assert storage.get(row.images[0]["sha256"])


def test_a_case_that_was_moved_tells_nothing_of_whom_it_was_filed_for(
    clinician: User, administrator: User
) -> None:
    case = clinic.send(clinician, identifier="P-secret")
    clinic.send(clinician, identifier="P-right")
    triage.move_case(
        actor=clinician,
        case=case,
        destination=triage.Destination(
            identifier="P-right",
            registers=False,
            reason=SECRET,
            confirm_duplicates=False,
        ),
        shown=triage.Shown(case.patient_id, 0),
    )
    erase(administrator, clinician)
    move = db.session.scalars(sa.select(CaseMove)).one()
    assert move.reason == services.ERASED
    assert storage.get(case.images[0].sha256)  # it is the other one's


def test_a_case_that_was_corrected_tells_nothing_of_what_was_written(
    clinician: User, administrator: User
) -> None:
    case = clinic.send(clinician, identifier="P-secret", note="known as Ada")
    said = CaseParticulars.of(case)
    triage.correct_case(
        actor=clinician,
        case=case,
        corrected=replace(said, note="", body_site="back"),
        reason="Ada is a name",
        shown=said.mark,
        shown_version=0,
    )
    former = db.session.scalars(sa.select(FormerCase)).one()
    assert (former.note, former.reason) == ("known as Ada", "Ada is a name")
    erase(administrator, clinician)
    db.session.refresh(former)
    assert (former.note, former.reason) == (services.ERASED, services.ERASED)
    assert former.laterality is said.laterality


def test_what_waits_is_ended(clinician: User, administrator: User) -> None:
    read = clinic.read(clinic.send(clinician, identifier="P-secret"), "grave")
    waiting = clinic.send(clinician, identifier="P-secret")
    explanations.request(actor=clinician, read=read.images[0])
    reproductions.request(actor=clinician, assessment=read)
    erase(administrator, clinician)
    states = {row.case_id: row.state for row in db.session.scalars(sa.select(Assessment))}
    assert states == {read.case_id: State.COMPLETED, waiting.id: State.CANCELLED}
    for kind in (Explanation, Reproduction):
        assert db.session.scalars(sa.select(kind.state)).all() == [State.CANCELLED]
    assert not db.session.scalars(
        sa.select(Assessment).where(Assessment.settled_at.is_(None))
    ).all()


@ONE_KIND
def test_a_heat_map_that_is_being_made_meanwhile_is_not_kept(
    clinician: User, administrator: User
) -> None:
    read = clinic.read(clinic.send(clinician, identifier="P-secret"), "grave").images[0]
    explanations.request(actor=clinician, read=read)
    bundles = list(db.session.scalars(sa.select(ModelVersion.bundle_sha256)))
    claim = explanations.claim(worker="test", bundle_sha256s=bundles, lease_seconds=60)
    assert claim is not None
    erase(administrator, clinician)
    explained = explanations.Explained(
        heat_map_sha256=storage.put(clinic.picture()),
        metadata_effects={},
        engine="test",
        code_version="test",
    )
    assert not explanations.complete(claim=claim, explained=explained)
    explanations.discard(claim=claim, explained=explained)
    assert list(storage.hashes()) == []


@ONE_KIND
def test_rows_of_tables_that_name_them_are_emptied(clinician: User, administrator: User) -> None:
    data = clinic.picture()
    clinic.send(clinician, identifier="P-secret", pictures=[data])
    rows = [
        TableRow(2, {"file": "a.png", "identifier": "P-other"}),
        TableRow(3, {"file": "b.png", "identifier": " P-secret ", "note": SECRET}),
    ]
    start_import(clinician, rows, {"a": data, "b": clinic.picture(), SECRET: b""})
    while imports.work():
        pass
    assert "P-secret" in str(db.session.scalars(sa.select(ImportRow.problems)).all())
    assert erase(administrator, clinician).removed["import_rows"] == 1
    said = everything()
    assert SECRET not in said
    assert "P-secret" not in said
    other, own = db.session.scalars(sa.select(ImportRow).order_by(ImportRow.number))
    assert (other.state, own.state) == (RowState.READY, RowState.REFUSED)
    assert storage.get(other.images[0]["sha256"])  # it waits for its own patient


@ONE_KIND
def test_a_store_that_is_away_is_asked_again(
    clinician: User, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = clinic.send(clinician, identifier="P-secret")

    def away(_sha256: str) -> None:
        raise ConnectionRefusedError("store")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", away)
        erasure = erase(administrator, clinician)
        assert len(erasure.blobs_left) == 2
    assert storage.get(case.images[0].sha256)
    sweeper.erase(retention_days=0)
    assert erasure.blobs_left == []
    assert list(storage.hashes()) == []
    assert services.let_go_of_the_rest() == 0


def test_what_was_stored_and_never_named_leaves_when_it_is_cleaned(
    core: Flask, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a process is killed between the picture and its row."""

    def clean() -> str:
        done = core.test_cli_runner().invoke(args=("store", "clean", "--yes"))
        assert isinstance(done.exception, SystemExit | None), done.exception
        return done.output

    full_case(clinician, clinic.picture())
    trainings.snapshot()
    row = TableRow(2, {"file": "a.png", "identifier": "P-other"})
    start_import(clinician, [row], {"a": clinic.picture()})
    while imports.work():
        pass
    named = set(storage.hashes())
    assert len(named) >= 6  # pictures, thumbnails, a heat map, and what is none
    left, wanted = storage.put(clinic.picture()), storage.put(clinic.picture())
    folder = Path(storage._locate(left)[1]).parent
    draft, other = folder / ".k3_xdpq1", folder / ".of-somebody-else"
    for path in (draft, other):
        path.write_bytes(b"half a picture")
    assert clean() == "Removed: 0\n"
    monkeypatch.setattr("webapp.cli.FORGOTTEN_AFTER", dt.timedelta(0))
    hold_all = storage.hold_all

    def name_it_just_now() -> None:
        hold_all()
        monkeypatch.setattr(storage, "_NAMERS", [*storage._NAMERS, lambda _: [wanted]])

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(storage, "hold_all", name_it_just_now)
        assert clean() == "Removed: 2\n"
    assert set(storage.hashes()) == named | {wanted}
    assert (draft.exists(), other.exists()) == (False, True)
    assert [event.detail for event in clinic.recorded("store.cleaned")][-1] == {"count": 2}


@ONE_KIND
def test_a_store_that_the_rows_do_not_know_stays(clinician: User) -> None:
    """It is another installation's, or the database was lost and the store was not."""
    clinic.send(clinician)
    for _ in range(3):
        storage.put(clinic.picture())
    stored = set(storage.hashes())
    with pytest.raises(storage.Foreign, match="no row names 3 of the 5 blobs"):
        list(storage.remove_forgotten(stored_before=now()))
    assert set(storage.hashes()) == stored


@ONE_KIND
def test_who_cannot_be_erased(clinician: User, administrator: User) -> None:
    clinic.send(clinician, identifier="P-secret")
    site = site_of(clinician)
    with pytest.raises(NotFound):
        erase(administrator, clinician, "P-nobody")
    assert clinic.recorded("erasure.found_nobody")[0].detail == {}
    with pytest.raises(Invalid, match="reason_names_patient"):
        services.erase_named(
            actor=None, site=site, identifier="P-secret", reason="p-secret wanted it"
        )
    with pytest.raises(Invalid, match="reason"):
        services.erase_named(actor=None, site=site, identifier="P-secret", reason=" ")
    patient = find_patient(site_id=site.id, identifier="P-secret")
    assert patient is not None
    services.erase(actor=None, patient=patient, reason="asked", cause=Cause.REQUEST)
    with pytest.raises(Conflict, match="erased"):
        services.erase(actor=None, patient=patient, reason="again", cause=Cause.REQUEST)
    with pytest.raises(NotFound):
        erase(administrator, clinician, patient.identifier)


@ONE_KIND
def test_an_erased_patient_gets_no_new_case(clinician: User, administrator: User) -> None:
    clinic.send(clinician, identifier="P-secret")
    patient = erase(administrator, clinician).patient
    with pytest.raises(NotFound):
        clinic.send(clinician, identifier=patient.identifier)
    again = clinic.send(clinician, identifier="P-secret")  # somebody new, as far as anyone knows
    assert again.patient_id != patient.id


@ONE_KIND
def test_the_time_for_which_cases_are_kept(clinician: User) -> None:
    old, recent, both = (clinic.send(clinician, identifier=f"P-{name}") for name in "abc")
    clinic.send(clinician, identifier="P-c")
    for case in (old, both):
        case.submitted_at -= dt.timedelta(days=31)
        case.patient.created_at -= dt.timedelta(days=31)
    shown = clinic.send(clinician, identifier="P-demonstration")
    shown.is_demonstration = True
    shown.submitted_at -= dt.timedelta(days=31)
    shown.patient.created_at -= dt.timedelta(days=31)
    db.session.commit()
    sweeper.erase(retention_days=0)
    assert queries.latest() == []
    sweeper.erase(retention_days=30)
    (erasure,) = queries.latest()
    assert (erasure.patient_id, erasure.cause) == (old.patient_id, Cause.RETENTION)
    assert recent.patient.erased_at is None
    (event,) = clinic.recorded("patient.erased")
    assert event.detail["cause"] == "retention"
    assert services.erase_old(days=30) == 0


@ONE_KIND
def test_snapshots_that_hold_them_are_told_and_trainings_end(
    clinician: User, administrator: User
) -> None:
    case = clinic.send(clinician, identifier="P-secret")
    case.patient.consent = Consent.GIVEN
    snapshot = trainings.snapshot()
    db.session.add(
        SnapshotCase(
            snapshot_id=snapshot.id, case_id=case.id, patient_id=case.patient_id, is_test=False
        )
    )
    db.session.commit()
    waiting = trainings.run(administrator, snapshot=snapshot)
    failed = trainings.run(administrator, snapshot=snapshot)
    failed.state, failed.failure = State.FAILED, Failure.WORKER_LOST
    db.session.commit()
    erasure = erase(administrator, clinician)
    assert ended_run_ids([waiting.id, failed.id]) == {waiting.id, failed.id}
    assert erasure.remains["snapshots"] == 1
    assert snapshots_of_patient(erasure.patient) == [snapshot]
    assert withdrawn_pseudonyms(snapshot)  # no further training takes them from it


@ONE_KIND
def test_names_of_lesions_and_eyes(clinician: User, administrator: User) -> None:
    clinic.send(clinician, identifier="P-secret", region=SECRET)
    erase(administrator, clinician)
    region = db.session.scalars(sa.select(Region)).one()
    assert region.label == region.key == f"erased {region.id}"
    assert db.session.scalars(sa.select(Image.original_file_name)).all() == [""]
