"""POST /session: making the session last."""

from flask import Flask

from tests.conftest import Browser
from tests.views.test_accounts_session_status import idle_for


def test_staying_renews(app: Flask, desk: Browser) -> None:
    token = desk.csrf_token()
    idle_for(app, minutes=14)
    answer = desk.client.post("/session", json={}, headers={"X-CSRFToken": token})
    assert 890 < answer.json["seconds_left"] <= 900


def test_nobody_is_told_401_and_the_csrf_token_is_needed(nobody: Browser, desk: Browser) -> None:
    headers = {"X-CSRFToken": nobody.csrf_token(), "Accept": "application/json"}
    answer = nobody.client.post("/session", json={}, headers=headers)
    assert answer.status_code == 401
    assert answer.json["error"]["status"] == 401
    assert desk.client.post("/session", json={}).status_code == 400
