"""Corrections, claims and ends of readings at once, on PostgreSQL: SQLite has one writer."""

import itertools
import random
import threading
import time
from collections import Counter

import pytest
from flask import Flask
from sqlalchemy import func, select

from tests import clinic
from tests.conftest import People
from webapp import audit, queue
from webapp.accounts.models import User
from webapp.assessments import services
from webapp.assessments.models import Assessment, Failure, State
from webapp.assessments.queries import current_assessment
from webapp.audit import AuditEvent
from webapp.cases.models import Case, Particulars, Patient, Sex
from webapp.db import db
from webapp.triage.services import correct_patient
from webapp.worker import inference
from webapp.worker.inference import Outcome

PATIENTS = 4
CASES_A_PATIENT = 3
CORRECTIONS = 40
WORKERS = 3
CLAIMED_IMAGES = 5

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ring", lambda *_: True)


class Storm:
    """Threads that correct patients, and others that read their cases, until all is read."""

    def __init__(self, core: Flask, bundle_sha256: str) -> None:
        self.core = core
        self.bundle_sha256 = bundle_sha256
        self.correcting = threading.Event()
        self.errors: list[BaseException] = []

    def correct(self, actor_id: int, patient_id: int) -> None:
        sexes = itertools.cycle((Sex.MALE, Sex.FEMALE, Sex.OTHER))
        try:
            for sex in itertools.islice(sexes, CORRECTIONS):
                with self.core.app_context():
                    patient = db.session.get_one(Patient, patient_id)
                    correct_patient(
                        actor=db.session.get_one(User, actor_id),
                        patient=patient,
                        shown=Particulars.of(patient),
                        corrected=Particulars(birth_year=patient.birth_year, sex=sex),
                    )
        except BaseException as error:
            self.errors.append(error)

    def read(self, seed: int) -> None:
        chance = random.Random(seed)
        try:
            with self.core.app_context():
                while True:
                    last = not self.correcting.is_set()
                    claims = services.claim(
                        worker=f"test:{seed}",
                        bundle_sha256s=[self.bundle_sha256],
                        limit=CLAIMED_IMAGES,
                        lease_seconds=60,
                    )
                    if claims:
                        services.extend_lease(lease_token=claims[0].lease_token, lease_seconds=60)
                        time.sleep(chance.uniform(0, 0.02))
                        chance.shuffle(claims)
                        inference.write([self._outcome(claim, chance) for claim in claims])
                    elif last:
                        return
        except BaseException as error:
            self.errors.append(error)

    def _outcome(self, claim: services.Claim, chance: random.Random) -> Outcome:
        if chance.random() < 0.3:
            return Outcome(claim, failure=Failure.UNREADABLE_IMAGE, error=ValueError("torn"))
        return Outcome(claim, result=clinic.result(claim))


def test_nothing_is_lost_and_nobody_waits_for_each_other(core: Flask, people: People) -> None:
    bundle_sha256 = clinic.serve().bundle_sha256
    actor = people.clinician()
    for number in range(PATIENTS * CASES_A_PATIENT):
        clinic.send(actor, identifier=f"P{number % PATIENTS}", sex=Sex.UNKNOWN)
    patient_ids = db.session.scalars(select(Patient.id)).all()
    storm = Storm(core, bundle_sha256)
    storm.correcting.set()
    correctors = [
        threading.Thread(target=storm.correct, args=(actor.id, patient_id))
        for patient_id in patient_ids
    ]
    workers = [threading.Thread(target=storm.read, args=(seed,)) for seed in range(WORKERS)]
    for thread in (*correctors, *workers):
        thread.start()
    for thread in correctors:
        thread.join(60)
    storm.correcting.clear()
    for thread in workers:
        thread.join(30)
    assert storm.errors == []
    db.session.expire_all()
    assert db.session.scalar(select(func.count(Assessment.id))) > len(patient_ids) * CASES_A_PATIENT
    for case in db.session.scalars(select(Case)):
        current = current_assessment(case)
        assert not current.state.is_open
        assert current.metadata_fed == services.metadata_fed(case)
    rows = db.session.scalars(select(Assessment)).all()
    assert {row.state for row in rows} == {State.COMPLETED, State.FAILED, State.CANCELLED}
    recorded = Counter(
        db.session.scalars(
            select(AuditEvent.subject_id).where(AuditEvent.action == "assessment.completed")
        )
    )
    assert recorded == Counter(row.id for row in rows if row.state is State.COMPLETED)
    assert list(audit.verify()) == []
