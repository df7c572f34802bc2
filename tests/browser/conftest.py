"""A real browser on a real instance with the shipped model."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.person import fill_sign_in
from tests.demo import newest_bundle
from tests.stack import PASSWORD, Stack
from webapp.permissions import Role

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser")
"""The first that is there is taken: the headless shell needs half the processor."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


SECONDS = 20
"""How long a page may take to show what is expected: other tests have the processor too."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless Chromium of the system; in CI a missing one is a failure."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = "the browser tests need Chromium (Debian: apt-get install chromium-headless-shell)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def blood_cell_bundle() -> Path:
    return newest_bundle("blood-cell")


@pytest.fixture(scope="session")
def house(blood_cell_bundle: Path) -> Iterator[Stack]:
    """The whole house, with the shipped blood-cell model."""
    with Stack(bundle=blood_cell_bundle) as stack:
        yield stack


@pytest.fixture
def open_browser(chromium: Browser, house: Stack) -> Iterator[Callable[..., Page]]:
    """A page in a fresh browser; fails at the end if a page broke its own content policy."""
    contexts: list[BrowserContext] = []
    complaints: list[object] = []

    def open_page(**options: Any) -> Page:
        context = chromium.new_context(base_url=house.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(error))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [said for said in complaints if "responded with a status" not in str(said)]


@pytest.fixture
def sign_in(house: Stack, open_browser: Callable[..., Page]) -> Callable[..., Page]:
    """A new user's page, signed in."""

    def sign_in(*roles: Role, **options: Any) -> Page:
        page = open_browser(**options)
        fill_sign_in(page, house.add_user(*roles), PASSWORD)
        return page

    return sign_in
