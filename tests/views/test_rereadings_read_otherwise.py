"""GET /cases/read-otherwise: recent cases of which today's model says something else."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from tests import clinic, promotions
from tests.conftest import Browser
from webapp.accounts.models import Site, User
from webapp.db import db
from webapp.registry.models import ModelVersion

PATH = "/cases/read-otherwise"


def test_it_lists_them_and_the_worklist_leads_there(
    app: Flask,
    desk: Browser,
    stranger: Browser,
    clinician: User,
    administrator: User,
    approver: User,
    candidate: ModelVersion,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    assert PATH not in desk.get("/cases").text
    assert "No case is read otherwise" in desk.get(PATH).text
    with app.app_context():
        same, other = (clinic.send(clinician, identifier=name) for name in ("A-1", "A-2"))
        for case in (same, other):
            clinic.read(case, "calm")
        promotions.promoted(administrator, approver, candidate)
        promotions.read_unseen(candidate, "calm", "grave")
    assert "1 recent case is read otherwise" in desk.get("/cases").text
    page = desk.get(PATH).text
    assert "A-2" in page
    assert "A-1" not in page
    assert "Immediately" in page
    assert [look["detail"] for look in record("read_otherwise.opened")] == [
        {"count": 0},
        {"count": 1},
    ]
    assert "A-2" not in stranger.get(PATH).text
    assert PATH not in stranger.get("/cases").text
    with app.app_context():
        db.session.get_one(Site, other.site_id).own_impression_first = True
        db.session.commit()
    assert "A-2" not in desk.get(PATH).text
    assert PATH not in desk.get("/cases").text


def test_others_may_not(office: Browser, nobody: Browser) -> None:
    assert office.get(PATH).status_code == 403
    assert nobody.get(PATH).location == f"/sign-in?next={PATH}"
