"""What each address of the API asks for and answers: said once, checked and documented from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeVar

from flask import Response, g, jsonify, request
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import UnsupportedMediaType

from webapp.api.schemas import Input, Output
from webapp.errors import Forbidden, Invalid
from webapp.permissions import Scope, public, require

JSON = "application/json"
MULTIPART = "multipart/form-data"

M = TypeVar("M", bound=Input)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What an address asks for, and what it answers."""

    scope: Scope | None
    """What the access token must allow; None where no token is needed."""
    answer: type[Output] | None
    """None for any JSON object."""
    status: int = 200
    headers: type[Input] | None = None
    query: type[Input] | None = None
    form: type[Input] | None = None
    body: type[Input] | None = None

    @property
    def inputs(self) -> list[type[Input]]:
        return [part for part in (self.headers, self.query, self.form, self.body) if part]


def operation(**said: Any) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Rule of a route of the API, as an `Operation` says. Its view is given what was sent as
    `headers`, `query`, `form` and `body`, and returns what is answered.

    Raises:
        Forbidden: the access token or its user may not do this.
        Invalid: what was sent is not what is asked for.
    """
    asked = Operation(**said)

    def decorate(view: Callable[..., Any]) -> Callable[..., Response]:
        @wraps(view)
        def guarded(**path: int) -> Response:
            if asked.scope and asked.scope not in g.api_token.scopes:
                raise Forbidden("insufficient_scope", scope=asked.scope)
            answer = view(**path, **_inputs(asked))
            told = answer.model_dump(mode="json") if isinstance(answer, Output) else answer
            response = jsonify(told)
            response.status_code = asked.status
            return response

        rule = require(asked.scope.permission) if asked.scope else public
        ruled = rule(guarded)
        ruled.operation = asked  # type: ignore[attr-defined]  # carried for the document
        return ruled

    return decorate


def _inputs(asked: Operation) -> dict[str, Input]:
    inputs: dict[str, Input] = {}
    if asked.headers:
        fields = asked.headers.model_fields.items()
        names = [field.alias or name for name, field in fields]
        sent = {name: request.headers[name] for name in names if name in request.headers}
        inputs["headers"] = _valid(asked.headers, sent)
    if asked.query:
        inputs["query"] = _valid(asked.query, _once_each(request.args))
    if asked.form:
        if request.mimetype != MULTIPART:
            raise UnsupportedMediaType
        files = {name: request.files.getlist(name) for name in request.files}
        inputs["form"] = _valid(asked.form, files | _once_each(request.form))
    if asked.body:
        if request.mimetype != JSON:
            raise UnsupportedMediaType
        inputs["body"] = _checked(partial(asked.body.model_validate_json, request.get_data()))
    return inputs


def _once_each(sent: MultiDict[str, str]) -> dict[str, Any]:
    """What was sent twice is left as it is, for the check to refuse."""
    return {name: some if len(some) > 1 else some[0] for name, some in sent.lists()}


def _valid(kind: type[M], sent: Mapping[str, Any]) -> M:
    return _checked(partial(kind.model_validate, sent))


def _checked(check: Callable[[], M]) -> M:
    try:
        return check()
    except ValidationError as error:
        raise Invalid("bad_input", errors=_by_field(error)) from error


def _by_field(error: ValidationError) -> list[dict[str, str]]:
    """The first that is wrong with each: of what may be left out, the second is that it was not."""
    sentences: dict[str, str] = {}
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        sentences.setdefault(str(one["loc"][0]) if one["loc"] else "", one["msg"])
    return [{"field": field, "detail": detail} for field, detail in sentences.items()]
