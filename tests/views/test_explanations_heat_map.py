from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage
from webapp.db import db
from webapp.explanations.models import Explanation

Explain = Callable[..., Explanation]


def path(explanation: Explanation) -> str:
    return f"/explanations/{explanation.id}/heat-map"


def test_it_is_the_stored_bytes_under_a_neutral_name(desk: Browser, explain: Explain) -> None:
    drawn = clinic.picture()
    explanation = explain(heat_map=drawn)
    answer = desk.get(path(explanation))
    assert (answer.status_code, answer.data) == (200, drawn)
    assert answer.content_type == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    named = f'inline; filename="heat-map-{explanation.id}.png"'
    assert answer.headers["Content-Disposition"] == named
    assert "private" in answer.headers["Cache-Control"]
    assert "no-cache" in answer.headers["Cache-Control"]
    again = desk.get(path(explanation), headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_opening_it_is_on_record(
    desk: Browser,
    clinician: User,
    read: AssessedImage,
    explain: Explain,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    explanation = explain()
    desk.get(path(explanation))
    (event,) = record("explanation.opened")
    assert event["actor_id"] == clinician.id
    assert event["subject"] == ("Explanation", explanation.id)
    assert event["detail"] == {"case_id": read.assessment.case_id}


def test_what_is_not_made_or_has_none_is_not_there(desk: Browser, explain: Explain) -> None:
    explanation = explain(is_made=False)
    assert desk.get(path(explanation)).status_code == 404
    explain(heat_map=b"")
    assert desk.get(path(explanation)).status_code == 404


def test_before_an_own_impression_it_is_not_there(
    app: Flask, desk: Browser, clinician: User, explain: Explain
) -> None:
    """Nor can its state be seen, nor another one be asked for."""
    explanation = explain()
    status = path(explanation).replace("heat-map", "status")
    more = f"/assessed-images/{explanation.assessed_image_id}/explanations"
    assert [desk.get(status).status_code, desk.post(more).status_code] == [200, 303]
    with app.app_context():
        db.session.get_one(User, clinician.id).sites[0].own_impression_first = True
        db.session.commit()
    asked = [desk.get(path(explanation)), desk.get(status), desk.post(more)]
    assert [answer.status_code for answer in asked] == [404, 404, 404]


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, explain: Explain) -> None:
    assert nobody.get(path(explain())).status_code == 303


def test_an_administrator_sees_no_images(office: Browser, explain: Explain) -> None:
    assert office.get(path(explain())).status_code == 403


def test_what_is_of_others_is_not_there(
    stranger: Browser, explain: Explain, record: Callable[..., list[dict[str, Any]]]
) -> None:
    assert stranger.get(path(explain())).status_code == 404
    assert record("explanation.opened") == []
