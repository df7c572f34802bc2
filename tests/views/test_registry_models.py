"""GET /models."""

import json
from collections.abc import Callable

from flask import Flask

from tests import clinic, factories
from tests.conftest import Browser, People
from tests.demo import newest_bundle
from webapp.db import db

FIGURES = {"accuracy": {"value": 0.9953, "interval": [0.9883, 1.0]}}


def shown(browser: Browser) -> str:
    answer = browser.get("/models")
    assert answer.status_code == 200
    return str(answer.get_data(as_text=True))


def test_it_lists_the_versions_of_each_reading_task_with_the_one_that_serves(
    app: Flask, office: Browser
) -> None:
    with app.app_context():
        first = factories.serving_model(task="blood", version="1.0.0")
        first.manifest = first.manifest | {"training": {"figures": FIGURES}}
        factories.serving_model(task="blood", version="1.1.0")
        factories.serving_model(task="skin", version="7.0.0")
        db.session.commit()
        number, sha256 = first.id, first.bundle_sha256
    page = shown(office)
    blood, skin = page.partition('id="task-')[2].split('id="task-')
    assert "Blood" in blood
    assert "Skin" in skin
    assert blood.count("Serves now") == skin.count("Serves now") == 1
    assert blood.index("Version 1.0.0") < blood.index("Serves now") < blood.index("Version 1.1.0")
    assert "Does not serve" in blood
    assert "Version 7.0.0" in skin
    assert f'href="/models/{number}"' in blood
    assert f">{sha256[:12]}<" in blood
    assert "99.5\N{NO-BREAK SPACE}%" in blood
    assert "95 % interval 98.8\N{NO-BREAK SPACE}% to 100.0\N{NO-BREAK SPACE}%" in blood
    assert "not stated" in skin


def test_what_is_quoted_first_stands_in_the_place_of_the_accuracy(
    app: Flask, office: Browser
) -> None:
    """Chest CT is quoted on collections that it has not met, in the list and on its page."""
    shipped = json.loads((newest_bundle("chest-ct") / "bundle.json").read_text())
    with app.app_context():
        version = factories.serving_model(task="chest")
        version.manifest = version.manifest | {"training": shipped["training"]}
        db.session.commit()
        number = version.id
    quoted, tested = "42.5\N{NO-BREAK SPACE}%", "67.9\N{NO-BREAK SPACE}%"
    listed, page = shown(office), office.get(f"/models/{number}").get_data(as_text=True)
    for text in (listed, page):
        assert "On collections that it has not met" in text
        assert "95 % interval 36.6\N{NO-BREAK SPACE}% to 48.2\N{NO-BREAK SPACE}%" in text
    assert quoted in listed
    assert tested not in listed
    assert page.index("3,134 images") < page.index(quoted) < page.index(tested)


def test_it_says_so_where_nothing_is_installed(office: Browser) -> None:
    assert "No model is installed" in shown(office)


def test_a_page_takes_the_same_few_statements(app: Flask, office: Browser) -> None:
    counts = []
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        with app.app_context():
            for task in ("blood", f"skin {version}"):
                factories.serving_model(task=task, version=version)
            counts.append(clinic.count_statements(lambda: shown(office)))
    assert len(set(counts)) == 1


def test_a_clinician_sees_them_as_well(app: Flask, desk: Browser) -> None:
    assert "Serves now" in shown(desk)
    for path in ("/cases", "/models"):
        assert 'href="/models"' in desk.get(path).get_data(as_text=True)


def test_who_is_not_signed_in_is_asked_to(nobody: Browser) -> None:
    assert nobody.get("/models").location == "/sign-in?next=/models"


def test_a_user_without_a_role_that_may_is_refused(
    app: Flask, people: People, browse: Callable[[], Browser]
) -> None:
    with app.app_context():
        user = people.user()
        factories.serving_model()
    answer = browse().sign_in(user).get("/models")
    assert answer.status_code == 403
    assert "Version 1.0.0" not in answer.get_data(as_text=True)
