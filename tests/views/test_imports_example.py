from tests.conftest import Browser
from webapp.imports.reading import read_table


def test_the_example_is_a_table_that_can_be_read(desk: Browser) -> None:
    answer = desk.get("/imports/example.csv")
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = read_table(answer.data)
    assert [row.values["file"] for row in rows] == [
        "one.jpg",
        "two-a.png|two-b.png",
        "folder/three.dcm",
    ]
    assert {row.values["reading_task"] for row in rows} == {"test-task"}


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/imports/example.csv").location.startswith("/sign-in")


def test_an_administrator_may_not(office: Browser) -> None:
    assert office.get("/imports/example.csv").status_code == 403
