"""What protects every page: keys, cookies, headers, limits, and the rules of a session."""

import secrets
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast
from urllib.parse import urlsplit

from flask import (
    Flask,
    Request,
    Response,
    abort,
    current_app,
    g,
    redirect,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, current_user
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import select
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix

from webapp import error_pages, imaging
from webapp.accounts import queries, services, tokens
from webapp.accounts.models import User
from webapp.config import Settings
from webapp.db import db
from webapp.errors import Forbidden, Invalid
from webapp.keys import kept_key
from webapp.permissions import public

MEGABYTE = 1024 * 1024
FORM_BYTES_MAX = MEGABYTE
UPLOAD_BYTES_MAX = imaging.MAX_IMAGES * imaging.MAX_BYTES + FORM_BYTES_MAX
"""Of a case as it should be."""
OVERSIZE_FACTOR = 4
"""How many times that a case may have, and is received so that its sender can be told why."""
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "font-src 'self'",
            "manifest-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OPEN_WITH_ONE_TIME_PASSWORD = {
    "static",
    "healthz",
    "accounts.account",
    "accounts.choose_language",
    "accounts.sign_in",
    "accounts.sign_out",
    "accounts.session_status",
    "accounts.stay",
}

csrf = CSRFProtect()
login_manager = LoginManager()
login_manager.session_protection = None  # sessions are rows; a changed address is no reason to end


class _ClippedFile(SpooledTemporaryFile[bytes]):
    """A file that takes all that is written, and keeps the beginning."""

    def __init__(self, kept_bytes: int) -> None:
        super().__init__(max_size=MEGABYTE)
        self._room = kept_bytes

    def write(self, data: Any) -> int:
        """Keep what there is room for; returns how much was taken, which is everything."""
        kept = data[: self._room]
        self._room -= super().write(kept)
        return len(data)


class UploadRequest(Request):
    """A request that keeps of its files as much as shows that they are too large or too many.

    A form whose files are refused can then still be read, and keeps what was typed.
    """

    kept_bytes_a_file = imaging.MAX_BYTES + 1
    _file_count = 0

    def _get_file_stream(self, *_args: Any, **_kwargs: Any) -> IO[bytes]:
        self._file_count += 1
        # Of the two inputs for files, the empty one comes as a file without a name.
        is_kept = self._file_count <= imaging.MAX_IMAGES + 1
        return _ClippedFile(self.kept_bytes_a_file if is_kept else 0)


def init_app(app: Flask) -> None:
    """Protect an application; before its blueprints are registered."""
    app.request_class = UploadRequest
    settings: Settings = app.config["FIRSTLOOK"]
    app.secret_key = settings.secret_key or kept_key(settings.instance_dir / "keys" / "secret.key")
    app.config.update(
        # The prefix makes browsers refuse the cookie from elsewhere, but needs https.
        SESSION_COOKIE_NAME=f"{'__Host-' if settings.production else ''}firstlook_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.production,
        MAX_CONTENT_LENGTH=FORM_BYTES_MAX,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
    )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # as Flask's documentation does
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )
    app.before_request(_begin)  # before the form is read, which checking its token does
    csrf.init_app(app)
    app.before_request(_ask_for_own_password)
    app.after_request(_add_headers)
    login_manager.init_app(app)
    error_pages.init_app(app)
    app.add_url_rule("/healthz", view_func=healthz)


@public
def healthz() -> ResponseReturnValue:
    """Whether this process can answer, the database included."""
    db.session.execute(select(1))
    return Response("ok\n", content_type="text/plain")


def begin_session(token: str) -> None:
    """Make the browser hold this session and nothing of the one before it."""
    session.clear()
    session["token"] = token


def own_path(target: str | None) -> str | None:
    """`target` if it leads to a page of ours; None if it might lead elsewhere."""
    if not target or not target.startswith("/") or target.startswith("//"):
        return None
    if "\\" in target or any(ord(character) <= 32 for character in target):
        return None
    return target


def _view_is(mark: str) -> bool:
    view = current_app.view_functions.get(request.endpoint or "")
    return getattr(view, mark, False)


def _begin() -> ResponseReturnValue | None:
    g.request_id = secrets.token_hex(8)
    if _view_is("takes_images"):
        if not current_user.is_authenticated:
            _let_images_pass()
            return login_manager.unauthorized()
        request.max_content_length = OVERSIZE_FACTOR * UPLOAD_BYTES_MAX
    if _view_is("takes_archive"):
        cast(UploadRequest, request).kept_bytes_a_file = imaging.MAX_ARCHIVE_BYTES + 1
    return None


def _let_images_pass() -> None:
    """Read what is sent and keep nothing: a browser shows no answer that came before its end."""
    request.max_content_length = UPLOAD_BYTES_MAX
    while request.stream.read(MEGABYTE):
        pass


@login_manager.request_loader
def _load_user(_request: object) -> User | None:
    """Who acts: on a page the user of the session's cookie; in the API, which needs no CSRF token
    for that reason, the user of the access token, and never of a cookie."""
    return _user_of_token() if error_pages.is_api() else _user_of_session()


def _user_of_token() -> User | None:
    sent = request.authorization
    if sent is None or sent.type != "bearer" or not sent.token:
        return None
    token = tokens.use_token(secret=sent.token, remote_address=request.remote_addr or "")
    if token is None:
        return None
    g.api_token = token
    g.token_id = token.id  # for the record
    return token.user


def _user_of_session() -> User | None:
    token = session.get("token")
    user_session = queries.live_session(token) if token else None
    if user_session is None:
        return None
    if not _view_is("is_poll"):
        services.keep_alive(user_session)
    g.user_session = user_session
    return user_session.user


def sent_json() -> object:
    """What a script has sent.

    Raises:
        Invalid: it is nested too deeply to be read.
    """
    try:
        return request.get_json()
    except RecursionError as error:
        raise Invalid("json") from error


@login_manager.unauthorized_handler
def _unauthorized() -> ResponseReturnValue:
    """A person goes to the sign-in page, and back from there; a script is told.

    Back to the page, without its query: that may hold an identifier, and addresses end up in the
    history of browsers and in the logs of proxies.
    """
    if error_pages.is_api():
        raise Unauthorized(www_authenticate=WWWAuthenticate("bearer", {"realm": "firstlook"}))
    if error_pages.is_case_sent():
        error_pages.say_case_not_sent()
    if _view_is("is_poll") or error_pages.wants_json() or "HX-Request" in request.headers:
        abort(401)
    if request.method in ("GET", "HEAD"):
        target = request.path
    elif error_pages.is_case_sent():
        target = url_for("triage.new_case")
    else:
        referrer = urlsplit(request.referrer or "")
        target = referrer.path if referrer.netloc == request.host else ""
    return redirect(url_for("accounts.sign_in", next=own_path(target)), 303)


def _ask_for_own_password() -> ResponseReturnValue | None:
    if request.endpoint is None or request.endpoint in OPEN_WITH_ONE_TIME_PASSWORD:
        return None
    if not (current_user.is_authenticated and current_user.password_is_one_time):
        return None
    if _view_is("is_poll") or error_pages.is_api() or error_pages.wants_json():
        raise Forbidden("one_time_password")
    return redirect(url_for("accounts.account"), 303)


def _add_headers(response: Response) -> Response:
    settings: Settings = current_app.config["FIRSTLOOK"]
    response.headers.update(HEADERS)
    if settings.production:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if "request_id" in g:
        response.headers["X-Request-ID"] = g.request_id
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
