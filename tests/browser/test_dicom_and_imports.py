"""DICOM files and many cases at once, as a person sends them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.person import samples
from tests.dicoms import dicom
from tests.imports import archive
from webapp.permissions import Role

WAIT_MS = 60_000


@pytest.fixture
def cell(blood_cell_bundle: Path) -> np.ndarray:
    """A real cell, as colours."""
    with Image.open(next(iter(samples(blood_cell_bundle).values()))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_dicom_file_is_shown_and_fills_in_the_form(
    sign_in: Callable[..., Page], cell: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "cell.dcm").write_bytes(dicom(cell, Modality="GM", PatientID="DCM-1"))
    (tmp_path / "film.dcm").write_bytes(dicom(NumberOfFrames=2))
    page = sign_in(Role.CLINICIAN)
    page.goto("/cases/new")
    chooser = page.locator("input[type=file]").first
    chooser.set_input_files([tmp_path / "cell.dcm", tmp_path / "film.dcm"])
    told = page.locator("[data-told]")
    expect(told).to_contain_text("Read from cell.dcm: ", timeout=WAIT_MS)
    expect(page.get_by_label("Patient identifier")).to_have_value("DCM-1")
    expect(page.get_by_label("Birth year")).to_have_value("1961")
    expect(page.get_by_label("Sex")).to_have_value("female")
    items = page.locator(".image-item")
    expect(items.nth(1)).to_contain_text("several frames", timeout=WAIT_MS)
    expect(items.nth(0)).not_to_have_class("image-item image-item--no-preview")
    items.nth(1).get_by_role("button").click()
    page.get_by_label("Birth year").fill("1950")
    page.get_by_role("button", name="Send case").click()
    expect(page.locator("#told-title")).to_be_visible(timeout=WAIT_MS)
    page.get_by_label("Birth year").fill("1961")
    page.get_by_role("button", name="Send case").click()
    expect(page.get_by_role("heading", name="DCM-1")).to_be_visible(timeout=WAIT_MS)


def test_a_table_becomes_cases(
    sign_in: Callable[..., Page], cell: np.ndarray, tmp_path: Path
) -> None:
    data = dicom(cell // 2, Modality="GM", PatientID="DCM-2", SOPInstanceUID="1.2.3")
    (tmp_path / "images.zip").write_bytes(archive({"cells/one.dcm": data, "other.png": b""}))
    (tmp_path / "cases.csv").write_text("file;priority\none.dcm;urgent\nmissing.png;")
    page = sign_in(Role.CLINICIAN)
    page.goto("/imports")
    page.get_by_label("Table (CSV)").set_input_files(tmp_path / "cases.csv")
    page.get_by_label("Images (ZIP)").set_input_files(tmp_path / "images.zip")
    page.get_by_role("button", name="Check them").click()
    file_button = page.get_by_role("button", name="File 1 case")
    expect(file_button).to_be_visible(timeout=WAIT_MS)  # by itself
    expect(page.locator("#import-status")).to_contain_text("The archive has no file missing.png.")
    file_button.click()
    status = page.locator("#import-status")
    expect(status).to_contain_text("1 case is filed", timeout=WAIT_MS)
    status.get_by_role("link", name="case ").click()
    expect(page.get_by_role("heading", name="DCM-2")).to_be_visible()
