"""Cases that show how Firstlook works."""

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import People
from webapp import queue
from webapp.accounts.models import Site, User
from webapp.assessments.queries import current_assessment
from webapp.db import db
from webapp.errors import Conflict, Invalid, NotFound
from webapp.reviews.models import Decision
from webapp.reviews.queries import latest_reviews
from webapp.reviews.services import void_demonstration
from webapp.triage import demonstration
from webapp.triage.filters import Filters, Scope
from webapp.triage.queries import worklist


@pytest.fixture
def clinician(core: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    clinic.bring_samples(clinic.serve())
    return people.clinician()


@pytest.fixture
def site(clinician: User) -> Site:
    return clinician.sites[0]


def test_the_gravest_and_the_most_harmless_are_sent_and_marked(clinician: User, site: Site) -> None:
    calm, grave = demonstration.add(actor=clinician, site=site)
    assert calm.patient.identifier.startswith("DEMO test-task ")
    assert (grave.age_at_acquisition_years, grave.patient.sex, grave.body_site) == (
        55,
        "male",
        "back",
    )
    assert "Drawn, CC0 1.0" in grave.note
    assert calm.is_demonstration
    assert grave.is_demonstration
    assert current_assessment(grave) is not None
    assert not clinic.send(clinician).is_demonstration
    assert demonstration.waiting(site.id) == [calm.id, grave.id]


def test_they_are_there_once_and_can_come_again(clinician: User, site: Site) -> None:
    demonstration.add(actor=clinician, site=site)
    with pytest.raises(Conflict, match="demonstration_there"):
        demonstration.add(actor=clinician, site=site)
    assert demonstration.remove(actor=clinician, site=site) == 2
    assert demonstration.remove(actor=clinician, site=site) == 0
    assert len(demonstration.add(actor=clinician, site=site)) == 2


def test_removed_they_are_void_signed_or_not_and_nothing_else_is(
    clinician: User, site: Site
) -> None:
    own = clinic.send(clinician)
    cases = demonstration.add(actor=clinician, site=site)
    clinic.read(cases[1], "grave")
    site.own_impression_first = True  # nobody has saved one
    db.session.commit()
    assert demonstration.remove(actor=clinician, site=site) == 2
    reviews = latest_reviews([case.id for case in (own, *cases)])
    assert {reviews[case.id].decision for case in cases} == {Decision.VOID}
    assert own.id not in reviews
    open_rows = worklist(actor=clinician, filters=Filters()).items
    assert [row.case.id for row in open_rows] == [own.id]
    assert len(worklist(actor=clinician, filters=Filters(scope=Scope.ALL)).items) == 3
    assert len(clinic.recorded("case.voided")) == 2


def test_only_a_demonstration_is_voided_like_that(clinician: User) -> None:
    with pytest.raises(Invalid, match="not_a_demonstration"):
        void_demonstration(actor=clinician, case=clinic.send(clinician), reason="for tests")


def test_without_pictures_there_is_nothing_to_show(core: Flask, people: People) -> None:
    clinic.serve()
    clinician = people.clinician()
    with pytest.raises(Conflict, match="no_samples"):
        demonstration.add(actor=clinician, site=clinician.sites[0])


def test_a_site_of_others_is_not_there(clinician: User, people: People) -> None:
    site = people.site()
    with pytest.raises(NotFound):
        demonstration.add(actor=clinician, site=site)
