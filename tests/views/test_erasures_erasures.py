"""GET /erasures: who was erased."""

from tests.conftest import Browser


def test_it_begins_with_nobody(office: Browser) -> None:
    page = office.get("/erasures").text
    assert "Nobody was erased yet." in page
    assert "erased by themselves" not in page


def test_nobody_else_may(nobody: Browser, desk: Browser) -> None:
    assert nobody.get("/erasures").location == "/sign-in?next=/erasures"
    assert desk.get("/erasures").status_code == 403
