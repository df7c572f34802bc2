"""What the small scripts of the pages do, on a web server without worker or broker."""

import base64
import datetime as dt
import io
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from sqlalchemy import update
from werkzeug.serving import make_server

from tests import clinic
from tests.browser.person import faults
from tests.conftest import PASSWORD, People
from tests.factories import serving_model
from webapp import imaging
from webapp.accounts.models import Site, User, UserSession
from webapp.assessments import services as assessments
from webapp.assessments.models import Assessment
from webapp.cases.models import Case, Patient, Sex
from webapp.catalogue.models import Priority
from webapp.db import db, now, transaction
from webapp.reviews.models import Decision
from webapp.reviews.queries import basis
from webapp.reviews.services import Verdict, sign
from webapp.triage.services import Destination, Shown, Submission, Upload, move_case, submit

CASE = re.compile(r"/cases/\d+$")
MINUTE = dt.timedelta(minutes=1)
RESTORED = "Restored from before you were signed out"
SLOW_MS = 60_000
"""What a page asks for every second may take, on a machine that is busy."""
LOOK_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"


class Ward:
    """An instance with a clinician and a model, and what goes on in it meanwhile."""

    def __init__(self, app: Flask, people: People, url: str) -> None:
        self.app = app
        self.people = people
        self.url = url
        with app.app_context():
            self.site_id = people.site().id
            self.user = self.clinician()
            model = serving_model()
            self.reading_task_id = model.reading_task_id
            self.bundle_sha256 = model.bundle_sha256

    def clinician(self) -> User:
        with self.app.app_context():
            return self.people.clinician(db.session.get_one(Site, self.site_id))

    def case(self, image_count: int = 1, **changes: Any) -> int:
        """A case that waits to be read; its number."""
        with self.app.app_context():
            uploads = tuple(
                Upload(imaging.clean(picture(number)), f"cell-{number}.png")
                for number in range(image_count)
            )
            case = submit(
                actor=db.session.get_one(User, self.user.id),
                submission=Submission(
                    **{
                        "form_token": secrets.token_hex(8),
                        "site_id": self.site_id,
                        "identifier": secrets.token_hex(4),
                        "birth_year": 1970,
                        "sex": Sex.FEMALE,
                        "reading_task_id": self.reading_task_id,
                        "priority": Priority.ROUTINE,
                        "age_at_acquisition_years": None,
                        "body_site": None,
                        "note": "",
                        "uploads": uploads,
                        "confirm_duplicates": True,
                    }
                    | changes
                ),
            )
            return case.id

    def read(self) -> None:
        """A worker reads what waits."""
        with self.app.app_context():
            for claim in assessments.claim(
                worker="test", bundle_sha256s=[self.bundle_sha256], limit=10, lease_seconds=60
            ):
                assessment = db.session.get_one(Assessment, claim.assessment_id)
                said = assessments.ImageResult(
                    prediction="grave",
                    probabilities={"calm": 0.02, "watch": 0.03, "grave": 0.95},
                    abstained=False,
                    reason="",
                )
                assessments.complete(
                    claim=claim,
                    result=assessments.AssessmentResult(
                        images=(said,) * len(assessment.images),
                        metadata_encoded={},
                        engine="test",
                        code_version="test",
                        inference_ms=1.0,
                    ),
                )

    def let_pass(self, idle: dt.timedelta) -> None:
        """Make all sessions as if nothing had been done in them for so long."""
        with self.app.app_context(), transaction():
            db.session.execute(update(UserSession).values(last_active_at=now() - idle))


