"""The German catalogue says all that code, templates and bundles say, and is compiled."""

import ast
import datetime as dt
import io
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask import Flask
from flask_babel import force_locale
from flask_login import LoginManager

from webapp import rendering
from webapp.catalogue.wording import translated
from webapp.config import REPOSITORY
from webapp.registry.facts import share

MOMENT = dt.datetime(2026, 3, 5, 14, 7, 9, tzinfo=dt.UTC)
GERMAN = REPOSITORY / "webapp/translations/de/LC_MESSAGES/messages.po"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%|\{\w*\}")
FUNCTIONS = {"_": None, "_l": None, "gettext": None, "lazy_gettext": None, "ngettext": (1, 2)}


def texts_in_use() -> Catalog:
    """What `make translations` would take up."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["babel"]
    mappings = [dict(mapping) for mapping in settings["mappings"]]
    methods = [(mapping.pop("pattern"), mapping.pop("method")) for mapping in mappings]
    options = {pattern: mapping for (pattern, _), mapping in zip(methods, mappings, strict=True)}
    catalog = Catalog()
    for _file, _line, text, _comments, _context in extract_from_dir(
        REPOSITORY, methods, options, FUNCTIONS
    ):
        catalog.add(text)
    return catalog


def german() -> Catalog:
    with GERMAN.open("rb") as file:
        return read_po(file, locale="de")


def placeholders(text: str) -> list[str]:
    return sorted(set(PLACEHOLDER.findall(text)))


def as_tuple(texts: str | tuple[str, ...]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def fault(wanted: Message, there: Message | None) -> str:
    """What is wrong with a translation; empty if nothing is."""
    if there is None or not all(as_tuple(there.string)):
        return "not translated"
    if there.fuzzy:
        return "fuzzy"
    if len(as_tuple(there.string)) != len(as_tuple(wanted.id)):
        return "singular and plural differ"
    meant = placeholders(as_tuple(wanted.id)[-1])
    if any(placeholders(text) != meant for text in as_tuple(there.string)):
        return "other placeholders"
    return ""


def test_every_text_has_its_german() -> None:
    wanted, there = texts_in_use(), german()
    faults = {message.id: fault(message, there.get(message.id)) for message in wanted if message.id}
    faults |= {m.id: "in use no more" for m in there if m.id and m.id not in wanted}
    assert {text: said for text, said in faults.items() if said} == {}, "run `make translations`"


def said_by(catalog: Catalog) -> dict[str, str | tuple[str, ...]]:
    return {str(message.id): message.string for message in catalog if message.id}


def test_the_compiled_catalogue_is_of_today() -> None:
    compiled = io.BytesIO()
    write_mo(compiled, german())
    compiled.seek(0)
    with GERMAN.with_suffix(".mo").open("rb") as file:
        kept = read_mo(file)
    assert said_by(kept) == said_by(read_mo(compiled)), "run `make translations`"


def calls_in_f_strings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            calls = (part for part in ast.walk(node) if isinstance(part, ast.Call))
            if any(isinstance(c.func, ast.Name) and c.func.id in FUNCTIONS for c in calls):
                yield f"{file.relative_to(REPOSITORY)}:{node.lineno}"


def test_no_text_stands_where_babel_does_not_look() -> None:
    """It reads no f-strings: a text in one would stay English, and nothing would say so."""
    files = (REPOSITORY / "webapp").rglob("*.py")
    assert [place for file in files for place in calls_in_f_strings(file)] == []


@pytest.fixture
def page() -> Flask:
    """An application with nothing but the rendering."""
    app = Flask("webapp", root_path=str(REPOSITORY / "webapp"))
    LoginManager(app).request_loader(lambda _request: None)
    rendering.init_app(app)
    return app


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("fr, de;q=0.5, en;q=0.4", "de"),
        ("fr", "en"),
        ("en-GB, de;q=0.9", "en"),
    ],
)
def test_the_language_is_what_the_browser_likes_best(
    page: Flask, asked: str, language: str
) -> None:
    with page.test_request_context(headers={"Accept-Language": asked}):
        assert rendering.chosen_language() == language


def test_terms_of_bundles_are_translated_and_those_of_others_stay(page: Flask) -> None:
    with page.test_request_context(), force_locale("de"):
        assert translated("Melanoma") == "Melanom"
        assert translated("Written by hand, 100 %") == "Written by hand, 100 %"
        assert translated("") == ""


def test_numbers_and_days_are_written_as_germans_do(page: Flask) -> None:
    with page.test_request_context(), force_locale("de"):
        assert rendering.day(MOMENT) == "5. März 2026"
        assert rendering.exact_moment(MOMENT) == "5. März 2026, 14:07:09 UTC"
        assert rendering.seconds(1234) == "1,2\N{NO-BREAK SPACE}s"
        assert share(0.9757) == "97,6\N{NO-BREAK SPACE}%"
        assert share(0.9999) == "> 99,9\N{NO-BREAK SPACE}%"
