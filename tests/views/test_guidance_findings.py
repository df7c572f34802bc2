"""GET /findings."""

from flask import Flask

from tests import clinic
from tests.conftest import Browser


def test_everyone_sees_what_can_be_found(app: Flask, desk: Browser, office: Browser) -> None:
    for browser in (desk, office):
        page = browser.get("/findings").get_data(as_text=True)
        for part in ("Test-Task", "Grave", "grave it is", "Not a tumour", "Immediately"):
            assert part in page
        assert page.count('href="/findings/') == 3
        assert 'href="/findings" aria-current="page"' in page


def test_it_says_so_where_nothing_can_be_found(office: Browser) -> None:
    assert "Nothing can be found yet" in office.get("/findings").get_data(as_text=True)


def test_a_page_takes_the_same_few_statements(app: Flask, office: Browser) -> None:
    counts = []
    for task in ("blood", "skin"):
        with app.app_context():
            clinic.serve(task)
            counts.append(clinic.count_statements(lambda: office.get("/findings")))
    assert len(set(counts)) == 1


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/findings").location == "/sign-in?next=/findings"
