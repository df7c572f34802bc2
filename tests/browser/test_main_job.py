"""The main job as a person does it: sign in, upload a real cell, read the answer, find it again."""

import datetime as dt
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, TimeoutError, expect

from tests import demo
from tests.browser.person import (
    ANSWER_MS,
    changed_copy,
    expect_answer,
    faults,
    fill_sign_in,
    samples,
    send_case,
    tab_to,
)
from tests.stack import PASSWORD, Stack
from webapp.accounts import queries as accounts_queries
from webapp.accounts import services as accounts
from webapp.accounts.models import User, UserSession
from webapp.db import db, now, transaction
from webapp.permissions import Role

CASE = re.compile(r"/cases/\d+$")
FOR_AXE = {"bypass_csp": True}  # it writes inline styles of its own
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_a_real_cell_is_named_found_again_and_signed_by_keyboard_alone(
    open_browser: Callable[..., Page], house: Stack, blood_cell_bundle: Path
) -> None:
    page = open_browser()
    page.on("filechooser", lambda _chooser: None)  # long before one opens: a dialog is caught then
    keys = page.keyboard
    page.goto("/sign-in")
    tab_to(page, page.get_by_label("User name"))
    keys.type(house.add_user(Role.CLINICIAN))
    tab_to(page, page.get_by_label("Password"))
    keys.type(PASSWORD)
    keys.press("Enter")
    page.wait_for_url("**/cases")

    finding, image = next(iter(samples(blood_cell_bundle).items()))
    identifier = "K-0001"
    tab_to(page, page.get_by_role("link", name="New case").first)
    keys.press("Enter")
    page.wait_for_url("**/cases/new")
    tab_to(page, page.locator("input[type=file]").first)
    choose_by_key(page, image)
    tab_to(page, page.get_by_label("Patient identifier"))
    keys.type(identifier)
    tab_to(page, page.get_by_role("button", name="Send case"))
    keys.press("Enter")
    page.wait_for_url(CASE)
    expect_answer(page, finding)
    case_url = page.url
    expect(
        page.get_by_text("Firstlook supports a decision and never makes one").first
    ).to_be_visible()

    tab_to(page, page.get_by_role("link", name="Worklist").first)
    keys.press("Enter")
    page.wait_for_url("**/cases")
    tab_to(page, page.get_by_label("Patient").first)
    keys.type(identifier)
    keys.press("Enter")
    page.wait_for_url("**/cases?*")
    tab_to(page, page.get_by_role("link", name=identifier).first)
    keys.press("Enter")
    page.wait_for_url(case_url)
    expect_answer(page, finding)
    tab_to(page, page.get_by_role("radio", name=f"Agree: {finding}"))
    keys.press("Space")
    tab_to(page, page.get_by_role("button", name="Sign", exact=True))
    keys.press("Enter")
    expect(page.locator("#decision-panel")).to_contain_text("Version 1, signed by ")
    tab_to(page, page.get_by_role("link", name=identifier).first)
    keys.press("Enter")
    page.wait_for_url("**/patients/*")
    expect(page.locator("main")).to_contain_text(finding)


def choose_by_key(page: Page, file: Path) -> None:
    """Open the dialog of a file field that has the focus, and choose; a person whose first press
    opens nothing, on a busy machine, presses again."""
    for _ in range(3):
        try:
            with page.expect_file_chooser(timeout=10_000) as chooser:
                page.keyboard.press("Space")
        except TimeoutError:
            continue
        chooser.value.set_files(file)
        return
    raise AssertionError("no press of the space bar opens the dialog")


def test_every_sample_is_named_rightly_on_a_phone(
    sign_in: Callable[..., Page], blood_cell_bundle: Path
) -> None:
    page = sign_in(**PHONE)
    for finding, image in list(samples(blood_cell_bundle).items())[1:4]:
        send_case(page, image)
        page.wait_for_url(CASE)
        expect_answer(page, finding)


def test_it_works_without_script(sign_in: Callable[..., Page], blood_cell_bundle: Path) -> None:
    page = sign_in(java_script_enabled=False)
    finding, image = list(samples(blood_cell_bundle).items())[-1]
    send_case(page, image)
    for _ in range(60):
        if page.get_by_role("heading", name="Most likely").count():
            break
        page.wait_for_timeout(500)
        page.get_by_role("link", name="Refresh").click()
    expect_answer(page, finding)


