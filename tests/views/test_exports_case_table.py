import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp.accounts.models import Site, User
from webapp.cases.models import Case
from webapp.db import db
from webapp.exports import views
from webapp.exports.table import COLUMNS, harmless


def rows_of(answer: Any) -> list[dict[str, str]]:
    table = csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig")))
    assert tuple(table.fieldnames or ()) == COLUMNS
    return list(table)


def test_it_has_the_cases_of_the_list(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "grave")
        other = clinic.send(clinician, identifier="B-2")
    answer = desk.get("/cases.csv")
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="cases-')
    read, waiting = rows_of(answer)
    assert (read["case"], read["patient"], read["finding"]) == (str(case.id), "A-1", "grave")
    assert (read["probability"], read["state"], read["decision"]) == ("0.9000", "completed", "")
    assert (waiting["case"], waiting["finding"]) == (str(other.id), "")
    for row in (read, waiting):
        assert "supports a decision and never makes one" in row["disclaimer"]


def test_it_tells_what_is_worse_than_the_answer_and_over_its_mark(
    app: Flask, desk: Browser, clinician: User, case: Case
) -> None:
    with app.app_context():
        clinic.read(case, "calm", supported=("calm", "grave"))
        clinic.read(clinic.send(clinician), "calm")
    also, nothing = rows_of(desk.get("/cases.csv"))
    assert (also["finding"], also["also_finding"], also["also_probability"]) == (
        "calm",
        "grave",
        "0.0500",
    )
    assert (nothing["also_finding"], nothing["also_probability"]) == ("", "")


def test_before_an_own_impression_it_tells_no_answer(app: Flask, desk: Browser, case: Case) -> None:
    with app.app_context():
        clinic.read(case, supported=("grave",))
        db.session.get_one(Site, case.site_id).own_impression_first = True
        db.session.commit()
    (row,) = rows_of(desk.get("/cases.csv"))
    assert (row["state"], row["finding"], row["probability"]) == ("ready", "", "")
    assert (row["also_finding"], row["also_probability"]) == ("", "")
    assert row["priority"] == "stat"


def test_it_is_filtered_as_the_list_is(app: Flask, desk: Browser, clinician: User) -> None:
    with app.app_context():
        clinic.send(clinician, identifier="A-1")
        clinic.send(clinician, identifier="B-2")
    assert [row["patient"] for row in rows_of(desk.get("/cases.csv?identifier=B"))] == ["B-2"]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_run_by_a_spreadsheet(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


def test_an_identifier_that_is_a_formula_is_text(
    app: Flask, desk: Browser, clinician: User
) -> None:
    with app.app_context():
        clinic.send(clinician, identifier="=HYPERLINK(1)")
    (row,) = rows_of(desk.get("/cases.csv"))
    assert row["patient"] == "'=HYPERLINK(1)"


def test_too_many_are_refused_rather_than_cut(
    app: Flask,
    desk: Browser,
    clinician: User,
    monkeypatch: pytest.MonkeyPatch,
    record: Callable[..., list[dict[str, Any]]],
) -> None:
    monkeypatch.setattr(views, "MAX_CASES", 1)
    with app.app_context():
        clinic.send(clinician, identifier="A-1")
        clinic.send(clinician, identifier="A-2")
    answer = desk.get("/cases.csv?identifier=A")
    assert answer.status_code == 303
    assert "identifier=A" in answer.location
    assert "more than 1 cases" in desk.get(answer.location).get_data(as_text=True)
    assert record("case.exported") == []


def test_taking_it_out_is_on_record(
    desk: Browser, clinician: User, case: Case, record: Callable[..., list[dict[str, Any]]]
) -> None:
    desk.get("/cases.csv")
    (event,) = record("case.exported")
    assert (event["actor_id"], event["detail"]["count"]) == (clinician.id, 1)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/cases.csv").location.startswith("/sign-in")


def test_an_administrator_sees_no_patients(office: Browser) -> None:
    assert office.get("/cases.csv").status_code == 403


def test_what_is_of_others_is_not_in_it(stranger: Browser, case: Case) -> None:
    assert rows_of(stranger.get("/cases.csv")) == []
