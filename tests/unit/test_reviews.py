"""Decisions on cases, on SQLite and on PostgreSQL."""

import threading

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from tests import clinic
from tests.conftest import People
from webapp import queue
from webapp.accounts.models import User
from webapp.accounts.services import ask_own_impression_first
from webapp.cases.models import Case
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.permissions import Role
from webapp.reviews import queries, services
from webapp.reviews.models import Decision, OutcomeSource, ReportStatus, Review
from webapp.reviews.services import Found, Verdict

UNCERTAIN = Verdict(decision=Decision.UNCERTAIN)


@pytest.fixture
def clinician(core: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(queue, "ring", lambda *_: True)
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


def test_of_two_who_sign_at_once_one_is_told(core: Flask, clinician: User, case: Case) -> None:
    shown, both_ready = queries.basis(case).mark, threading.Barrier(2)
    ended: list[str] = []

    def decide(token: str) -> None:
        with core.app_context():
            actor, read = db.session.get_one(User, clinician.id), db.session.get_one(Case, case.id)
            both_ready.wait()
            try:
                services.sign(
                    actor=actor, case=read, verdict=UNCERTAIN, shown=shown, form_token=token
                )
                ended.append("signed")
            except Conflict as conflict:
                ended.append(conflict.reason)

    threads = [threading.Thread(target=decide, args=[token]) for token in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["changed", "signed"]
    db.session.rollback()  # and look again
    assert len(queries.reviews(case)) == 1


def test_what_people_say_of_a_case_is_kept(people: People, clinician: User, case: Case) -> None:
    services.save_impression(actor=clinician, case=case, finding_id=None)
    sign(clinician, case)
    services.second_read(
        actor=people.user(Role.REVIEWER, sites=list(clinician.sites)),
        case=case,
        finding_id=None,
        comment="",
        shown="1",
    )
    found = Found(
        finding_id=None, source=OutcomeSource.FOLLOW_UP, found_on=now().date(), note="well"
    )
    services.record_outcome(actor=clinician, case=case, found=found, shown="0", form_token="o")
    for table in ("impressions", "second_reads", "outcomes"):
        refused(f"UPDATE {table} SET finding_id = 1")
        refused(f"DELETE FROM {table}")


def test_who_may_see_an_answer(people: People, clinician: User, case: Case) -> None:
    def seen() -> list[bool]:
        return [
            case.id in queries.may_see_answer(actor=actor, case_ids=[case.id])
            for actor in (clinician, colleague, reader, people.clinician())
        ]

    site = clinician.sites[0]
    colleague = people.clinician(site)
    reader = people.user(Role.REVIEWER, sites=[site])
    assert seen() == [True, True, True, False]
    ask_own_impression_first(actor=None, site=site, is_asked=True)
    assert seen() == [False, False, False, False]
    with pytest.raises(Conflict, match="impression_first"):
        sign(clinician, case)
    services.save_impression(actor=clinician, case=case, finding_id=None)
    assert seen() == [True, False, False, False]
    sign(clinician, case)
    assert seen() == [True, True, False, False]
    services.second_read(actor=reader, case=case, finding_id=None, comment="", shown="1")
    assert seen() == [True, True, True, False]