def picture(number: int = 0) -> bytes:
    """A PNG of 96 x 64 pixels, each number another one."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((96, 64)).point(lambda v: (v + 40 * number) % 256).save(
        file, "PNG"
    )
    return file.getvalue()


def large_picture() -> bytes:
    """A PNG of about 800 kB."""
    file = io.BytesIO()
    Image.effect_noise((900, 900), 90).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def ward(app: Flask, people: People) -> Iterator[Ward]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Ward(app, people, f"http://127.0.0.1:{server.port}")
    server.shutdown()
    thread.join()


@pytest.fixture
def visit(chromium: Browser, ward: Ward) -> Iterator[Callable[..., Page]]:
    """A signed-in page in a fresh browser; a script that fails fails the test."""
    contexts: list[BrowserContext] = []
    failures: list[str] = []

    def open_page(path: str, **options: Any) -> Page:
        context = chromium.new_context(base_url=ward.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(path)
        sign_in(page, ward.user)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert failures == []


def sign_in(page: Page, user: User) -> None:
    page.get_by_label("User name").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)  # and is loaded: its scripts have run


def be_away(page: Page, ward: Ward, path: str = "/cases/new") -> None:
    """Leave the page alone for so long that the session ends."""
    ward.let_pass(15 * MINUTE)
    page.evaluate(LOOK_AGAIN)
    page.wait_for_url(f"**/sign-in?next={path}")


def test_someone_idle_is_warned_can_stay_and_finds_the_note_again(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases/new")
    warning = page.get_by_role("dialog", name="Are you still there?")
    page.get_by_label("Note").fill("Half a thought")

    ward.let_pass(12 * MINUTE)
    page.evaluate(LOOK_AGAIN)
    page.wait_for_timeout(300)
    expect(warning).not_to_be_visible()

    ward.let_pass(13.5 * MINUTE)
    page.evaluate(LOOK_AGAIN)
    expect(warning).to_contain_text("1:")
    warning.get_by_role("button", name="Stay signed in").click()
    expect(warning).not_to_be_visible()

    be_away(page, ward)
    sign_in(page, ward.user)
    expect(page.get_by_label("Note")).to_have_value("Half a thought")
    expect(page.get_by_text(RESTORED)).to_be_visible()


def test_a_note_is_kept_only_for_who_wrote_it_and_only_while_signed_off(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases/new")
    page.get_by_label("Note").fill("For my eyes")
    assert "eyes" not in page.evaluate("JSON.stringify(sessionStorage)")
    be_away(page, ward)
    sign_in(page, ward.clinician())  # someone else sits down
    expect(page.get_by_label("Note")).to_have_value("")
    expect(page.get_by_text(RESTORED)).not_to_be_visible()
    assert "eyes" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_the_note_on_one_patient_is_not_in_the_form_of_the_next(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases/new")
    for leave in ("Cancel", "Worklist", "New case"):
        page.get_by_label("Note").fill("Of the first patient")
        page.get_by_role("link", name=leave).last.click()
        page.goto("/cases/new")
        expect(page.get_by_label("Note")).to_have_value("")

    page.get_by_label("Note").fill("Of the first patient")
    be_away(page, ward)
    sign_in(page, ward.user)
    expect(page.get_by_label("Note")).to_have_value("Of the first patient")
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("link", name="New case").first.click()
    page.wait_for_url("**/cases/new")
    expect(page.get_by_label("Note")).to_have_value("")


def test_a_case_that_is_sent_too_late_leaves_its_note_for_after_signing_in(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases/new")
    page.get_by_label("Patient identifier").fill("P-1")
    page.get_by_label("Note").fill("Too late")
    page.locator("#images").set_input_files(
        {"name": "cell.png", "mimeType": "image/png", "buffer": picture()}
    )
    ward.let_pass(15 * MINUTE)
    page.get_by_role("button", name="Send case").click()
    page.wait_for_url("**/sign-in?next=/cases/new")
    expect(page.get_by_text("Your case was not sent, because you were signed out.")).to_be_visible()
    sign_in(page, ward.user)
    expect(page.get_by_label("Note")).to_have_value("Too late")
    expect(page.get_by_label("Patient identifier")).to_have_value("P-1")
    page.locator("#images").set_input_files(
        {"name": "cell.png", "mimeType": "image/png", "buffer": picture()}
    )
    page.get_by_role("button", name="Send case").click()
    page.wait_for_url(CASE)
    assert "Too late" not in page.evaluate("JSON.stringify(sessionStorage)")
    page.goto("/cases/new")
    expect(page.get_by_text(RESTORED)).not_to_be_visible()


def sign_off_with(page: Page, ward: Ward, identifier: str, note: str) -> None:
    """Type these, and be away for so long that the session ends."""
    page.goto("/cases/new")
    page.get_by_label("Patient identifier").fill(identifier)
    page.get_by_label("Note").fill(note)
    be_away(page, ward)


def test_what_is_restored_can_be_kept_or_discarded_with_its_patient(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases")
    for choice, left in (("Keep", ("P-1", "Of P-1")), ("Discard", ("", ""))):
        sign_off_with(page, ward, "P-1", "Of P-1")
        sign_in(page, ward.user)
        expect(page.get_by_text(RESTORED)).to_be_visible()
        expect(page.get_by_label("Patient identifier")).to_have_value("P-1")
        page.get_by_role("button", name=choice).click()
        expect(page.get_by_text(RESTORED)).not_to_be_visible()
        expect(page.get_by_label("Patient identifier")).to_be_focused()
        expect(page.get_by_label("Patient identifier")).to_have_value(left[0])
        expect(page.get_by_label("Note")).to_have_value(left[1])


def test_a_note_is_not_restored_beside_another_patient(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases")
    case_id = ward.case()
    with ward.app.app_context():
        case = db.session.get_one(Case, case_id)
        patient_id, identifier = case.patient_id, case.patient.identifier
    sign_off_with(page, ward, "P-1", "Of P-1")
    page.goto(f"/sign-in?next=/cases/new%3Fpatient_id={patient_id}")
    sign_in(page, ward.user)
    expect(page.get_by_label("Patient identifier")).to_have_value(identifier)
    expect(page.get_by_label("Note")).to_have_value("")
    expect(page.get_by_text(RESTORED)).not_to_be_visible()


def test_the_site_is_restored_with_its_patient_or_nothing_is(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    with ward.app.app_context():
        user = db.session.get_one(User, ward.user.id)
        user.sites.append(ward.people.site("North"))
        db.session.commit()
    page = visit("/cases/new")
    page.get_by_label("Site").select_option(label="North")
    page.get_by_label("Note").fill("Of the North")
    be_away(page, ward)
    sign_in(page, ward.user)
    expect(page.get_by_label("Site").locator("option:checked")).to_have_text("North")
    expect(page.get_by_label("Note")).to_have_value("Of the North")

    be_away(page, ward)
    with ward.app.app_context():
        user = db.session.get_one(User, ward.user.id)
        user.sites = [site for site in user.sites if site.name != "North"]
        user.sites += [ward.people.site("South")]
        db.session.commit()
    sign_in(page, ward.user)
    expect(page.get_by_label("Note")).to_have_value("")
    expect(page.get_by_label("Site").locator("option:checked")).to_have_text("Choose")
    expect(page.get_by_text(RESTORED)).not_to_be_visible()


def decide(page: Page, comment: str) -> None:
    """Fill in a decision, and do not sign it."""
    page.get_by_label("Another finding").check()
    page.locator(".decide [name=finding]").select_option(label="Watch")
    page.locator("[name=comment]").fill(comment)


def expect_decision(page: Page, comment: str, *, is_begun: bool) -> None:
    expect(page.locator("[name=comment]")).to_have_value(comment)
    expect(page.get_by_label("Another finding")).to_be_checked(checked=is_begun)
    chosen = page.locator(".decide [name=finding] option:checked")
    expect(chosen).to_have_text("Watch" if is_begun else "Choose")
    expect(page.get_by_text(RESTORED)).to_be_visible(visible=is_begun)


def test_a_decision_that_was_begun_is_there_again_and_can_be_signed(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    path = f"/cases/{ward.case()}"
    ward.read()
    page = visit(path)
    decide(page, "Half a thought")
    page.locator("summary", has_text="Void this case").click()
    reason = page.locator("[name=reason]")
    reason.fill("Sent twice")
    assert "thought" not in page.evaluate("JSON.stringify(sessionStorage)")
    be_away(page, ward, path)
    sign_in(page, ward.user)
    expect_decision(page, "Half a thought", is_begun=True)
    expect(reason).to_be_visible()
    expect(reason).to_have_value("Sent twice")
    page.get_by_role("button", name="Discard").click()
    expect_decision(page, "", is_begun=False)
    expect(reason).to_have_value("")

    page.get_by_label("Another finding").check()
    page.locator("[name=comment]").fill("Too late")
    sign_button = page.get_by_role("button", name="Sign", exact=True)
    sign_button.click()
    expect(page.get_by_text("This is not signed yet")).to_be_visible()
    page.locator(".decide [name=finding]").select_option(label="Watch")
    ward.let_pass(15 * MINUTE)
    sign_button.click()
    page.wait_for_url(f"**/sign-in?next={path}")  # a refused form has no page to come back to
    sign_in(page, ward.user)
    expect_decision(page, "Too late", is_begun=True)
    sign_button.click()
    expect(page.get_by_text("Signed: ")).to_be_visible()
    expect(page.get_by_text(RESTORED)).not_to_be_visible()
    assert "Too late" not in page.evaluate("JSON.stringify(sessionStorage)")


def sign_as(user: User, case_id: int) -> None:
    """Sign a case that nobody has signed."""
    case = db.session.get_one(Case, case_id)
    actor = db.session.get_one(User, user.id)
    verdict = Verdict(decision=Decision.UNCERTAIN)
    sign(actor=actor, case=case, verdict=verdict, shown=basis(case).mark, form_token="1")


def move(user: User, case_id: int) -> None:
    """File a case for somebody else of the same age and sex: it is not read again."""
    case = db.session.get_one(Case, case_id)
    shown = Shown(case.patient_id, 0)
    like = Patient(
        site_id=case.site_id, identifier="P-2", sex=Sex.FEMALE, birth_year=1970, created_at=now()
    )
    db.session.add(like)
    db.session.commit()
    to = Destination(identifier="P-2", registers=False, reason="P-1", confirm_duplicates=True)
    move_case(actor=db.session.get_one(User, user.id), case=case, destination=to, shown=shown)


def test_a_decision_that_was_begun_is_never_beside_anything_else(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    case_id, colleague = ward.case(), ward.clinician()
    ward.read()
    path = f"/cases/{case_id}"
    page = visit(path)
    told = page.get_by_text("is not restored: this has changed since")
    changes: list[tuple[Callable[[], None], User, bool]] = [
        (lambda: None, colleague, False),  # who has written nothing
        (lambda: move(ward.user, case_id), colleague, True),
        (lambda: sign_as(ward.user, case_id), colleague, True),
    ]
    for change, who_returns, is_told in changes:
        decide(page, "Of this case only")
        be_away(page, ward, path)
        with ward.app.app_context():
            change()
        sign_in(page, who_returns)
        expect_decision(page, "", is_begun=False)
        expect(told).to_be_visible(visible=is_told)
        assert "this case only" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_what_else_is_written_of_a_case_is_there_again(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    case_id = ward.case()
    ward.read()
    with ward.app.app_context():
        sign_as(ward.user, case_id)
    page = visit("/cases")
    for path, name in (
        (f"/cases/{case_id}/particulars", "note"),
        (f"/cases/{case_id}/patient", "reason"),
        (f"/cases/{case_id}", "note"),  # of an outcome
    ):
        page.goto(path)
        field = page.locator(f"main [name={name}]").last
        if folded := page.locator("summary", has_text="Record an outcome").all():
            folded[0].click()
        field.fill("Written before")
        be_away(page, ward, path)
        sign_in(page, ward.user)
        expect(page.get_by_text(RESTORED)).to_be_visible()
        expect(field).to_be_visible()
        expect(field).to_have_value("Written before")


def test_who_signs_out_leaves_no_note_behind(ward: Ward, visit: Callable[..., Page]) -> None:
    page = visit("/cases/new")
    page.get_by_label("Note").fill("Forget me")
    page.route("**/sign-out", lambda _route: None)  # the answer is long in coming
    ward.let_pass(15 * MINUTE)
    page.evaluate(f"document.addEventListener('submit', () => setTimeout(() => {LOOK_AGAIN}))")
    page.locator("summary", has_text="User").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in?next=/cases/new")
    assert "Forget" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_who_signs_out_in_another_tab_leaves_no_note_behind_either(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases/new")
    page.get_by_label("Note").fill("Forget me")
    other_tab = page.context.new_page()
    other_tab.goto(f"{ward.url}/cases")
    other_tab.locator("summary", has_text="User").click()
    other_tab.get_by_role("button", name="Sign out").click()
    other_tab.wait_for_url("**/sign-in")
    page.evaluate(LOOK_AGAIN)
    page.wait_for_url("**/sign-in?next=/cases/new")
    assert "Forget" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_a_form_of_the_session_before_is_filled_in_again_and_nothing_is_lost(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases/new")
    page.get_by_label("Patient identifier").fill("P-1")
    page.get_by_label("Note").fill("Half a thought")
    other_tab = page.context.new_page()
    other_tab.goto(f"{ward.url}/cases")
    other_tab.locator("summary", has_text="User").click()
    other_tab.get_by_role("button", name="Sign out").click()
    sign_in(other_tab, ward.user)
    page.get_by_role("button", name="Send case").click()
    expect(page.get_by_text("Your case was not sent, because you were signed out")).to_be_visible()
    expect(page.get_by_text(RESTORED)).to_be_visible()
    expect(page.get_by_label("Patient identifier")).to_have_value("P-1")
    expect(page.get_by_label("Note")).to_have_value("Half a thought")


def test_the_reading_task_that_is_chosen_is_described(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    with ward.app.app_context():
        serving_model(task="fundus").reading_task.description = "One eye."
        db.session.commit()
    page = visit("/cases/new")
    described = page.locator("#reading-tasks p:visible")
    expect(described).to_have_text(["Fundus: One eye.", "Test-Task: A test."], use_inner_text=True)
    page.get_by_label("Fundus").check()
    expect(described).to_have_text(["Fundus: One eye."])
    expect(page.get_by_label("Fundus")).to_have_accessible_description(re.compile("One eye."))
    page.get_by_role("button", name="Send case").click()
    expect(page.get_by_role("heading", name="This case was not sent yet")).to_be_visible()
    expect(described).to_have_text(["Fundus: One eye."])


def test_what_is_put_right_is_not_called_wrong_any_more(visit: Callable[..., Page]) -> None:
    page = visit("/cases/new")
    page.get_by_role("button", name="Send case").click()
    identifier = page.get_by_label("Patient identifier")
    for field in ("identifier", "images"):
        expect(page.locator(f"#{field}-errors")).to_be_visible()
    identifier.fill("P-1")
    identifier.blur()
    expect(page.locator("#identifier-errors")).to_have_count(0)
    expect(identifier).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#images-errors")).to_be_visible()


def test_the_lesions_of_a_patient_are_suggested(ward: Ward, visit: Callable[..., Page]) -> None:
    with ward.app.app_context():
        skin = serving_model(task="dermoscopy").reading_task_id
    ward.case(identifier="A-1", reading_task_id=skin, region="left arm")
    page = visit("/cases/new")
    expect(page.get_by_label("Lesion")).to_be_hidden()
    page.get_by_label("Dermoscopy").check()
    suggested = page.locator("#known-lesions option")
    with page.expect_response("**/regions/known"):
        page.get_by_label("Patient identifier").fill("A-2")
        page.get_by_label("Lesion").focus()
    expect(suggested).to_have_count(0)
    page.get_by_label("Patient identifier").fill("A-1")
    page.get_by_label("Lesion").focus()
    expect(suggested).to_have_count(1)
    expect(suggested).to_have_attribute("value", "left arm")
    page.get_by_label("Test-Task").check()
    expect(page.get_by_label("Lesion")).to_be_hidden()


def test_files_are_as_large_as_they_are(visit: Callable[..., Page]) -> None:
    page = visit("/cases/new")
    sizes = {0: "0 bytes", 1: "1 byte", 499: "499 bytes", 1499: "1 kB", 2_340_000: "2.3 MB"}
    page.locator("#images").set_input_files(
        [{"name": f"{size}.png", "mimeType": "image/png", "buffer": bytes(size)} for size in sizes]
    )
    expect(page.locator("[data-size]")).to_have_text(list(sizes.values()))


@pytest.mark.parametrize("is_touched", [False, True])
def test_the_invitation_is_one_that_the_device_can_follow(
    visit: Callable[..., Page], is_touched: bool
) -> None:
    page = visit("/cases/new", has_touch=is_touched, is_mobile=is_touched)
    dropping = page.get_by_text("Drop images here, paste them, or")
    touching = page.get_by_text("Take a photo or choose images")
    seen, unseen = (touching, dropping) if is_touched else (dropping, touching)
    expect(seen).to_be_visible()
    expect(unseen).not_to_be_visible()
    expect(page.locator("label[for=photo]")).to_be_visible(visible=is_touched)


def test_the_theme_that_was_chosen_is_written_by_the_server(visit: Callable[..., Page]) -> None:
    page = visit("/cases", color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("summary", has_text="User").click()
    page.get_by_label("Dark").check()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    answer = page.reload()
    assert answer is not None
    assert '<html lang="en" data-bs-theme="dark">' in answer.text()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def transform(page: Page) -> str:
    return page.locator(".viewer__image:not(.viewer__image--away)").evaluate(
        "image => image.style.transform"
    )


def test_the_viewer_zooms_and_moves_by_buttons_keys_wheel_and_pointer(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit(f"/cases/{ward.case()}")
    whole = transform(page)
    page.get_by_role("button", name="Zoom in").click()
    assert "scale(1.25)" in transform(page)
    stage = page.get_by_role("group", name="Image viewer")
    stage.press("+")
    assert "scale(1.5625)" in transform(page)
    stage.press("ArrowRight")
    assert "translate(-60px, 0px)" in transform(page)
    box = stage.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = transform(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=3)
    page.mouse.up()
    assert "translate(-30px, 20px)" in transform(page) != before
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "before => document.querySelector('.viewer__image').style.transform !== before", arg=before
    )
    stage.press("0")
    assert transform(page) == whole


def test_the_filmstrip_shows_an_image_and_what_was_said_of_it(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    case_id = ward.case(image_count=3)
    ward.read()
    page = visit(f"/cases/{case_id}")
    said = page.locator("[data-of-image]")
    shown = page.locator(".viewer--live .viewer__image:visible")
    expect(shown).to_have_attribute("alt", "Image 1 of 3 of this case")
    page.locator("[data-filmstrip]").get_by_alt_text("Image 2").click()
    expect(shown).to_have_attribute("alt", "Image 2 of 3 of this case")
    expect(said.nth(1)).to_have_attribute("open", "")
    said.nth(2).locator("summary").click()
    expect(shown).to_have_attribute("alt", "Image 3 of 3 of this case")
    assert said.nth(1).get_attribute("open") is None


def test_an_open_row_is_kept_fresh_until_it_is_read(ward: Ward, visit: Callable[..., Page]) -> None:
    case_id = ward.case()
    page = visit("/cases")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    row = page.locator(f"#case-{case_id}")
    expect(row).to_contain_text("Waiting")
    ward.read()
    expect(row).to_contain_text("Grave", timeout=10_000)
    expect(page.locator("#live")).to_have_text("All cases on this page have been read.")
    expect(row).to_have_count(1)
    asked.clear()
    page.wait_for_timeout(2500)
    assert not [url for url in asked if "/cases/rows" in url]


def test_a_case_page_shows_the_answer_when_it_comes(ward: Ward, visit: Callable[..., Page]) -> None:
    page = visit(f"/cases/{ward.case()}")
    expect(page.get_by_role("heading", name="Waiting for the model")).to_be_visible()
    ward.read()
    expect(page.get_by_role("heading", name="Most likely")).to_contain_text("Grave", timeout=10_000)
    expect(page.locator("#live")).to_contain_text("Grave")

    with ward.app.app_context(), transaction():
        db.session.get_one(Site, ward.site_id).own_impression_first = True
    page.goto(f"/cases/{ward.case()}")
    asks_again = page.locator("#status[hx-get]")
    expect(asks_again).to_have_count(1)
    ward.read()
    expect(asks_again).to_have_count(0, timeout=10_000)
    page.wait_for_timeout(300)  # what is read out would be there by now
    assert "Grave" not in page.locator("#live").inner_text()
    expect(page.locator("#status")).not_to_contain_text("Grave")
    page.get_by_label("Uncertain").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Most likely")).to_contain_text("Grave")


def test_images_are_previewed_and_can_be_taken_off_again(visit: Callable[..., Page]) -> None:
    page = visit("/cases/new")
    files = [
        {"name": f"cell-{number}.png", "mimeType": "image/png", "buffer": picture(number)}
        for number in range(2)
    ]
    page.locator("#images").set_input_files(files)
    items = page.locator(".image-item")
    expect(items).to_have_count(2)
    has_ink = "canvas => canvas.getContext('2d').getImageData(96, 96, 1, 1).data[3] === 255"
    page.wait_for_function(f"({has_ink})(document.querySelector('.image-item canvas'))")
    items.nth(0).get_by_role("button", name="Remove cell-0.png").click()
    expect(items).to_have_count(1)
    expect(items.get_by_role("button", name="Remove cell-1.png")).to_be_focused()


def test_an_image_that_was_chosen_before_the_script_was_there_is_in_the_list(
    visit: Callable[..., Page],
) -> None:
    page = visit("/cases/new")
    held: list[Route] = []
    page.route("**/js/new-case.js*", lambda route: held.append(route))
    page.reload(wait_until="commit")
    page.locator("#images").set_input_files(
        {"name": "early.png", "mimeType": "image/png", "buffer": picture()}
    )
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    expect(page.locator(".image-item")).to_contain_text("early.png")


def test_a_dropped_image_and_a_photo_join_the_list_and_are_sent_with_progress(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit("/cases")
    page.add_init_script(
        """
        navigator.mediaDevices.getUserMedia = async () => {
          const canvas = document.createElement("canvas");
          canvas.getContext("2d").fillRect(0, 0, 50, 50);
          return canvas.captureStream(5);
        };
        """
    )
    page.goto("/cases/new")
    dropped = page.evaluate_handle(
        """text => {
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
          data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
          return data;
        }""",
        base64.b64encode(large_picture()).decode(),
    )
    page.locator("[data-dropzone]").dispatch_event("drop", {"dataTransfer": dropped})
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the photo").click()
    expect(page.get_by_text("Photos taken: 1")).to_be_visible()
    page.get_by_role("button", name="Done").click()
    expect(page.locator(".image-item")).to_have_count(2)

    page.evaluate(
        """() => {
          const place = document.querySelector("[data-progress-text]");
          new MutationObserver(() => {
            sessionStorage.setItem(
              "told", (sessionStorage.getItem("told") ?? "") + place.textContent);
          }).observe(place, { childList: true });
        }"""
    )
    page.get_by_label("Patient identifier").fill("P-1")
    slowly = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1e6}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slowly)
    page.get_by_role("button", name="Send case").click()
    page.wait_for_url(CASE)
    told = page.evaluate("sessionStorage.getItem('told')")
    shares = [int(share) for share in re.findall(r"Sending: (\d+) %", told)]
    assert shares == sorted(set(shares))
    assert [share for share in shares if 0 < share < 100]
    assert told.endswith("The images are being checked."), told
    with ward.app.app_context():
        case = db.session.get_one(Case, int(page.url.rpartition("/")[2]))
        assert len(case.images) == 2


def test_keys_move_from_case_to_case(ward: Ward, visit: Callable[..., Page]) -> None:
    first, second = ward.case(), ward.case()
    page = visit("/cases")
    links = page.locator(".case-row__link")
    help_ = page.get_by_role("dialog", name="Keys of the worklist")

    expect(
        page.get_by_role("button", name="Keys", exact=True)
    ).to_be_visible()  # the script is there
    page.keyboard.press("ArrowDown")  # scrolls, since no case has the focus
    expect(page.locator(".case-row__link:focus")).to_have_count(0)
    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("j")  # there is none further down
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()

    page.keyboard.press("?")
    expect(help_).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(help_).not_to_be_visible()

    identifier = page.get_by_label("Patient identifier")
    identifier.press_sequentially("j?k")
    expect(identifier).to_have_value("j?k")
    expect(identifier).to_be_focused()

    page.get_by_role("button", name="Keys").click()
    help_.get_by_label("Use these keys in this browser").uncheck()
    help_.get_by_role("button", name="Close").click()
    page.keyboard.press("j")
    expect(page.locator(".case-row__link:focus")).to_have_count(0)
    page.reload()
    page.keyboard.press("?")
    expect(help_).not_to_be_visible()

    page.get_by_role("button", name="Keys").click()
    help_.get_by_label("Use these keys in this browser").check()
    help_.get_by_role("button", name="Close").click()
    links.nth(0).focus()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/cases/{second}$"))
    assert first < second


def test_times_and_days_are_those_of_the_reader(ward: Ward, visit: Callable[..., Page]) -> None:
    with ward.app.app_context():
        skin = serving_model(task="dermoscopy").reading_task_id
    shown = {"identifier": "A-1", "reading_task_id": skin, "region": "left arm"}
    old, near = ward.case(**shown), ward.case(**shown)
    with ward.app.app_context():
        cases = [db.session.get_one(Case, number) for number in (old, near)]
        cases[0].submitted_at = dt.datetime(2026, 1, 10, 20, 30, tzinfo=dt.UTC)
        cases[1].submitted_at = now() - dt.timedelta(hours=3)
        db.session.commit()
        for case in cases:
            clinic.read(case)
        region_id = cases[0].images[0].region_id
    moment = "11 Jan 2026, 09:30:00 GMT+13"

    page = visit("/cases", timezone_id="Pacific/Auckland")
    sent = page.locator(f"#case-{old} .case-row__when time")
    expect(sent).to_have_text("11 Jan 2026")
    expect(sent).to_have_attribute("title", moment)
    expect(page.locator(f"#case-{near} .case-row__when time")).to_have_text("3 hours ago")

    page.goto(f"/cases/{old}")
    expect(page.locator(".timeline time").first).to_have_text(moment)

    page.goto(f"/regions/{region_id}")
    for told in (
        page.locator(".compare__when").first,
        page.get_by_role("rowheader", name=f"case {old}"),
        page.locator("#earlier option:checked"),
        page.locator(".trend g title").first,
        page.locator(".trend > text[data-day]").first,
    ):
        expect(told).to_have_text(re.compile("^11 Jan 2026"))
    expect(page.get_by_role("rowheader", name=f"case {old}").locator("time")).to_have_attribute(
        "title", moment
    )


def test_a_comment_that_is_begun_stays_when_the_answer_comes_and_is_signed_with_it(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    page = visit(f"/cases/{ward.case()}")
    page.get_by_text("Decide without waiting for the model").click()
    page.get_by_label("Comment").fill("Seen at the bedside")
    finding = page.locator("#finding")
    expect(finding).not_to_be_visible()
    ward.read()
    page.get_by_label("Agree: Grave").check(timeout=SLOW_MS)
    expect(page.get_by_label("Comment")).to_have_value("Seen at the bedside")
    page.get_by_label("Another finding").check()
    expect(finding).to_be_visible()
    page.get_by_label("Agree: Grave").check()
    page.get_by_role("button", name="Sign", exact=True).click()
    expect(page.get_by_text("Signed: Agrees with the model: Grave.")).to_be_visible(timeout=SLOW_MS)
    expect(page.locator("#decision-panel")).to_contain_text("Seen at the bedside")


def test_on_a_phone_the_navigation_is_one_line_that_shows_where_one_is(
    visit: Callable[..., Page],
) -> None:
    page = visit("/models", viewport={"width": 320, "height": 640})
    links = page.get_by_role("navigation", name="Main").get_by_role("link").all()
    assert len({link.bounding_box()["y"] for link in links}) == 1
    expect(links[-1]).to_have_accessible_name("Models")
    expect(links[-1]).to_be_in_viewport(ratio=1)
    expect(links[0]).not_to_be_in_viewport()
    for link in links:
        link.focus()
        expect(link).to_be_in_viewport(ratio=1)


def test_what_opens_over_a_page_is_accessible_and_fits_the_screen(
    ward: Ward, visit: Callable[..., Page]
) -> None:
    ward.case()
    page = visit("/cases", bypass_csp=True)  # axe writes styles of its own
    found: list[tuple[str, ...]] = []

    def look_at(name: str) -> None:
        dialog = page.get_by_role("dialog", name=name)
        expect(dialog).to_be_visible()
        found.extend(faults(page))
        page.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()

    page.get_by_role("button", name="Keys", exact=True).click()
    look_at("Keys of the worklist")
    ward.let_pass(13.5 * MINUTE)
    page.evaluate(LOOK_AGAIN)
    look_at("Are you still there?")
    page.goto("/cases/new")
    page.get_by_role("button", name="Use the camera").click()
    look_at("Take a photo")
    page.get_by_label("Patient identifier").fill("P-other")
    page.locator("#images").set_input_files(
        {"name": "again.png", "mimeType": "image/png", "buffer": picture(0)}
    )
    page.get_by_role("button", name="Send case").click()
    look_at("Is this the right patient?")
    assert found == []
