"""Rows in bulk: a hospital's worklist of years, and cases that wait for a worker."""

import datetime as dt
import hashlib
import random
import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

from sqlalchemy import insert, select

from webapp import imaging, queue
from webapp.accounts.models import User
from webapp.assessments.models import (
    WITHOUT_ANSWER,
    AssessedImage,
    Assessment,
    Failure,
    Prediction,
    Purpose,
    State,
)
from webapp.assessments.services import schedule
from webapp.cases import services as cases
from webapp.cases.models import Case, Image, Patient, Sex
from webapp.catalogue.models import Priority
from webapp.catalogue.queries import allowances, terms_in_force
from webapp.db import Base, db, now, transaction
from webapp.registry.models import ModelVersion

AT_ONCE = 2000
DAYS = 1000
STATES = {State.COMPLETED: 90, State.ABSTAINED: 7, State.FAILED: 3}
PRIORITIES = {Priority.ROUTINE: 80, Priority.URGENT: 14, Priority.ASAP: 5, Priority.STAT: 1}

Row = tuple[type[Base], dict[str, Any]]


class Archive:
    """Cases that were read over the past years, three for two patients, the oldest first.

    The numbers of its rows begin at 1: it is written into an empty database.
    """

    def __init__(self, *, actor: User, case_count: int) -> None:
        self.actor = actor
        self.site_id = min(actor.site_ids)
        self.case_count = case_count
        self.patient_count = max(1, case_count * 2 // 3)
        self.began = now() - dt.timedelta(days=DAYS)
        self.version = db.session.scalars(select(ModelVersion)).one()
        self.terms = [*terms_in_force(self.version.reading_task_id).values()]
        allowed = allowances(self.version.reading_task_id)
        self.allowed = [allowed[priority] for priority in Priority]
        self.chance = random.Random(0)

    def write(self) -> None:
        """All of it, a few thousand cases a transaction."""
        for make, count in ((self._patient, self.patient_count), (self._case, self.case_count)):
            for first in range(1, count + 1, AT_ONCE):
                rows: dict[type[Base], list[dict[str, Any]]] = {}
                for number in range(first, min(first + AT_ONCE, count + 1)):
                    for table, row in make(number):
                        rows.setdefault(table, []).append(row)
                with transaction():
                    for table, some in rows.items():
                        db.session.execute(insert(table), some)

    def _patient(self, number: int) -> Iterator[Row]:
        yield (
            Patient,
            {
                "id": number,
                "site_id": self.site_id,
                "identifier": f"{number * 7919 % 1_000_003:07}",
                "birth_year": 1930 + number % 90,
                "sex": Sex.FEMALE if number % 2 else Sex.MALE,
                "created_at": self.began,
            },
        )

    def _case(self, number: int) -> Iterator[Row]:
        (priority,) = self.chance.choices([*PRIORITIES], [*PRIORITIES.values()])
        moment = self.began + dt.timedelta(days=DAYS * number / self.case_count)
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        yield (
            Case,
            {
                "id": number,
                "patient_id": number % self.patient_count + 1,
                "site_id": self.site_id,
                "reading_task_id": self.version.reading_task_id,
                "priority": priority,
                "age_at_acquisition_years": number % 90,
                "age_is_derived": False,
                "note": "Seen before, please compare." if number % 3 else "",
                "form_token": f"bench-{number}",
                "submitted_by_id": self.actor.id,
                "submitted_at": moment,
            },
        )
        yield (
            Image,
            {
                "id": number,
                "case_id": number,
                "position": 0,
                "sha256": sha256,
                "thumbnail_sha256": sha256,
                "media_type": "image/jpeg",
                "width_px": 360,
                "height_px": 363,
                "original_sha256": sha256,
                "original_file_name": f"cell-{number}.jpg",
                "notices": [],
            },
        )
        yield from self._reading(number, priority, moment, sha256)

    def _reading(
        self, number: int, priority: Priority, moment: dt.datetime, sha256: str
    ) -> Iterator[Row]:
        (state,) = self.chance.choices([*STATES], [*STATES.values()])
        best = self.chance.choice(self.terms)
        is_read = state is not State.FAILED
        raised = best.urgency if state is State.COMPLETED else WITHOUT_ANSWER
        rank = max(priority.rank, raised.rank)
        yield (
            Assessment,
            {
                "id": number,
                "case_id": number,
                "model_version_id": self.version.id,
                "purpose": Purpose.TRIAGE,
                "priority_rank": rank,
                "due_at": moment + self.allowed[rank],
                "metadata_fed": {"raw": {"age": number % 90}, "missing": ["localization"]},
                "metadata_encoded": {"vector": []} if is_read else None,
                "input_sha256": sha256,
                "state": state,
                "scheduled_at": moment,
                "attempt_count": 1,
                "started_at": moment,
                "completed_at": moment if is_read else None,
                "failure": None if is_read else Failure.UNEXPECTED,
                "finding_id": best.finding_id if is_read else None,
                "probability": 0.9 if is_read else None,
                "engine": "bench" if is_read else None,
                "code_version": "bench" if is_read else None,
                "inference_ms": 20.0 if is_read else None,
            },
        )
        yield (
            AssessedImage,
            {
                "id": number,
                "assessment_id": number,
                "image_id": number,
                "position": 0,
                "image_sha256": sha256,
                "finding_id": best.finding_id if is_read else None,
                "abstained": state is State.ABSTAINED if is_read else None,
            },
        )
        for terms in self.terms if is_read else ():
            yield (
                Prediction,
                {
                    "assessed_image_id": number,
                    "finding_id": terms.finding_id,
                    "probability": 0.9 if terms is best else 0.01,
                    "terms_id": terms.id,
                },
            )


def store(pictures: Sequence[bytes]) -> list[cases.NewImage]:
    """Pictures cleaned and in the store, ready to be filed."""
    return [
        cases.store_image(cleaned=imaging.clean(picture), original_file_name="cell.jpg")
        for picture in pictures
    ]


def let_wait(*, actor: User, images: Sequence[cases.NewImage]) -> list[int]:
    """A case an image, all at once, and nobody rings; the numbers of their assessments."""
    version = db.session.scalars(select(ModelVersion)).one()
    (site,) = actor.sites
    with mock.patch.object(queue, "ring"), transaction():
        patient = cases.find_or_create_patient(
            actor=actor,
            site=site,
            identifier=f"B{secrets.token_hex(4)}",
            birth_year=1970,
            sex=Sex.FEMALE,
        )
        waiting = [
            schedule(
                case=cases.create_case(
                    actor=actor,
                    patient=patient,
                    reading_task=version.reading_task,
                    priority=Priority.ROUTINE,
                    age_at_acquisition_years=50,
                    body_site=None,
                    note="",
                    form_token=secrets.token_hex(16),
                    images=[image],
                )
            )
            for image in images
        ]
    return [assessment.id for assessment in waiting]
