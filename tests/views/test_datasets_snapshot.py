"""GET /snapshots/<id>."""

import pytest
from flask import Flask

from tests import clinic, trainings
from tests.conftest import Browser
from webapp import storage
from webapp.accounts.models import User
from webapp.cases.models import Consent, Patient
from webapp.cases.services import record_consent
from webapp.datasets import house, services
from webapp.datasets.models import Side
from webapp.db import db
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict


def frozen(actor: User) -> tuple[int, int]:
    """The numbers of a snapshot of one case with an own finding, and of its patient."""
    while True:
        case = clinic.send(actor, age_at_acquisition_years=50)
        if house.side_of(case.patient_id) is Side.TRAIN:
            break
    clinic.read(case, "grave")
    calm = next(one for one in case.reading_task.findings if one.code == "calm")
    given, asked = Consent.GIVEN, Consent.NOT_ASKED
    record_consent(actor=actor, patient=case.patient, consent=given, shown=asked)
    verdict = Verdict(decision=Decision.OVERRIDE, finding_id=calm.id)
    shown = basis(case).mark
    reviews.sign(actor=actor, case=case, verdict=verdict, shown=shown, form_token="t")
    snapshot = services.freeze(actor=None, reading_task=case.reading_task, dataset=None, note="N-1")
    return snapshot.id, case.patient_id


def test_it_shows_what_it_holds_and_no_patient(
    app: Flask, clinician: User, office: Browser
) -> None:
    with app.app_context():
        number, patient_id = frozen(db.session.get_one(User, clinician.id))
        identifier = db.session.get_one(Patient, patient_id).identifier
    page = office.get(f"/snapshots/{number}").get_data(as_text=True)
    for part in (
        "1 image",
        "1 case",
        "1 patient",
        "Calm",
        "Own finding in the place",
        "45\N{EN DASH}59",
    ):
        assert part in page, part
    assert "N-1" in page
    assert identifier not in page
    assert f'href="/snapshots/{number}/manifest.csv"' in page
    with app.app_context():
        actor = db.session.get_one(User, clinician.id)
        patient = db.session.get_one(Patient, patient_id)
        withdrawn = Consent.WITHDRAWN
        record_consent(actor=actor, patient=patient, consent=withdrawn, shown=Consent.GIVEN)
    page = office.get(f"/snapshots/{number}").get_data(as_text=True)
    assert "1 patient, whom no training learns from any more" in page


def test_it_is_shown_while_the_store_is_away(
    app: Flask, clinician: User, office: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        number = trainings.snapshot(note="N-2").id

    def away(*_: object) -> bytes:
        raise storage.Away("store")

    monkeypatch.setattr(storage, "get", away)
    assert "N-2" in office.get(f"/snapshots/{number}").get_data(as_text=True)


@pytest.mark.parametrize("path", ["/snapshots/999999", "/snapshots/999999/manifest.csv"])
def test_a_number_that_none_has_is_not_there(office: Browser, nobody: Browser, path: str) -> None:
    assert office.get(path).status_code == 404
    assert nobody.get(path).location == f"/sign-in?next={path}"
