"""Sending a model through the browser, and seeing by itself what becomes of it."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.stack import Stack
from tests.unit.ml.factories import make_bundle
from webapp.bundles.archive import pack
from webapp.permissions import Role


def test_a_bundle_is_sent_and_the_page_tells_when_it_is_installed(
    house: Stack, sign_in: Callable[..., Page], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    folder = make_bundle(tmp_path / "bundle", seed=7)
    good.write_bytes(pack(folder))
    (folder / "MODEL_CARD.md").write_text("edited since")
    bad.write_bytes(pack(folder))
    house.start("steward")
    try:
        page = sign_in(Role.ADMINISTRATOR)
        for archive, said in ((bad, "Refused"), (good, "Installed")):
            page.goto(f"{house.url}/bundles")
            page.get_by_label("Bundle (ZIP)").set_input_files(archive)
            page.get_by_role("button", name="Have it installed").click()
            latest = page.locator(".installation").first
            expect(latest).to_contain_text(archive.name)
            expect(latest).to_contain_text(said, timeout=90_000)
        expect(page.locator(".installation").nth(1)).to_contain_text("MODEL_CARD.md")
        latest.get_by_role("link", name="Blood cell").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Blood cell")
        expect(page.locator("main")).to_contain_text("Does not serve")
    finally:
        house.kill("steward")
