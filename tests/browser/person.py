"""What a person does with the pages, and the cells that they hold in their hand."""

import itertools
import json
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

ANSWER_MS = 30_000
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