def test_a_broken_file_gets_a_sentence_and_the_form_keeps_what_was_typed(
    sign_in: Callable[..., Page], tmp_path: Path, blood_cell_bundle: Path
) -> None:
    page = sign_in()
    broken = tmp_path / "cell.jpg"
    broken.write_bytes(next(iter(samples(blood_cell_bundle).values())).read_bytes()[:900])
    identifier = send_case(page, broken)
    expect(page.get_by_text("not sent yet").first).to_be_visible()
    expect(page.get_by_label("Patient identifier")).to_have_value(identifier)


def test_the_same_image_for_another_patient_is_asked_about_before_it_is_sent(
    sign_in: Callable[..., Page], blood_cell_bundle: Path
) -> None:
    page = sign_in()
    image = list(samples(blood_cell_bundle).values())[5]
    send_case(page, image)
    page.wait_for_url(CASE)
    other = send_case(page, image)
    dialog = page.get_by_role("dialog", name="Is this the right patient?")
    expect(dialog).to_be_visible()
    assert page.url.endswith("/cases/new")
    dialog.get_by_role("button", name="send all the same").click()
    page.wait_for_url(CASE)
    expect(page.get_by_role("heading", level=1)).to_contain_text(other)


def test_a_one_time_password_must_be_changed_at_the_first_sign_in(
    open_browser: Callable[..., Page], house: Stack
) -> None:
    with house.rows():
        _, password = accounts.create_user(
            actor=None,
            username="newcomer",
            full_name="New Comer",
            roles={Role.CLINICIAN},
            sites=accounts_queries.all_sites(),
        )
    page = open_browser()
    fill_sign_in(page, "newcomer", password)
    page.goto("/cases")
    assert page.url.endswith("/account")
    page.get_by_label("Present password").fill(password)
    page.get_by_label("New password", exact=True).fill("a quiet morning ward")
    page.get_by_label("New password again").fill("a quiet morning ward")
    page.get_by_role("button", name="Change password").click()
    page.goto("/cases")
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()


def test_a_note_survives_signing_in_again(sign_in: Callable[..., Page], house: Stack) -> None:
    page = sign_in()
    username = "user" + str(next(house._users) - 1)
    page.goto("/cases/new")
    page.get_by_label("Note").fill("Blasts? Please look again.")
    with house.rows():
        idle = dt.timedelta(minutes=15)
        of_user = sa.select(User.id).where(User.username == username).scalar_subquery()
        with transaction():
            db.session.execute(
                sa.update(UserSession)
                .where(UserSession.user_id == of_user)
                .values(last_active_at=now() - idle)
            )
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # back at the screen
    page.wait_for_url("**/sign-in?next=/cases/new")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Note")).to_have_value("Blasts? Please look again.")


def test_the_demonstration_without_a_browser_says_whether_all_is_right(
    house: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "Stack", lambda bundle: nullcontext(house))
    assert demo.main() == 0
    assert capsys.readouterr().out.count(": completed after ") == 8

    wait_for = house.wait_for
    monkeypatch.setattr(house, "wait_for", lambda case: replace(wait_for(case), finding=None))
    assert demo.main() == 1


def test_a_real_answer_is_accessible_and_fits_the_screen(
    sign_in: Callable[..., Page], blood_cell_bundle: Path, tmp_path: Path
) -> None:
    page = sign_in(**FOR_AXE)
    send_case(page, changed_copy(next(iter(samples(blood_cell_bundle).values())), tmp_path))
    page.wait_for_url(CASE)
    expect(page.get_by_role("heading", name="Most likely")).to_be_visible(timeout=ANSWER_MS)
    page.reload()
    assert not list(faults(page))
    page.goto("/nowhere")
    assert not list(faults(page))
    page.goto("/cases/new")
    page.get_by_role("button", name="Send case").click()
    expect(page.get_by_text("This case was not sent yet")).to_be_visible()
    assert not list(faults(page))
    page.goto("/cases")
    page.get_by_role("button", name="Keys", exact=True).click()
    expect(page.get_by_role("dialog", name="Keys of the worklist")).to_be_visible()
    assert not list(faults(page))
