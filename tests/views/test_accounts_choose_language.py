"""POST /account/language."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from pypdf import PdfReader

from tests.conftest import Browser
from webapp.accounts.models import User
from webapp.cases.models import Case

PATH = "/account/language"
IN_GERMAN = {"Accept-Language": "de-CH, de;q=0.9, en;q=0.5"}


def test_pages_are_in_the_language_that_was_chosen(
    desk: Browser, clinician: User, record: Callable[..., list[dict[str, Any]]]
) -> None:
    answer = desk.post(PATH, {"language": "de"})
    assert (answer.status_code, answer.location) == (303, "/account")
    page = desk.get("/account").text
    assert '<html lang="de"' in page
    assert "Gespeichert." in page
    assert "Passwort ändern" in page
    desk.post(PATH, {"language": "de"})
    desk.post(PATH, {"language": ""})
    assert '<html lang="en"' in desk.get("/account").text
    chosen = record("account.language_changed")
    assert [event["detail"] for event in chosen] == [{"language": "de"}, {"language": None}]
    assert {event["actor_id"] for event in chosen} == {clinician.id}


def test_what_was_chosen_counts_more_than_the_browser(desk: Browser) -> None:
    desk.post(PATH, {"language": "en"})
    assert '<html lang="en"' in desk.get("/account", headers=IN_GERMAN).text


def test_whoever_has_not_chosen_is_spoken_to_as_the_browser_asks(
    desk: Browser, nobody: Browser
) -> None:
    door = nobody.get("/sign-in", headers=IN_GERMAN).text
    assert '<html lang="de"' in door
    assert "Kein Konto oder Passwort vergessen?" in door
    assert "Nicht gefunden" in desk.get("/nowhere", headers=IN_GERMAN).text


def test_worklist_case_and_report_are_in_german(desk: Browser, case: Case, read: Any) -> None:
    desk.post(PATH, {"language": "de"})
    worklist = desk.get("/cases").text
    for words in ("Arbeitsliste", "Dringlichkeit", "fällig", "1 Fall"):
        assert words in worklist
    page = desk.get(f"/cases/{case.id}").text
    for words in (
        "Was gesandt wurde",
        "Entscheidung",
        "Zustimmung",
        "es entscheidet die ärztliche",
    ):
        assert words in page
    for words in ("Worklist", "Decision", "ago", "Submitted"):
        assert words not in page
    report = PdfReader(io.BytesIO(desk.get(f"/cases/{case.id}/report.pdf").data))
    assert f"Bericht zu Fall {case.id}" in report.pages[0].extract_text()


@pytest.mark.parametrize("bad", [{}, {"language": "tlh"}])
def test_what_names_no_language_changes_nothing(desk: Browser, bad: dict[str, str]) -> None:
    assert desk.post(PATH, bad).status_code == 422
    assert '<html lang="en"' in desk.get("/account").text


def test_nobody_is_sent_to_sign_in(nobody: Browser) -> None:
    assert nobody.post(PATH, {"language": "de"}).location == "/sign-in"


def test_it_needs_the_csrf_token(app: Flask, desk: Browser) -> None:
    assert desk.client.post(PATH, data={"language": "de"}).status_code == 400


def test_the_pages_of_administrators_are_named_in_the_language_of_each(office: Browser) -> None:
    assert "Queue and workers" in office.get("/users").text
    assert "Warteschlange" in office.get("/users", headers=IN_GERMAN).text
