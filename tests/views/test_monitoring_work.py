"""GET /work: what waits, who holds it, what failed, which processes live."""

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.assessments import services as assessments
from webapp.cases.models import Case
from webapp.db import db, now
from webapp.monitoring import services
from webapp.monitoring.models import Part
from webapp.permissions import Role
from webapp.registry.models import ModelVersion


@pytest.fixture
def failed(app: Flask, clinician: User) -> int:
    """The number of a reading that failed, of a patient with a name that tells."""
    with app.app_context():
        return clinic.fail(clinic.send(clinician, identifier="SECRET-1")).id


def test_it_shows_work_and_workers_and_no_patient(
    app: Flask, office: Browser, failed: int, case: Case
) -> None:
    with app.app_context():
        services.note_alive(name="box:1", part=Part.SWEEPER, started_at=now())
        versions = list(db.session.scalars(db.select(ModelVersion.bundle_sha256)))
        assessments.claim(worker="box:77", bundle_sha256s=versions, limit=1, lease_seconds=60)
    page = office.get("/work").text
    assert "box:1" in page
    assert "box:77" in page
    assert "A stored image could not be read." in page
    assert "for tests" in page  # the error as it was reported
    assert f'name="work_id" value="{failed}"' in page
    assert "<code>broker</code>: It cannot be reached." in page
    assert "SECRET-1" not in page
    assert "A-1" not in page
    assert f"/cases/{case.id}" not in page


def test_an_approver_sees_it_and_cannot_have_work_done_again(
    app: Flask, nobody: Browser, people: People, failed: int
) -> None:
    with app.app_context():
        nobody.sign_in(people.user(Role.APPROVER))
    page = nobody.get("/work").text
    assert "A stored image could not be read." in page
    assert "Do it again" not in page


def test_an_idle_installation_says_so(app: Flask, office: Browser) -> None:
    page = office.get("/work").text
    assert "No process was seen within a day." in page
    assert "0 wait" in page


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/work").location.startswith("/sign-in")


def test_a_clinician_may_not(desk: Browser) -> None:
    assert desk.get("/work").status_code == 403
