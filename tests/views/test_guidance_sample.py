"""GET /samples/<id>."""

import pytest
from flask import Flask

from tests import clinic
from tests.conftest import Browser
from webapp import storage
from webapp.registry.queries import samples_of
from webapp.registry.services import NewSample, add_samples

PICTURE = clinic.picture(seed=1)


@pytest.fixture
def path(app: Flask) -> str:
    with app.app_context():
        version = clinic.serve()
        sample = NewSample(
            name="grave.png",
            finding="grave",
            image_sha256=storage.put(PICTURE),
            media_type="image/png",
            source="Drawn by hand, CC0 1.0, https://example.org/grave",
        )
        add_samples(version=version, samples=[sample])
        add_samples(version=version, samples=[sample])
        (kept,) = samples_of(version)
        return f"/samples/{kept.id}"


def test_everyone_sees_it_on_the_page_of_its_finding_with_its_licence(
    app: Flask, office: Browser, path: str
) -> None:
    answer = office.get(path)
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "image/png", PICTURE)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert office.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    with app.app_context():
        numbers = {f.code: f.id for f in clinic.serve().reading_task.findings}
    page = office.get(f"/findings/{numbers['grave']}").get_data(as_text=True)
    assert f'src="{path}"' in page
    assert "Drawn by hand, CC0 1.0" in page
    assert 'href="https://example.org/grave"' in page
    other = office.get(f"/findings/{numbers['calm']}").get_data(as_text=True)
    assert "There is no sample picture" in other


def test_who_is_not_signed_in_is_asked_to(nobody: Browser, path: str) -> None:
    assert nobody.get(path).location.startswith("/sign-in")


@pytest.mark.parametrize("number", ["0", "999999", "x"])
def test_a_number_that_no_sample_has_is_not_there(office: Browser, number: str) -> None:
    assert office.get(f"/samples/{number}").status_code == 404
