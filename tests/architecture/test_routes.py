"""Every route names who may use it, and has a file of tests in which nobody signed in asks."""

import ast
import inspect
import re
from pathlib import Path

from flask import Flask

from webapp.config import REPOSITORY
from webapp.permissions import Permission

PACKAGE = REPOSITORY / "webapp"

RULES = {"public", "signed_in", *Permission}
VIEWS = Path(__file__).parents[1] / "views"
ASKED_BY_NOBODY = {"nobody", "turned_away", "programs_refused"}
"""Fixtures of which a test has one if nobody is signed in when it asks."""


def test_every_route_has_a_rule(app: Flask) -> None:
    missing = [
        str(route)
        for route in app.url_map.iter_rules()
        if getattr(app.view_functions[route.endpoint], "rule", None) not in RULES
        and route.endpoint != "static"
    ]
    assert not missing


def test_only_these_routes_are_public(app: Flask) -> None:
    public = {
        endpoint
        for endpoint, view in app.view_functions.items()
        if getattr(view, "rule", None) == "public"
    }
    assert public == {
        "accounts.sign_in",
        "api.openapi",
        "healthz",
        "monitoring.metrics",  # asks for a token by itself, or to be asked from this machine
        "monitoring.readyz",
    }


def test_a_view_that_changes_something_is_not_reached_by_get(app: Flask) -> None:
    changing = ("submit", "retry", "correct", "disable", "enable", "reset", "sign_out")
    changing += ("void", "assign", "save", "record", "move_", "again", "request")
    wrong = [
        str(route)
        for route in app.url_map.iter_rules()
        if any(word in route.endpoint for word in changing) and "GET" in (route.methods or ())
    ]
    assert not wrong


def test_every_endpoint_has_its_file_in_which_nobody_asks(app: Flask) -> None:
    wrong = {}
    for endpoint, view in app.view_functions.items():
        file = VIEWS / f"test_{endpoint.replace('.', '_')}.py"
        if endpoint == "static":
            continue
        if not file.is_file():
            wrong[endpoint] = "no file"
        elif getattr(view, "rule", None) != "public" and not fixtures_of(file) & ASKED_BY_NOBODY:
            wrong[endpoint] = "nobody asks"
    assert not wrong


def fixtures_of(file: Path) -> set[str]:
    """What the tests of a file ask for."""
    return {
        argument.arg
        for item in ast.parse(file.read_text()).body
        if isinstance(item, ast.FunctionDef) and item.name.startswith("test_")
        for argument in item.args.args
    }


NOTHING_OF_ANYBODY = {"bundles.report_content", "imports.example"}
"""Downloads of what every user may know: figures of a model, a table of nobody."""


def test_what_is_taken_out_is_put_on_record(app: Flask) -> None:
    makers = {
        name
        for view in app.view_functions.values()
        for name, one in inspect.getmembers(inspect.getmodule(inspect.unwrap(view)))
        if inspect.isfunction(one) and "attachment" in inspect.getsource(one)
    }
    sources = {name: inspect.getsource(view) for name, view in app.view_functions.items()}
    downloads = {
        endpoint: source
        for endpoint, source in sources.items()
        if "attachment" in source or makers.intersection(re.findall(r"\w+(?=\()", source))
    }
    assert "exports.case_table" in downloads  # calls what makes it
    unrecorded = {name for name, source in downloads.items() if "record_look(" not in source}
    assert unrecorded == NOTHING_OF_ANYBODY


def test_only_views_make_downloads() -> None:
    """Where the test above looks for them."""
    makers = [file for file in PACKAGE.rglob("*.py") if "attachment" in file.read_text()]
    assert {file.name for file in makers} == {"views.py"}
