"""Filters, asset addresses, the theme, and the pace of polling."""

import datetime as dt
import re
from pathlib import Path

import pytest
from flask import Flask, render_template_string
from flask_login import LoginManager
from jinja2 import DictLoader, UndefinedError

from webapp import imaging, rendering
from webapp.db import now

MOMENT = dt.datetime(2026, 3, 5, 14, 7, 9, tzinfo=dt.UTC)


@pytest.fixture
def page(tmp_path: Path) -> Flask:
    """An application with nothing but the rendering, and one asset."""
    static = tmp_path / "static"
    static.mkdir()
    (static / "page.css").write_text("a {}")
    app = Flask(__name__, static_folder=str(static))
    # The language is the user's, and nobody is signed in.
    LoginManager(app).request_loader(lambda _request: None)
    rendering.init_app(app)
    return app


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (dt.timedelta(seconds=-2), "just now"),  # a clock that runs a little behind
        (dt.timedelta(seconds=3), "just now"),
        (dt.timedelta(minutes=3), "3 minutes ago"),
        (dt.timedelta(hours=5), "5 hours ago"),
        (dt.timedelta(days=6), "6 days ago"),
        (dt.timedelta(hours=-4), "in 4 hours"),
        (dt.timedelta(days=-3), "in 3 days"),
    ],
)
def test_a_near_moment_is_told_by_how_far_it_is(page: Flask, ago: dt.timedelta, words: str) -> None:
    with page.test_request_context():
        assert f">{words}</time>" in rendering.when(now() - ago)


def test_an_older_moment_is_told_by_its_day(page: Flask) -> None:
    with page.test_request_context():
        assert f">{MOMENT.day} Mar 2026</time>" in rendering.when(MOMENT)


def test_every_time_has_its_exact_moment_on_hover(page: Flask) -> None:
    east = MOMENT.astimezone(dt.timezone(dt.timedelta(hours=8)))
    with page.test_request_context():
        for html in (rendering.when(east), rendering.moment(east)):
            assert 'datetime="2026-03-05T14:07:09+00:00"' in html
            assert 'title="5 Mar 2026, 14:07:09 UTC"' in html


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.0, "0 %"),
        (0.004, "< 1 %"),
        (0.982, "98 %"),
        (0.9949, "99 %"),
        (0.9951, "> 99 %"),
        (1.0, "100 %"),
    ],
)
def test_a_probability_is_never_rounded_to_certainty(probability: float, words: str) -> None:
    assert rendering.percent(probability) == words.replace(" %", "\N{NO-BREAK SPACE}%")


@pytest.mark.parametrize(("milliseconds", "words"), [(23.4, "23 ms"), (1540.0, "1.5 s")])
def test_a_duration_has_the_unit_that_reads_best(milliseconds: float, words: str) -> None:
    assert rendering.seconds(milliseconds) == words.replace(" ", "\N{NO-BREAK SPACE}")


def test_how_sure_a_model_is_falls_with_its_probability(page: Flask) -> None:
    with page.test_request_context():
        words = [rendering.sureness(p) for p in (0.99, 0.95, 0.9, 0.7, 0.3)]
    assert words[0] == words[1]
    assert len(set(words)) == 4


def test_an_abstention_is_told_in_words_also_for_a_reason_that_is_new(page: Flask) -> None:
    with page.test_request_context():
        assert "next to no contrast" in rendering.abstention("blank", "skin")
        assert "(smudged)" in rendering.abstention("smudged", "skin")


def test_what_was_expected_is_told_where_another_kind_of_image_was_sent(page: Flask) -> None:
    with page.test_request_context():
        assert rendering.abstention("unfamiliar", "Skin.").endswith(" Expected: Skin.")
        assert "Expected" not in rendering.abstention("unfamiliar", "")
        assert "Expected" not in rendering.abstention("blank", "Skin.")


@pytest.mark.parametrize(
    ("positions", "words"), [([2], "3"), ([0, 2], "1 and 3"), ([0, 1, 3], "1, 2, and 4")]
)
def test_images_are_numbered_from_one(page: Flask, positions: list[int], words: str) -> None:
    with page.test_request_context():
        assert rendering.image_numbers(positions) == words


def test_every_reason_of_the_gates_has_words(page: Flask) -> None:
    gates = Path(rendering.__file__).parents[1] / "ml" / "gates.py"
    codes = set(re.findall(r'^    [A-Z_]+ = "([a-z_]+)"$', gates.read_text(), re.MULTILINE))
    codes.remove("unreadable")  # of folder predictions; a case that cannot be read fails
    assert codes
    with page.test_request_context():
        for code in codes:
            assert f"({code})" not in rendering.abstention(code, "")


@pytest.mark.parametrize("notice", imaging.Notice)
def test_a_notice_is_told_in_words(page: Flask, notice: imaging.Notice) -> None:
    with page.test_request_context():
        assert rendering.notice(str(notice)).endswith(".")


@pytest.mark.parametrize(
    ("age", "pace"),
    [
        (dt.timedelta(seconds=1), "1s"),
        (dt.timedelta(minutes=2), "3s"),
        (dt.timedelta(hours=2), "15s"),
    ],
)
def test_polling_slows_down_the_longer_something_waits(age: dt.timedelta, pace: str) -> None:
    assert rendering.poll_pace(now() - age) == pace


def test_a_fragment_is_kept_by_no_cache(page: Flask) -> None:
    page.jinja_env.loader = DictLoader({"part.html": "{{ word }}"})
    with page.test_request_context():
        response = rendering.fragment("part.html", word="here")
    assert response.get_data(as_text=True) == "here"
    assert response.headers["Cache-Control"] == "no-store"


def test_the_address_of_an_asset_changes_with_its_content(page: Flask) -> None:
    client = page.test_client()
    with page.test_request_context():
        first = rendering.asset("page.css")
        Path(page.static_folder or "", "page.css").write_text("b { color: red }")
        second = rendering.asset("page.css")
    assert first != second
    assert "immutable" in client.get(second).headers["Cache-Control"]
    assert client.get("/static/page.css").headers["Cache-Control"] == "no-cache"


def test_an_asset_that_is_missing_is_an_error(page: Flask) -> None:
    with page.test_request_context(), pytest.raises(FileNotFoundError):
        rendering.asset("missing.css")


@pytest.mark.parametrize(
    ("cookie", "theme"), [("dark", "dark"), ("light", "light"), ("", ""), ('"><script>', "")]
)
def test_only_a_theme_that_exists_reaches_the_page(page: Flask, cookie: str, theme: str) -> None:
    with page.test_request_context(headers={"Cookie": f"theme={cookie}"}):
        assert rendering.chosen_theme() == theme


def test_a_name_that_a_template_does_not_know_is_an_error(page: Flask) -> None:
    with page.test_request_context(), pytest.raises(UndefinedError):
        render_template_string("{{ probabilty }}")


def test_a_licence_without_a_name_of_spdx_is_said_in_words(page: Flask) -> None:
    with page.test_request_context():
        assert rendering.licence("LicenseRef-research-only") == "research only"
        assert rendering.licence("CC-BY-4.0") == "CC-BY-4.0"
