"""A training is asked for in the browser, and its page shows it happen."""

from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests import trainings
from tests.stack import Stack
from webapp.permissions import Role
from webapp.registry.queries import champion
from webapp.training import services
from webapp.training.queries import get_run

LIVE_MS = 20_000
"""The page asks every two seconds; the machine may be busy."""


def ask(house: Stack, page: Page) -> int:
    """Fill in the form of the only recipe, and start; the number of the run."""
    with house.rows():
        trainings.recipe(reading_task="blood-cell")
        trainings.snapshot("blood-cell", note="Autumn")
    page.goto("/training")
    page.get_by_role("link", name="New training").click()
    page.get_by_role("link", name="small").click()
    expect(page.get_by_label("Snapshot")).to_contain_text("Autumn")
    page.get_by_label("epochs").fill("none")
    page.get_by_role("button", name="Start the training").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter a whole number.")
    page.get_by_label("epochs").fill("6")
    page.get_by_role("button", name="Start the training").click()
    expect(page.get_by_role("heading", name="Waiting for a trainer")).to_be_visible()
    return int(page.url.rpartition("/")[2])


def test_a_training_is_asked_for_and_seen_to_happen(
    house: Stack, sign_in: Callable[..., Page]
) -> None:
    page = sign_in(Role.ADMINISTRATOR, bypass_csp=True)  # axe writes inline styles of its own
    ask(house, page)
    with house.rows():
        claim = trainings.claim()
        services.note(claim=claim, seen=trainings.seen(stage="preparing"))
    expect(page.get_by_text("The pictures of the snapshot are put together.")).to_be_visible(
        timeout=LIVE_MS
    )
    cancel = page.get_by_role("button", name="Cancel this training")
    cancel.focus()
    for epochs in (1, 2):
        with house.rows():
            services.note(claim=claim, seen=trainings.seen(epochs))
        expect(page.get_by_text(f"{epochs + 1} of 4")).to_be_visible(timeout=LIVE_MS)
        expect(page.locator("#run-log")).to_have_text(f"the log after {epochs} epochs")
        expect(page.locator(".epochs tbody tr")).to_have_count(epochs)
    expect(cancel).to_be_focused()
    expect(page.get_by_role("img", name="Loss by epoch")).to_be_visible()
    expect(page.locator("#live")).to_contain_text("The network learns")
    assert Axe().run(page).response["violations"] == []
    with house.rows():
        version = champion(get_run(claim.run_id).reading_task_id)
        assert version
        services.complete(claim=claim, version=version, engine="cpu", code_version="test")
    expect(page.get_by_text("The candidate is registered:")).to_be_visible(timeout=LIVE_MS)
    expect(page.get_by_role("link", name=f"version {version.version}")).to_be_visible()


def test_without_script_a_training_is_followed_and_cancelled(
    house: Stack, sign_in: Callable[..., Page]
) -> None:
    page = sign_in(Role.ADMINISTRATOR, java_script_enabled=False)
    ask(house, page)
    with house.rows():
        claim = trainings.claim()
        services.note(claim=claim, seen=trainings.seen(1))
    page.get_by_role("link", name="Refresh").click()
    expect(page.get_by_text("2 of 4")).to_be_visible()
    page.get_by_role("button", name="Cancel this training").click()
    expect(page.get_by_role("heading", name="Being cancelled")).to_be_visible()
    with house.rows():
        assert services.note(claim=claim, seen=trainings.seen(1)) is services.Order.CANCEL
        services.put_back(claim=claim)
    page.get_by_role("link", name="Refresh").click()
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    expect(page.get_by_text("nothing of it is kept")).to_be_visible()
