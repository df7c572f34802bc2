"""GET /models/<model_id>/unseen: where a version reads cases otherwise."""

from flask import Flask

from tests import clinic, promotions
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.promotion import services
from webapp.promotion.queries import agreement
from webapp.registry.models import ModelVersion


def test_it_counts_where_it_differs_and_shows_no_patient(
    app: Flask,
    office: Browser,
    desk: Browser,
    clinician: User,
    administrator: User,
    candidate: ModelVersion,
) -> None:
    path = f"/models/{candidate.id}/unseen"
    assert "Reads no cases" in office.get(path).text
    with app.app_context():
        services.start_shadow(actor=administrator, version=candidate)
        case = clinic.send(clinician, identifier="A-1")
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
    for asked in (
        f"/assessments/{unseen.id}/reproductions",
        f"/assessed-images/{image_id}/explanations",
    ):
        assert desk.post(asked).status_code == 404


def test_others_may_not(desk: Browser, nobody: Browser, candidate: ModelVersion) -> None:
    path = f"/models/{candidate.id}/unseen"
    assert desk.get(path).status_code == 403
    assert nobody.get(path).location == f"/sign-in?next={path}"
