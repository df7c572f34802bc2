"""Decisions on cases, on SQLite and on PostgreSQL."""

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from tests import clinic
from tests.conftest import People
from webapp import queue
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.db import db, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.reviews import queries, services
from webapp.reviews.models import Decision, ReportStatus, Review
from webapp.reviews.services import Verdict

UNCERTAIN = Verdict(decision=Decision.UNCERTAIN)


@pytest.fixture
def clinician(core: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(queue, "ring", lambda: True)
    clinic.serve()
    return people.clinician()


@pytest.fixture
def case(clinician: User) -> Case:
    return clinic.send(clinician)


def sign(actor: User, case: Case, verdict: Verdict = UNCERTAIN, token: str = "t") -> Review:
    """Sign on what there is now."""
    shown = queries.basis(case).mark
    return services.sign(actor=actor, case=case, verdict=verdict, shown=shown, form_token=token)


def refused(statement: str) -> None:
    with pytest.raises(DatabaseError, match="are kept as they were"), transaction():
        db.session.execute(text(statement))


def test_versions_and_the_status_of_the_report(clinician: User, case: Case) -> None:
    assert queries.basis(case).status is None
    clinic.read(case, "grave")
    assert queries.basis(case).status is ReportStatus.PRELIMINARY
    first = sign(clinician, case, Verdict(decision=Decision.AGREE))
    assert first.finding is not None
    assert (first.version, first.finding.code) == (1, "grave")
    assert queries.basis(case).status is ReportStatus.FINAL
    second = sign(clinician, case, Verdict(decision=Decision.UNCERTAIN, reason="why"), token="u")
    assert queries.basis(case).status is ReportStatus.AMENDED
    void = sign(clinician, case, Verdict(decision=Decision.VOID, reason="why"), token="v")
    assert queries.basis(case).status is ReportStatus.CANCELLED
    sign(clinician, case, Verdict(decision=Decision.UNCERTAIN, reason="after all"), token="w")
    assert queries.basis(case).status is ReportStatus.AMENDED
    assert list(queries.reviews(case))[1:] == [void, second, first]
    refused("UPDATE reviews SET comment = 'another'")
    refused("DELETE FROM reviews")


def test_what_was_shown_must_still_hold(clinician: User, case: Case) -> None:
    with pytest.raises(Conflict, match="changed"):
        services.sign(actor=clinician, case=case, verdict=UNCERTAIN, shown="", form_token="t")
    clinic.read(case)
    shown = queries.basis(case).mark
    signed = sign(clinician, case)
    again = services.sign(
        actor=clinician, case=case, verdict=UNCERTAIN, shown=shown, form_token="t"
    )
    assert again is signed
    with pytest.raises(Conflict, match="changed"):
        services.sign(actor=clinician, case=case, verdict=UNCERTAIN, shown=shown, form_token="u")
    with pytest.raises(Invalid, match="reason_needed"):
        sign(clinician, case, token="u")


def test_a_decision_is_of_a_clinician_of_the_site(
    people: People, clinician: User, case: Case
) -> None:
    for other in (people.clinician(), people.administrator()):
        with pytest.raises(NotFound):
            sign(other, case)
