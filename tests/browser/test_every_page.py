"""Every page, with something on it: accessible, and as wide as the screen, by day and by night.

Pages are taken from the routes, so that a new one is looked at without being named here; one that
shows a row needs to be told of such rows.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Error, Page

from tests import clinic, datasets, imports, promotions, trainings
from tests.browser.person import faults, fill_sign_in
from tests.demo import newest_bundle
from tests.stack import PASSWORD, Stack
from webapp.accounts.models import User
from webapp.accounts.queries import user_named
from webapp.app import create_app
from webapp.bundles import services as bundles
from webapp.cases.models import Case, Consent, Sex
from webapp.cases.services import record_consent
from webapp.datasets import services as house
from webapp.datasets.models import Snapshot
from webapp.db import now
from webapp.erasures.models import Cause
from webapp.erasures.services import erase
from webapp.monitoring import services as monitoring
from webapp.monitoring.models import Part
from webapp.permissions import Role
from webapp.promotion import services as promotion
from webapp.registry.models import ModelVersion
from webapp.registry.services import keep_reference
from webapp.reviews import services as reviews
from webapp.reviews.models import Decision, OutcomeSource
from webapp.reviews.queries import basis, outcomes
from webapp.training import services as training
from webapp.training.models import Trouble

NO_PAGES = {
    "explanations.heat_map",
    "exports.case_report",
    "guidance.sample",
    "monitoring.readyz",
    "promotion.predictions",
    "static",
    "triage.image",
}
"""Endpoints that lead to files of rows, and to no page; or, like the API, for programs only."""
COUNT = 32
REPORT = newest_bundle("dermoscopy") / "report.json"

Rows = Mapping[str, Sequence[int]]


@pytest.fixture(scope="module")
def house_with_rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str, Rows]]:
    """A house in which much has happened, who may see all of it, and its rows by the names that
    paths have for them."""
    with Stack(bundle=None, processes=("broker", "web")) as stack:
        name = stack.add_user(*Role)
        others = [stack.add_user(*Role) for _ in range(3)]
        with stack.rows():
            viewer, *colleagues = (user_named(one) for one in (name, *others))
            assert viewer
            people = [one for one in colleagues if one]
            rows = fill(viewer, people, tmp_path_factory.mktemp("set"))
        yield stack, name, rows


def fill(viewer: User, others: Sequence[User], folder: Path) -> Rows:
    """Do a little of everything."""
    version = clinic.serve()
    clinic.bring_samples(version)
    keep_reference(version=version, figures=reference())
    candidate = promotions.candidate()
    for one in (version, candidate):
        clinic.bring_report(one, json.loads(REPORT.read_text()))
    promotion.start_shadow(actor=viewer, version=candidate)
    cases = [read_case(viewer, number) for number in range(COUNT)]
    promotions.read_unseen(candidate, *(["calm", "grave"] * COUNT)[:COUNT])
    cases.append(clinic.send(viewer, identifier="A-2", region="left forearm"))
    clinic.fail(clinic.send(viewer))
    comparisons = compared(viewer, others, candidate)
    nothing = trainings.snapshot(note="Nothing")  # the first data set, with the test, comes with it
    data = datasets.register(
        version.reading_task, datasets.write(folder / "Drawn", datasets.rows(["calm", "grave"]))
    )
    refused = datasets.register(
        version.reading_task, datasets.write(folder / "Strange", datasets.rows(["unheard-of"]))
    )
    assert (data.is_registered, refused.is_registered) == (True, False)
    snapshots = [
        house.freeze(actor=viewer, reading_task=version.reading_task, dataset=data, note="Autumn"),
        nothing,
    ]
    for file_name in ("first.zip", "second.zip"):
        bundles.request(actor=viewer, archive=file_name.encode(), file_name=file_name)
    monitoring.note_alive(name="box:1", part=Part.TRIAGE, started_at=now(), code_version="1.0")
    table = [{"file": f"{name}.png", "identifier": f"I-{name}"} for name in "ab"]
    imported = imports.checked(viewer, table)
    erased = clinic.send(viewer, identifier="A-3")
    erasure = erase(actor=viewer, patient=erased.patient, reason="Asked for.", cause=Cause.REQUEST)
    return {
        "reading_task_id": [version.reading_task_id],
        "model_id": [version.id, candidate.id],
        "finding_id": [version.reading_task.findings[0].id],
        "comparison_id": comparisons,
        "dataset_id": [data.id, refused.id],
        "snapshot_id": [one.id for one in snapshots],
        "run_id": trained(viewer, snapshots[1]),
        "case_id": [cases[0].id, cases[-1].id, erased.id],
        "patient_id": [cases[0].patient_id, erased.patient_id],
        "region_id": [one.id for case in cases for one in case.images_by_region if one],
        "import_id": [imported.id],
        "erasure_id": [erasure.id],
        "user_id": [viewer.id, others[0].id],
        "site_id": [site.id for site in viewer.sites],
    }


def reference() -> dict[str, Any]:
    """What images were like where the model was tuned: darker."""
    return {
        "image_count": 40,
        "inputs": {"brightness": [float(value) for value in range(60, 100)]},
        "probabilities": [0.9] * 40,
        "findings": {"calm": 40},
        "abstained_count": 0,
    }


def read_case(actor: User, number: int) -> Case:
    """A case that was read, and signed if it is an early one."""
    drawn = random.Random(number)
    case = clinic.send(
        actor,
        identifier="A-1" if number < 2 else f"B-{number}",
        sex=Sex.MALE if number % 3 else Sex.UNKNOWN,
        age_at_acquisition_years=30 + number,
        region="left forearm" if number < 2 else "",
    )
    clinic.read(
        case, "calm", abstained=number == COUNT - 1, measures={"brightness": 150 + drawn.random()}
    )
    if number >= 12:
        return case
    findings = {one.code: one.id for one in case.reading_task.findings}
    if number % 4:
        verdict = reviews.Verdict(decision=Decision.AGREE)
    else:
        verdict = reviews.Verdict(decision=Decision.OVERRIDE, finding_id=findings["grave"])
    reviews.sign(
        actor=actor, case=case, verdict=verdict, shown=basis(case).mark, form_token=f"s{number}"
    )
    found = reviews.Found(
        finding_id=findings["calm"],
        source=OutcomeSource.HISTOLOGY,
        found_on=now().date(),
        note="",
    )
    reviews.record_outcome(
        actor=actor, case=case, found=found, shown=str(len(outcomes(case))), form_token=f"o{number}"
    )
    if number > 1:
        record_consent(
            actor=actor, patient=case.patient, consent=Consent.GIVEN, shown=Consent.NOT_ASKED
        )
    return case


def compared(viewer: User, others: Sequence[User], candidate: ModelVersion) -> list[int]:
    """Comparisons: one that failed, was refused, passed, after which one of two has approved,
    is being made, and waits."""
    promotions.plan(
        viewer, candidate, approvals_needed=2, approvers=tuple(one.username for one in others)
    )
    worse = promotions.compared(candidate, low=-0.2)
    asked = promotion.request_comparison(actor=viewer, candidate=candidate)
    claim = promotion.claim(worker="test", lease_seconds=60)
    assert claim
    missing = {"missing_count": 3, "datasets": ["HAM10000"]}
    promotion.complete(claim=claim, outcome=promotion.Refusal("test_set_missing", missing))
    request = promotions.asked(others[0], candidate)
    promotion.approve(actor=others[1], request=request)
    held = promotion.request_comparison(
        actor=viewer, candidate=promotions.candidate(version="3.0.0")
    )
    claim = promotion.claim(worker="test", lease_seconds=3600)
    assert claim
    promotion.note(claim=claim, read_count=500, to_read_count=2000)
    waiting = promotion.request_comparison(
        actor=viewer, candidate=promotions.candidate(version="4.0.0")
    )
    return [worse.id, asked.id, request.comparison_id, held.id, waiting.id]


def trained(actor: User, snapshot: Snapshot) -> list[int]:
    """A run that has failed, one that is under way, and one that waits."""
    recipe = trainings.recipe()
    runs = [trainings.run(actor, snapshot=snapshot, recipe=recipe) for _ in range(3)]
    training.fail(claim=trainings.claim(), trouble=Trouble.REFUSED, error="for tests")
    training.note(claim=trainings.claim(), seen=trainings.seen(3))
    return [run.id for run in runs]


def pages(app: Flask, rows: Rows) -> list[str]:
    """The paths that can be gone to. Parts that a page asks for by itself are none."""
    paths = []
    for rule in app.url_map.iter_rules():
        is_poll = getattr(app.view_functions[rule.endpoint], "is_poll", False)
        if "GET" not in (rule.methods or ()) or is_poll:
            continue
        if rule.endpoint in NO_PAGES or rule.endpoint.startswith("api."):
            continue
        unknown = rule.arguments - rows.keys()
        assert not unknown, f"{rule} shows a row: say of which {unknown} there are some"
        (name,) = rule.arguments or ("",)
        with app.test_request_context():
            for number in rows.get(name, [0]):
                paths.append(rule.build({name: number} if name else {})[1])
    return paths


def goes_to_page(page: Page, path: str) -> bool:
    """Go to a path; whether there is a whole page behind it, and not a file or a part of one."""
    try:
        answer = page.goto(path)
    except Error as error:
        if "Download is starting" not in str(error):
            raise
        return False
    assert answer
    assert answer.ok, (path, answer.status)
    return page.evaluate("document.doctype !== null")


def test_every_page_is_accessible_and_fits_the_screen(
    house_with_rows: tuple[Stack, str, Rows], chromium: Browser
) -> None:
    house, username, rows = house_with_rows
    context = chromium.new_context(base_url=house.url, bypass_csp=True)
    try:
        page = context.new_page()
        page.goto("/sign-in")
        found = list(faults(page))
        fill_sign_in(page, username, PASSWORD)
        looked_at = set()
        for path in pages(create_app(house.settings), rows):
            if goes_to_page(page, path) and page.url not in looked_at:  # some lead to another
                looked_at.add(page.url)
                found += faults(page)
        some = ("/cases", "/work", "/ledger", "/audit", "/erasures", "/training/new")
        assert {house.url + path for path in some} <= looked_at
        assert not found, "\n".join(map(str, found))
    finally:
        context.close()
