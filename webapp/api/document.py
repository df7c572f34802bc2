"""The document of the API, OpenAPI 3.1, made of what its routes say of themselves."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from webapp.api.operations import JSON, MULTIPART, Operation
from webapp.api.schemas import Input, Output, Problem
from webapp.db import MAX_ID
from webapp.rendering import DISCLAIMER

_REFERENCE = "#/components/schemas/"
_NUMBER_IN_PATH = re.compile(r"<int:(\w+)>")


def document(app: Flask) -> dict[str, Any]:
    """All routes of the API."""
    routes = [route for route in app.url_map.iter_rules() if _operation(app, route)]
    schemas = _schemas([_operation(app, route) for route in routes])
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(routes, key=lambda route: route.rule):
        view = app.view_functions[route.endpoint]
        (method,) = (route.methods or set()) - {"HEAD", "OPTIONS"}
        methods = paths.setdefault(_NUMBER_IN_PATH.sub(r"{\1}", route.rule), {})
        methods[method.lower()] = _described(route, view, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Firstlook", "version": "1", "description": str(DISCLAIMER)},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(app: Flask, route: Rule) -> Operation | None:
    return getattr(app.view_functions[route.endpoint], "operation", None)


def _schemas(operations: list[Operation | None]) -> dict[str, Any]:
    """The description of everything that is sent or answered, by its name."""
    said = [operation for operation in operations if operation]
    sent = {kind for operation in said for kind in operation.inputs}
    answered = {operation.answer for operation in said if operation.answer} | {Problem}
    kinds = sorted(sent, key=_name) + sorted(answered, key=_name)
    _map, described = models_json_schema(
        [(kind, "validation" if kind in sent else "serialization") for kind in kinds],
        ref_template=_REFERENCE + "{model}",
    )
    schemas: dict[str, Any] = described["$defs"]
    return schemas


def _described(route: Rule, view: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    operation: Operation = view.operation
    summary, _blank, description = (inspect.getdoc(view) or "").partition("\n\n")
    numbers = _NUMBER_IN_PATH.findall(route.rule)
    said: dict[str, Any] = {
        "operationId": route.endpoint.partition(".")[2],
        "summary": " ".join(summary.split()).removesuffix("."),
        "security": [{"token": [operation.scope]}] if operation.scope else [],
        "parameters": [
            *map(_in_path, numbers),
            *_parameters(operation.headers, "header", schemas),
            *_parameters(operation.query, "query", schemas),
        ],
        "responses": _responses(operation, bool(numbers)),
    }
    if description:
        said["description"] = " ".join(description.split())
    sent = {MULTIPART: operation.form, JSON: operation.body}
    content = {media: {"schema": _reference(kind)} for media, kind in sent.items() if kind}
    if content:
        said["requestBody"] = {"required": True, "content": content}
    return said


def _in_path(name: str) -> dict[str, Any]:
    number = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
    return {"name": name, "in": "path", "required": True, "schema": number}


def _parameters(
    kind: type[Input] | None, place: str, schemas: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    if kind is None:
        return
    described = schemas[_name(kind)]
    for name, schema in described["properties"].items():
        required = name in described.get("required", ())
        yield {"name": name, "in": place, "required": required, "schema": schema}


def _responses(operation: Operation, is_of_one: bool) -> dict[str, Any]:
    answer = _reference(operation.answer) if operation.answer else {"type": "object"}
    responses = {str(operation.status): _response("What was asked for", JSON, answer)}
    for status, words in _refusals(operation, is_of_one):
        responses[str(status)] = _response(words, "application/problem+json", _reference(Problem))
    return responses


def _refusals(operation: Operation, is_of_one: bool) -> Iterator[tuple[int, str]]:
    if operation.scope:
        yield 401, "There is no access token, or it has ended"
        yield 403, "The access token or its user may not do this"
        yield 429, "Too many wrong access tokens from one address"
    if is_of_one or operation.form:
        yield 404, "There is no such thing, or none that the user may see"
    if is_of_one or operation.form:
        yield 409, "It has changed, or is not in a state that allows this"
    if operation.form or operation.body:
        yield 413, "More than can be sent at once"
        yield 415, "Not of the media type that is asked for"
    if operation.inputs:
        yield 422, "What was sent cannot be accepted"


def _response(words: str, media_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {media_type: {"schema": schema}}}


def _reference(kind: type[Input | Output]) -> dict[str, str]:
    return {"$ref": _REFERENCE + _name(kind)}


def _name(kind: type[Input | Output]) -> str:
    return kind.__name__
