"""What protects every page: keys, cookies, headers, limits, error pages."""

import dataclasses
import io
import sqlite3
import stat
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from tests.conftest import PASSWORD, Browser, People
from webapp import imaging
from webapp.app import create_app
from webapp.config import Settings
from webapp.db import db
from webapp.errors import Conflict, Forbidden, Invalid, NotFound, Throttled
from webapp.permissions import Permission, public, require
from webapp.security import (
    FORM_BYTES_MAX,
    MEGABYTE,
    OVERSIZE_FACTOR,
    UPLOAD_BYTES_MAX,
    UploadRequest,
)

Browse = Callable[[], Browser]
JSON = {"Accept": "application/json"}


@pytest.fixture
def production(settings: Settings) -> Iterator[Flask]:
    """The application behind one proxy."""
    app = create_app(dataclasses.replace(settings, trusted_proxies=1, secret_key="k" * 32))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("path", ["/sign-in", "/nothing-here", "/healthz", "/static/img/mark.svg"])
def test_every_answer_has_the_headers(app: Flask, path: str) -> None:
    headers = app.test_client().get(path).headers
    policy = headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert not any("unsafe" in rule for rule in policy)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=(self)" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers


def test_pages_are_not_kept_by_browsers(app: Flask) -> None:
    client = app.test_client()
    for path in ("/sign-in", "/nothing-here", "/healthz"):
        assert client.get(path).headers["Cache-Control"] == "no-store"


def test_a_view_may_allow_its_own_caching(app: Flask) -> None:
    @app.get("/thumbnail")
    @public
    def thumbnail() -> tuple[str, dict[str, str]]:
        return "image", {"Cache-Control": "private, no-cache"}

    headers = app.test_client().get("/thumbnail").headers
    assert headers["Cache-Control"] == "private, no-cache"


def test_requests_are_numbered(app: Flask) -> None:
    client = app.test_client()
    numbers = {client.get("/healthz").headers["X-Request-ID"] for _ in range(2)}
    assert len(numbers) == 2


def test_the_secret_key_is_kept(settings: Settings) -> None:
    key = create_app(settings).secret_key
    path = settings.instance_dir / "keys" / "secret.key"
    assert path.read_text() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert create_app(settings).secret_key == key
    assert create_app(dataclasses.replace(settings, secret_key="k" * 32)).secret_key == "k" * 32


# Production


def test_production_sends_secure_cookies(production: Flask, people: People) -> None:
    with production.app_context():
        user = people.clinician()
    client = production.test_client()
    https = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9"}
    answer = client.get("/sign-in", headers=https)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-firstlook_session=")
    for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert attribute in cookie
    assert "Domain" not in cookie
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    token = answer.text.split('name="csrf_token" type="hidden" value="')[1].split('"')[0]
    data = {"csrf_token": token, "username": user.username, "password": PASSWORD}
    sent = {"base_url": "https://localhost", "headers": https}
    referred = sent | {"headers": https | {"Referer": "https://localhost/sign-in"}}
    assert client.post("/sign-in", data=data, **sent).status_code == 400
    assert client.post("/sign-in", data=data, **referred).status_code == 303


def remote_address(app: Flask, forwarded: str) -> str:
    """What an application takes for the address of a client."""
    from flask import request

    @app.get("/address")
    @public
    def address() -> str:
        return f"{request.remote_addr}"

    return app.test_client().get("/address", headers={"X-Forwarded-For": forwarded}).text


def test_one_proxy_is_believed_for_one_hop(production: Flask) -> None:
    assert remote_address(production, "203.0.113.1, 198.51.100.9") == "198.51.100.9"


def test_without_a_proxy_nobody_is_believed(app: Flask) -> None:
    assert remote_address(app, "203.0.113.1") == "127.0.0.1"


# Limits


def test_a_form_cannot_be_large(app: Flask) -> None:
    answer = app.test_client().post("/sign-in", data={"username": "x" * FORM_BYTES_MAX})
    assert answer.status_code == 413
    assert "at most 20 images of 25 MB each" in answer.text


def test_images_are_taken_from_signed_in_users_only(
    app: Flask, people: People, browse: Browse
) -> None:
    """What others send is read to its end, and none of it kept."""
    with app.app_context():
        user = people.clinician()
    more_than_a_form = {"note": "x" * 10, "images": (bytes_of(FORM_BYTES_MAX + 1), "a.png")}
    stranger = browse()
    answer = stranger.client.post("/cases/new", data=more_than_a_form)
    assert answer.location == "/sign-in?next=/cases/new"
    more_than_a_form["images"] = (bytes_of(FORM_BYTES_MAX + 1), "a.png")
    answer = browse().sign_in(user).post("/cases/new", more_than_a_form)
    assert answer.status_code == 422


def test_what_is_sent_to_no_purpose_is_read_to_its_end(app: Flask) -> None:
    """A browser that is answered before it has sent everything shows no answer."""
    body = io.BytesIO(b"\0" * (2 * FORM_BYTES_MAX))
    answer = app.test_client().post(
        "/cases/new", input_stream=body, content_length=2 * FORM_BYTES_MAX, headers=JSON
    )
    assert answer.status_code == 401
    assert body.tell() == 2 * FORM_BYTES_MAX


