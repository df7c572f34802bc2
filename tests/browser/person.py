"""What a person does with the pages, and the cells that they hold in their hand."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, expect

ANSWER_MS = 30_000
LOOKS = (("light", (1280, 900)), ("dark", (390, 844)))
"""A colour scheme and the width and height of a screen, in px."""
OPEN = """() => {
  document.querySelectorAll("main details").forEach(one => { one.open = true });
  document.body.style.display = "none";
  document.body.offsetHeight;
  document.body.style.display = "";
}"""
"""Everything that folds is opened. Chromium keeps some colours of the look before until what has
them is laid out anew."""
RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
"""All of axe's, and the one of WCAG 2.2 that it leaves out unless it is asked for."""
VIOLATIONS = "async (options) => (await axe.run(options)).violations"
MOST_STOPS = 100
"""Of the Tab key on a page."""
SHOWS_FOCUS = """element => [element, ...(element.labels ?? [])].some((one) => {
  const style = getComputedStyle(one);
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return outlined || style.boxShadow !== "none";
})"""
_numbers = itertools.count(1)


def samples(bundle: Path) -> dict[str, Path]:
    """A real cell of each finding, by its code, with the name that pages use."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    by_code = {path.stem: path for path in (bundle / "selftest").iterdir()}
    return {finding["name"]: by_code[finding["code"]] for finding in manifest["findings"]}


def changed_copy(image: Path, folder: Path) -> Path:
    """The same cell with another corner pixel, so that it was not filed before."""
    with Image.open(image) as picture:
        changed = picture.convert("RGB")
    number = next(_numbers)
    changed.putpixel((0, 0), (number % 256, number // 256, 0))
    path = folder / f"{image.stem}.png"
    changed.save(path)
    return path


def send_case(page: Page, image: Path, identifier: str = "") -> str:
    """Fill in the form and send it; returns the identifier of the patient."""
    identifier = identifier or f"B-{next(_numbers):04d}"
    page.goto("/cases/new")
    page.locator("input[type=file]").first.set_input_files(image)
    page.get_by_label("Patient identifier").fill(identifier)
    page.get_by_label("Birth year").fill("1958")
    page.get_by_label("Sex").select_option(label="Female")
    page.get_by_label("Note").fill("Routine smear.")
    page.get_by_role("button", name="Send case").click()
    return identifier


def expect_answer(page: Page, finding: str) -> None:
    expect(page.get_by_role("heading", name="Most likely")).to_contain_text(
        finding, timeout=ANSWER_MS
    )


def fill_sign_in(page: Page, username: str, password: str) -> None:
    """Sign in as a person does."""
    page.goto("/sign-in")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)  # and is loaded: its scripts have run


def tab_to(page: Page, target: Locator) -> None:
    """Go to something by the Tab key alone, and see that one is there."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            assert target.evaluate(SHOWS_FOCUS), f"{target} does not show that it has the focus"
            return
    raise AssertionError(f"Tab does not lead to {target} on {page.url}")


def faults(page: Page) -> Iterator[tuple[str, ...]]:
    """What is wrong with a page in each look, also with what it shows only when it is asked to.

    The page must let axe write inline styles of its own (`bypass_csp`).
    """
    page.evaluate(Axe().axe_script)
    for scheme, (width, height) in LOOKS:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate(OPEN)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if overflow > 0:
            yield page.url, scheme, f"{overflow} px wider than the screen"
        for found in page.evaluate(VIOLATIONS, RULES):
            nodes = (f"{node['html']}: {node['failureSummary']}" for node in found["nodes"])
            yield page.url, scheme, found["id"], *nodes
