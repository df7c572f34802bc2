"""GET /models/<model_id>/unseen: where a version reads cases otherwise."""

import io
import re

from flask import Flask
from pypdf import PdfReader

from tests import clinic, promotions
from tests.conftest import Browser
from tests.views.conftest import Program
from webapp.accounts.models import User
from webapp.catalogue.models import RegionKind
from webapp.db import db
from webapp.promotion import services
from webapp.promotion.queries import agreement
from webapp.registry.models import ModelVersion


def test_it_counts_where_it_differs_and_shows_no_patient(
    app: Flask,
    office: Browser,
    desk: Browser,
    program: Program,
    clinician: User,
    administrator: User,
    candidate: ModelVersion,
) -> None:
    path = f"/models/{candidate.id}/unseen"
    assert "Reads no cases" in office.get(path).text
    with app.app_context():
        db.session.add(candidate)
        candidate.reading_task.region_kind = RegionKind.LESION
        db.session.commit()
        services.start_shadow(actor=administrator, version=candidate)
        case = clinic.send(clinician, identifier="A-1", region="left forearm")
        patient_id, region_id = case.patient_id, case.images[0].region_id
        clinic.read(case, "calm")
        promotions.read_unseen(candidate, "grave")
        unseen = agreement(candidate).differences[0].unseen
        image_id = unseen.images[0].id
    page = office.get(path).text
    for part in ("Reads every new case unseen", "Calm", "Grave", "More urgent: 1", "100.0"):
        assert part in page, part
    assert "A-1" not in page
    for seen in (f"/cases/{case.id}", "/cases", "/cases/read-otherwise"):
        page = desk.get(seen).text
        assert "Immediately" not in page.partition("<tbody>")[2].partition("</tbody>")[0]
        assert "2.0.0" not in page
    for seen in (f"/patients/{patient_id}", f"/regions/{region_id}", "/cases.csv"):
        page = re.sub("<option.*?</option>", "", desk.get(seen).text).lower()
        assert "calm" in page, seen
        for unseen_word in ("grave", "2.0.0", candidate.bundle_sha256):
            assert unseen_word not in page, seen
    printed = PdfReader(io.BytesIO(desk.get(f"/cases/{case.id}/report.pdf").data))
    words = "".join(page.extract_text() for page in printed.pages)
    assert "Calm" in words
    assert candidate.bundle_sha256 not in words
    told = program.get(f"/api/v1/cases/{case.id}/result")
    assert told.json["answer"]["finding"] == "calm"
    assert candidate.bundle_sha256 not in told.text
    for asked in (
        f"/assessments/{unseen.id}/reproductions",
        f"/assessed-images/{image_id}/explanations",
    ):
        assert desk.post(asked).status_code == 404


def test_others_may_not(desk: Browser, nobody: Browser, candidate: ModelVersion) -> None:
    path = f"/models/{candidate.id}/unseen"
    assert desk.get(path).status_code == 403
    assert nobody.get(path).location == f"/sign-in?next={path}"
