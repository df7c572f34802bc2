import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser, People
from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.permissions import Role

WHO = {"identifier": "A"}


def ask(browser: Browser, question: Any, *, token: bool = True) -> Any:
    headers = {"Accept": "application/json"}
    if token:
        headers["X-CSRFToken"] = browser.csrf_token()
    return browser.client.post("/cases/check-images", json=question, headers=headers)


def question(case: Case, identifier: str = "A-2", **changes: Any) -> dict[str, Any]:
    sha256s = [case.images[0].original_sha256, "0" * 64]
    asked = {"sha256s": sha256s, "site_id": case.site_id, "identifier": identifier}
    return asked | changes


def test_it_names_the_images_that_are_filed_for_someone_else(desk: Browser, case: Case) -> None:
    answer = ask(desk, question(case))
    assert answer.status_code == 200
    (warning,) = answer.json["warnings"]
    assert warning["sha256"] == case.images[0].original_sha256
    assert warning["sentence"] == (
        f"This image is already filed for another patient: A-1, case {case.id}."
    )


def test_the_same_patient_is_no_reason_to_warn(desk: Browser, case: Case) -> None:
    assert ask(desk, question(case, " A-1 ")).json == {"warnings": []}


def test_the_only_site_need_not_be_named(desk: Browser, case: Case) -> None:
    assert ask(desk, question(case, "A-1", site_id=None)).json == {"warnings": []}


def test_a_patient_of_the_same_name_at_another_site_is_someone_else(
    app: Flask, browse: type, people: People, clinician: User, case: Case
) -> None:
    with app.app_context():
        other = people.site()
        both = people.user(Role.CLINICIAN, sites=[*clinician.sites, other])
    browser = browse().sign_in(both)
    assert ask(browser, question(case, "A-1")).json == {"warnings": []}
    assert len(ask(browser, question(case, "A-1", site_id=other.id)).json["warnings"]) == 1


def test_nothing_is_told_of_other_sites(
    app: Flask, desk: Browser, people: People, case: Case
) -> None:
    data = clinic.picture()
    with app.app_context():
        clinic.send(people.clinician(), pictures=[data])
    sha256 = hashlib.sha256(data).hexdigest()
    assert ask(desk, question(case, sha256s=[sha256])).json == {"warnings": []}


@pytest.mark.parametrize(
    "bad",
    [
        [],
        "text",
        {},
        {"sha256s": []},
        {"sha256s": []} | WHO,
        {"sha256s": {}, "site_id": 1} | WHO,
        {"sha256s": 5, "site_id": 1} | WHO,
        {"sha256s": None, "site_id": 1} | WHO,
        {"sha256s": "a", "site_id": 1} | WHO,
        {"sha256s": [], "site_id": 1, "identifier": 5},
        {"sha256s": [], "site_id": 1, "identifier": None},
        {"sha256s": [], "site_id": 1, "identifier": ["A"]},
        *({"sha256s": [], "site_id": bad} | WHO for bad in ("1", 1.5, [1], {"1": 1}, {})),
        [{"sha256s": [], "site_id": 1} | WHO],
        7,
    ],
)
def test_what_is_no_question_is_refused(app: Flask, browse: type, people: People, bad: Any) -> None:
    with app.app_context():
        both = people.user(Role.CLINICIAN, sites=[people.site(), people.site()])
    assert ask(browse().sign_in(both), bad).status_code == 422


@pytest.mark.parametrize(
    "body", ["[" * 100_000, "nonsense", "null", "", '{"a": ' + "9" * 5000 + "}"]
)
def test_what_cannot_be_read_is_refused(desk: Browser, body: str) -> None:
    headers = {"X-CSRFToken": desk.csrf_token(), "Accept": "application/json"}
    answer = desk.client.post(
        "/cases/check-images", data=body, headers=headers, content_type="application/json"
    )
    assert answer.status_code in (400, 422)


def test_no_more_is_looked_up_than_a_case_can_have(desk: Browser, case: Case) -> None:
    many = [f"{number:064x}" for number in range(5000)]
    mine = case.images[0].original_sha256
    assert ask(desk, question(case, sha256s=[*many, mine])).json == {"warnings": []}
    nothing = [1, None, [], {}, True, "A" * 64]
    assert len(ask(desk, question(case, sha256s=[*nothing, mine])).json["warnings"]) == 1


def test_what_was_shown_of_others_is_on_record(
    desk: Browser,
    clinician: User,
    case: Case,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    ask(desk, question(case, "A-1"))
    assert record("duplicates.shown") == []
    ask(desk, question(case))
    (event,) = record("duplicates.shown")
    assert (event["actor_id"], event["detail"]) == (clinician.id, {"count": 1})


@pytest.mark.parametrize("changes", [{"sha256s": ["x\0", "\ud800"]}, {"identifier": "\0\ud800"}])
def test_what_can_match_nothing_matches_nothing(
    desk: Browser, case: Case, changes: dict[str, Any]
) -> None:
    assert ask(desk, question(case) | {"sha256s": ["1" * 64]} | changes).json == {"warnings": []}


def test_a_site_of_others_is_not_there(
    app: Flask, browse: type, people: People, case: Case
) -> None:
    with app.app_context():
        both = people.user(Role.CLINICIAN, sites=[people.site(), people.site()])
    browser = browse().sign_in(both)
    for site_id in (case.site_id, 10**30, None, -1):
        assert ask(browser, question(case, site_id=site_id)).status_code == 404


def test_who_is_not_signed_in_is_told(nobody: Browser, case: Case) -> None:
    assert ask(nobody, question(case)).status_code == 401


def test_an_administrator_may_not(office: Browser, case: Case) -> None:
    assert ask(office, question(case)).status_code == 403


def test_a_question_of_another_site_is_refused(desk: Browser, case: Case) -> None:
    assert ask(desk, question(case), token=False).status_code == 400
