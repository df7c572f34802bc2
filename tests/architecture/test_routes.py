"""Every route names who may use it."""

from flask import Flask

from webapp.permissions import Permission

RULES = {"public", "signed_in", *Permission}


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