def test_of_a_file_that_is_too_large_little_is_kept() -> None:
    sent = [
        bytes_of(imaging.MAX_BYTES + MEGABYTE),
        *(io.BytesIO(b"ab") for _ in range(imaging.MAX_IMAGES)),
    ]
    files = [(file, f"{number}.png") for number, file in enumerate(sent)]
    data = {"images": [*files, (io.BytesIO(b"one too many"), "last.png")]}
    environ = EnvironBuilder(method="POST", data=data).get_environ()
    kept = [len(file.read()) for file in UploadRequest(environ).files.getlist("images")]
    assert kept == [imaging.MAX_BYTES + 1, *[2] * imaging.MAX_IMAGES, 0]


def test_what_is_many_times_too_large_is_not_received(
    app: Flask, people: People, browse: Browse
) -> None:
    with app.app_context():
        user = people.clinician()
    client = browse().sign_in(user).client
    answer = client.post(
        "/cases/new",
        content_type="multipart/form-data; boundary=b",
        environ_overrides={"CONTENT_LENGTH": str(OVERSIZE_FACTOR * UPLOAD_BYTES_MAX + 1)},
    )
    assert answer.status_code == 413
    assert "Nothing was kept." in answer.text


def bytes_of(size: int) -> io.BytesIO:
    return io.BytesIO(b"\0" * size)


# Error pages


@pytest.fixture
def raising(app: Flask) -> Callable[[Exception], Flask]:
    """An application with a page that raises what it is given."""

    def make(error: Exception) -> Flask:
        @app.get("/raise")
        @public
        def fail() -> str:
            raise error

        app.config["PROPAGATE_EXCEPTIONS"] = False
        return app

    return make


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (NotFound("patient 12"), 404, "There is nothing here, or nothing that you may see."),
        (Forbidden("patient 12"), 403, "Your roles do not include this."),
        (Conflict("patient 12"), 409, "This has changed since the page was loaded."),
        (Invalid("patient 12"), 422, "This cannot be accepted as it is."),
    ],
)
def test_refusals_have_a_page_and_json(
    raising: Callable[[Exception], Flask], error: Exception, status: int, words: str
) -> None:
    client = raising(error).test_client()
    page = client.get("/raise")
    assert page.status_code == status
    assert page.mimetype == "text/html"
    assert words in page.text
    assert "patient 12" not in page.text
    answer = client.get("/raise", headers=JSON)
    assert answer.status_code == status
    assert answer.json["error"]["status"] == status
    assert answer.json["error"]["sentence"].startswith(words)
    assert "patient 12" not in answer.text


def test_a_throttled_client_is_told_when_to_come_back(
    raising: Callable[[Exception], Flask],
) -> None:
    answer = raising(Throttled(retry_after_seconds=77)).test_client().get("/raise")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "77")


def test_a_failure_says_its_number_and_nothing_else(
    raising: Callable[[Exception], Flask], caplog: pytest.LogCaptureFixture
) -> None:
    client = raising(RuntimeError("the secret reason")).test_client()
    answer = client.get("/raise")
    number = answer.headers["X-Request-ID"]
    assert answer.status_code == 500
    assert number in answer.text
    assert "the secret reason" not in answer.text
    assert f"request {number} failed: GET /raise" in caplog.text
    assert "the secret reason" in caplog.text
    assert answer.headers["Content-Security-Policy"]
    assert client.get("/raise", headers=JSON).json["error"]["status"] == 500


def test_a_failure_without_a_database_still_has_an_answer(
    app: Flask, people: People, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        user = people.clinician()
    browser = browse().sign_in(user)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with app.app_context():
        db.engine.dispose()
        monkeypatch.setattr(db.engine.dialect, "connect", broken)
    answer = browser.get("/account")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "unreachable" not in answer.text


def broken(*_args: object, **_kwargs: object) -> None:
    raise sqlite3.OperationalError("unreachable")


def test_a_wrong_method_says_which_are_right(app: Flask) -> None:
    answer = app.test_client().put("/session", headers=JSON)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert answer.json["error"]["title"] == "Not possible"


def test_a_missing_token_is_explained(app: Flask) -> None:
    answer = app.test_client().post("/sign-in", data={"username": "x"})
    assert answer.status_code == 400
    assert "The page was open for too long" in answer.text


def test_a_missing_permission_is_refused(app: Flask, people: People, browse: Browse) -> None:
    @app.get("/for-administrators")
    @require(Permission.MANAGE_USERS)
    def page() -> str:
        return "in"

    with app.app_context():
        admin, clinician = people.administrator(), people.clinician()
    assert browse().get("/for-administrators").status_code == 303
    assert browse().sign_in(clinician).get("/for-administrators").status_code == 403
    assert browse().sign_in(admin).get("/for-administrators").text == "in"
