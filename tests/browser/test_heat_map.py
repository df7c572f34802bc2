"""Asking where the model looked, and seeing it over the image."""

from collections.abc import Callable
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.person import changed_copy, expect_answer, samples, send_case

MAP_MS = 180_000
"""The first one loads torch, which takes its time on a busy machine."""
ASK = "Show where the model looked"


def read_case(page: Page, bundle: Path, folder: Path) -> str:
    """A case with its answer on the page; the name of the finding."""
    finding, image = next(iter(samples(bundle).items()))
    send_case(page, changed_copy(image, folder))
    expect_answer(page, finding)
    return finding


def test_a_heat_map_is_asked_for_laid_over_the_image_and_faded(
    sign_in: Callable[..., Page], blood_cell_bundle: Path, tmp_path: Path
) -> None:
    page = sign_in(bypass_csp=True)  # axe writes inline styles of its own
    finding = read_case(page, blood_cell_bundle, tmp_path)
    layer, image = page.locator(".viewer__heat"), page.locator(".viewer__image")
    expect(layer).to_be_hidden()
    page.get_by_role("button", name=ASK).click()
    expect(page.locator(".explanation__title")).to_have_text(
        f"Where the model looked for {finding}", timeout=MAP_MS
    )
    expect(layer).to_be_visible()
    expect(layer.get_by_role("img", name=f"Heat map of image 1: {finding}")).to_be_visible()
    box, map_box = image.bounding_box(), layer.bounding_box()
    assert box == map_box

    page.get_by_label("Heat map", exact=True).fill("20")
    expect(layer).to_have_css("opacity", "0.2")
    page.get_by_label("Brightness").fill("150")
    expect(image).to_have_css("filter", "brightness(1.5)")
    page.get_by_role("button", name="Zoom in").click()
    moved = image.evaluate("image => image.style.transform")
    assert moved == layer.evaluate("layer => layer.style.transform") != ""
    page.get_by_role("button", name="Lay it over the image").click()
    expect(layer).to_be_hidden()
    assert Axe().run(page).response["violations"] == []


def test_without_script_it_stands_beside_the_image(
    sign_in: Callable[..., Page], blood_cell_bundle: Path, tmp_path: Path
) -> None:
    page = sign_in(java_script_enabled=False)
    finding, image = list(samples(blood_cell_bundle).items())[-1]
    send_case(page, changed_copy(image, tmp_path))
    refresh_until(page, "Most likely")
    page.get_by_role("button", name=ASK).click()
    refresh_until(page, f"Where the model looked for {finding}")
    heat_map = page.get_by_role("img", name=f"Heat map of image 1: {finding}")
    expect(heat_map).to_be_visible()


def refresh_until(page: Page, words: str) -> None:
    for _ in range(MAP_MS // 500):
        if page.get_by_text(words).count():
            return
        page.wait_for_timeout(500)
        page.get_by_role("link", name="Refresh").first.click()
    expect(page.get_by_text(words)).to_be_visible()
