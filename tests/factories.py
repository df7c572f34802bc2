"""Rows for tests: a model that serves, and cases for it. Call inside an application context."""

import hashlib
import secrets
from typing import Any

from webapp.accounts.models import Site, User
from webapp.assessments.models import Assessment
from webapp.assessments.services import schedule
from webapp.cases.models import Case, Image, Patient, Sex
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import db, now, transaction
from webapp.registry.models import ModelVersion
from webapp.registry.services import promote_first, register

SEVERITIES = {"calm": 0, "watch": 2, "grave": 5}


def manifest(*, task: str = "test-task", version: str = "1.0.0") -> dict[str, Any]:
    """What a bundle.json says, as far as the database keeps it apart."""
    return {
        "reading_task": {"code": task, "name": task.title(), "description": "A test."},
        "version": version,
        "licence": "CC0-1.0",
        "intended_use": "Testing.",
        "findings": [
            {
                "code": code,
                "name": code.title(),
                "description": f"{code} it is",
                "malignancy": "none",
                "severity": severity,
                "urgency": "stat" if code == "grave" else "routine",
                "recommendation": "Look.",
            }
            for code, severity in SEVERITIES.items()
        ],
    }


def serving_model(*, task: str = "test-task", version: str = "1.0.0") -> ModelVersion:
    """A registered model version, champion of its task if it has none."""
    with transaction():
        model = register(
            manifest=manifest(task=task, version=version),
            bundle_sha256=hashlib.sha256(f"{task} {version}".encode()).hexdigest(),
            model_card="# A model",
        )
        promote_first(version=model)
    return model


def new_case(
    *,
    actor: User,
    site: Site,
    reading_task: ReadingTask,
    priority: Priority = Priority.ROUTINE,
    sex: Sex = Sex.FEMALE,
    image_sha256s: tuple[str, ...] = (),
) -> Case:
    """A filed case of a new patient, not scheduled yet; its images need not be in the store."""
    with transaction():
        patient = Patient(
            site=site,
            identifier=secrets.token_hex(6),
            birth_year=1970,
            sex=sex,
            created_at=now(),
        )
        db.session.add(patient)
        db.session.flush()
        case = Case(
            patient=patient,
            site_id=site.id,
            reading_task=reading_task,
            priority=priority,
            age_at_acquisition_years=50,
            age_is_derived=False,
            body_site=None,
            note="",
            form_token=secrets.token_hex(16),
            submitted_by=actor,
            submitted_at=now(),
            images=[
                Image(
                    position=position,
                    sha256=sha256,
                    thumbnail_sha256=sha256,
                    media_type="image/png",
                    width_px=48,
                    height_px=40,
                    original_sha256=sha256,
                    original_file_name="cell.png",
                    notices=[],
                )
                for position, sha256 in enumerate(
                    image_sha256s or (hashlib.sha256(secrets.token_bytes(8)).hexdigest(),)
                )
            ],
        )
        db.session.add(case)
    return case


def scheduled(**case: Any) -> Assessment:
    """The scheduled assessment of a new case; takes what `new_case` takes."""
    with transaction():
        return schedule(case=new_case(**case))
