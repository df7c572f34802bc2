"""What is shown when something is refused or fails: a page, or JSON where it is asked for."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from flask import (
    Flask,
    Response,
    flash,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as AnyResponse

from webapp import storage
from webapp.db import db
from webapp.errors import DomainError, Throttled

log = logging.getLogger(__name__)

_WORDS = {
    400: (
        _l("This could not be understood"),
        _l("What the browser sent was incomplete or damaged. Go back and try again."),
    ),
    401: (_l("Signed out"), _l("You are not signed in, or were away for too long. Sign in again.")),
    403: (
        _l("Not allowed"),
        _l("Your roles do not include this. An administrator can change them."),
    ),
    404: (_l("Not found"), _l("There is nothing here, or nothing that you may see.")),
    405: (_l("Not possible"), _l("This address cannot be used in this way.")),
    409: (
        _l("Changed meanwhile"),
        _l("This has changed since the page was loaded. Load it again and look before you go on."),
    ),
    413: (
        _l("Too large"),
        _l(
            "This is more than can be sent at once: at most 20 images of 25 MB each."
            " Nothing was kept."
        ),
    ),
    422: (_l("Not accepted"), _l("This cannot be accepted as it is. Go back and correct it.")),
    429: (_l("Too many attempts"), _l("Wait a while before you try again.")),
    500: (_l("Something went wrong"), _l("This is our fault, not yours. Nothing was half-done.")),
    503: (_l("Out of service"), _l("The service cannot answer just now. Try again in a moment.")),
}
_API_SENTENCES = {
    400: _l("What was sent is incomplete or damaged."),
    401: _l("Send an access token that has not ended, as “Authorization: Bearer …”."),
    409: _l("This has changed meanwhile, or is not in a state that allows this."),
    415: _l("This is not of the media type that the document of this API names."),
    422: _l("This cannot be accepted as it is."),
}
_CSRF_SENTENCE = _l(
    "The page was open for too long, or you signed in again since. Load it again and send it anew."
)
_STORE_AWAY = _l(
    "The store of images does not answer just now, so nothing could be kept or shown. Try again in"
    " a moment; if it goes on, tell your administrator."
)
_NOT_SENT = _l("Your case was not sent, because you were signed out. Sign in and send it again.")
_NOT_SENT_AND_BACK = _l(
    "Your case was not sent, because you were signed out meanwhile. Send it again."
)


def init_app(app: Flask) -> None:
    """Answer refusals and failures with words of our own; never with an exception's."""
    app.register_error_handler(DomainError, _refused)
    app.register_error_handler(storage.Away, _store_away)
    app.register_error_handler(HTTPException, _http_error)


def wants_json() -> bool:
    """The client prefers JSON to a page."""
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def is_api() -> bool:
    """The request is for a program, whatever it says that it prefers."""
    return request.path.startswith("/api/")


def problem(
    status: int, *, code: str = "", detail: str = "", errors: Sequence[Mapping[str, str]] = ()
) -> Response:
    """An answer of the API that says what is wrong, as RFC 9457 has it; unless a code and words are
    given, those of the status. `errors` says it field by field."""
    known = HTTPStatus(status)
    usual = _API_SENTENCES.get(status) or _WORDS.get(status, _WORDS[500])[1]
    response = jsonify(
        type="about:blank",
        title=known.phrase,
        status=status,
        detail=detail or str(usual),
        code=code or known.name.lower(),
        request_id=g.get("request_id"),
        errors=list(errors),
    )
    response.status_code = status
    response.content_type = "application/problem+json"
    return response


def is_case_sent() -> bool:
    """The request sends a case."""
    return request.endpoint == "triage.submit_case"


def say_case_not_sent() -> None:
    """Have the next page say that a case came after its sender's session had ended.

    Not where there is no session: what another site makes a browser send comes without its cookie,
    and a message would put a new cookie in the place of the one that signs the user in.
    """
    if not session:
        return
    flash(_NOT_SENT_AND_BACK if current_user.is_authenticated else _NOT_SENT, "warning")


def _refused(error: DomainError) -> Response:
    response = _answer(error.status)
    if isinstance(error, Throttled):
        response.headers["Retry-After"] = str(error.facts["retry_after_seconds"])
    return response


def _store_away(error: storage.Away) -> Response:
    db.session.rollback()
    log.error("request %s failed, the store is away: %s", g.get("request_id", ""), error)
    return _answer(503, str(_STORE_AWAY))


def _http_error(error: HTTPException) -> AnyResponse:
    if isinstance(error, InternalServerError):
        return _failed()
    if isinstance(error, CSRFError) and is_case_sent():
        return _case_of_former_session()
    response = _answer(
        error.code or 500, str(_CSRF_SENTENCE) if isinstance(error, CSRFError) else None
    )
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _case_of_former_session() -> AnyResponse:
    """Its form is of a session that has ended, even if its sender has signed in again since."""
    say_case_not_sent()
    if wants_json():
        return _answer(401)
    return redirect(url_for("accounts.sign_in", next=url_for("triage.new_case")), 303)


def _failed() -> Response:
    number = g.get("request_id", "")
    log.error("request %s failed: %s %s", number, request.method, request.path)
    sentence = gettext("Tell your administrator this number: %(number)s", number=number)
    try:
        db.session.rollback()
        return _answer(500, f"{_WORDS[500][1]} {sentence}")
    except SQLAlchemyError:  # the page itself needs the database, to know who is signed in
        log.exception("request %s: nor could its error page be made", number)
        return Response(f"{_WORDS[500][0]}. {sentence}", 500, content_type="text/plain")


def _answer(status: int, sentence: str | None = None) -> Response:
    if is_api():
        return problem(status, detail=sentence or "")
    title, usual_sentence = _WORDS.get(status, _WORDS[500 if status >= 500 else 400])
    words = {"title": str(title), "sentence": sentence or str(usual_sentence)}
    if wants_json():
        response = jsonify(error={"status": status, **words, "request_id": g.get("request_id")})
    else:
        response = make_response(render_template("errors/error.html", status=status, **words))
    response.status_code = status
    return response
