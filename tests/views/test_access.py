"""Every route, for everyone: nobody, each role, at the case's own site and at a foreign one; and
whatever shows a patient leaves a row in the record.

The routes are those that the application has. One that is not in `ALLOWED` fails, and so does one
that takes the number of something that `numbers` does not know.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from werkzeug.routing import Rule

from tests import clinic, imports, promotions, trainings
from tests.conftest import Browser, People
from tests.views.conftest import Program
from webapp import storage
from webapp.accounts.models import ApiToken, Site, User
from webapp.accounts.queries import token_hash
from webapp.assessments.models import AssessedImage
from webapp.audit import AuditEvent
from webapp.bundles import services as bundles
from webapp.cases.models import Case, Patient, Region, Sex
from webapp.datasets import services as datasets
from webapp.datasets.gathering import Gathered
from webapp.datasets.models import Snapshot
from webapp.db import db, now, transaction
from webapp.erasures.models import Cause
from webapp.erasures.services import erase
from webapp.explanations.models import Explanation
from webapp.permissions import Permission, Role
from webapp.registry.models import ModelVersion
from webapp.registry.queries import samples_of
from webapp.registry.services import NewSample, add_samples
from webapp.reproductions import services as reproductions
from webapp.triage.models import SavedFilter

CLINICIANS = {Role.CLINICIAN}
SECOND_READERS = {Role.REVIEWER}
READERS = CLINICIANS | SECOND_READERS
OFFICE = {Role.ADMINISTRATOR}
APPROVERS = {Role.APPROVER}
USERS = READERS | OFFICE | APPROVERS
ANYONE = USERS | {None}

ALLOWED: dict[str, set[Any]] = {
    "accounts.account": USERS,
    "accounts.audit": OFFICE,
    "accounts.choose_language": USERS,
    "accounts.disable": OFFICE,
    "accounts.enable": OFFICE,
    "accounts.new_site": OFFICE,
    "accounts.new_token": READERS,
    "accounts.new_user": OFFICE,
    "accounts.reset_password": OFFICE,
    "accounts.revoke_token": USERS,
    "accounts.session_status": USERS,
    "accounts.sign_in": ANYONE,
    "accounts.sign_out": USERS,
    "accounts.site": OFFICE,
    "accounts.stay": USERS,
    "accounts.user": OFFICE,
    "accounts.users": OFFICE,
    "api.case_result": READERS,
    "api.case_status": READERS,
    "api.cases": READERS,
    "api.openapi": ANYONE,
    "api.sign_review": CLINICIANS,
    "api.submit_case": CLINICIANS,
    "bundles.bundles": OFFICE,
    "bundles.installation_status": OFFICE,
    "bundles.report": USERS,
    "bundles.report_content": USERS,
    "bundles.submit_bundle": OFFICE,
    "erasures.erasure": OFFICE,
    "erasures.erasures": OFFICE,
    "erasures.submit_erasure": OFFICE,
    "datasets.dataset": OFFICE,
    "datasets.dataset_status": OFFICE,
    "datasets.datasets": OFFICE,
    "datasets.description": OFFICE,
    "datasets.freeze": OFFICE,
    "datasets.manifest": OFFICE,
    "datasets.snapshot": OFFICE,
    "datasets.snapshots": OFFICE,
    "datasets.submit_dataset": OFFICE,
    "explanations.explanation_status": READERS,
    "explanations.heat_map": READERS,
    "explanations.request_explanation": READERS,
    "exports.case_report": READERS,
    "exports.case_table": READERS,
    "guidance.allowance": OFFICE,
    "guidance.allowances": USERS,
    "guidance.change_allowance": OFFICE,
    "guidance.change_terms": OFFICE,
    "guidance.finding": USERS,
    "guidance.findings": USERS,
    "guidance.sample": USERS,
    "guidance.terms": OFFICE,
    "healthz": ANYONE,
    "history.assign_region": CLINICIANS,
    "history.known_regions": CLINICIANS,
    "history.region": READERS,
    "imports.example": CLINICIANS,
    "imports.import_status": CLINICIANS,
    "imports.imports": CLINICIANS,
    "imports.one_import": CLINICIANS,
    "imports.submit_cases": CLINICIANS,
    "imports.submit_import": CLINICIANS,
    "imports.void_import": CLINICIANS,
    "monitoring.metrics": ANYONE,  # on this machine, where every test is
    "monitoring.overview": OFFICE | APPROVERS,
    "monitoring.readyz": ANYONE,
    "monitoring.retry": OFFICE,
    "monitoring.work": OFFICE | APPROVERS,
    "promotion.approve": APPROVERS,
    "promotion.change_plan": OFFICE,
    "promotion.comparison": OFFICE | APPROVERS,
    "promotion.comparison_status": OFFICE | APPROVERS,
    "promotion.decline": APPROVERS,
    "promotion.end_unseen": OFFICE,
    "promotion.plan": OFFICE | APPROVERS,
    "promotion.predictions": OFFICE | APPROVERS,
    "promotion.request_comparison": OFFICE,
    "promotion.request_first": OFFICE,
    "promotion.request_promotion": OFFICE,
    "promotion.roll_back": OFFICE | APPROVERS,
    "promotion.standing": OFFICE | APPROVERS,
    "promotion.standings": OFFICE | APPROVERS,
    "promotion.start_unseen": OFFICE,
    "promotion.unseen": OFFICE | APPROVERS,
    "promotion.whole_ledger": OFFICE | APPROVERS,
    "registry.model": USERS,
    "registry.models": USERS,
    "rereadings.read_again": CLINICIANS,
    "rereadings.read_otherwise": READERS,
    "reproductions.reproduction_status": READERS,
    "reproductions.request_reproduction": READERS,
    "reviews.assign": CLINICIANS,
    "reviews.queue": READERS,
    "reviews.record_outcome": CLINICIANS,
    "reviews.save_impression": CLINICIANS,
    "reviews.second_read": SECOND_READERS,
    "reviews.sign": CLINICIANS,
    "reviews.void": CLINICIANS,
    "training.new_run": OFFICE,
    "training.retry_run": OFFICE,
    "training.run": OFFICE,
    "training.run_status": OFFICE,
    "training.runs": OFFICE,
    "training.submit_run": OFFICE,
    "training.void_run": OFFICE,
    "triage.add_demonstration": CLINICIANS,
    "triage.case": READERS,
    "triage.case_status": READERS,
    "triage.check_images": CLINICIANS,
    "triage.case_particulars": CLINICIANS,
    "triage.correct_case": CLINICIANS,
    "triage.correct_patient": CLINICIANS,
    "triage.home": USERS,
    "triage.image": READERS,
    "triage.look_into_dicom": CLINICIANS,
    "triage.move_case": CLINICIANS,
    "triage.new_case": CLINICIANS,
    "triage.other_patient": CLINICIANS,
    "triage.patient": READERS,
    "triage.read_again": CLINICIANS,
    "triage.remove_demonstration": CLINICIANS,
    "triage.remove_filter": READERS,
    "triage.retry_assessment": CLINICIANS,
    "triage.save_filter": READERS,
    "triage.submit_case": CLINICIANS,
    "triage.submit_consent": CLINICIANS,
    "triage.thumbnail": READERS,
    "triage.worklist": READERS,
    "triage.worklist_rows": READERS,
}
NOT_OF_A_SITE = {
    "comparison_id",
    "dataset_id",
    "erasure_id",
    "finding_id",
    "installation_id",
    "model_id",
    "reading_task_id",
    "request_id",
    "run_id",
    "sample_id",
    "site_id",
    "snapshot_id",
    "user_id",
}
"""What these number is no patient's, nor anybody's own."""

SEE_PATIENTS = {
    Permission.VIEW_CASES,
    Permission.SUBMIT_CASES,
    Permission.REVIEW_CASES,
    Permission.SECOND_READ,
}
NO_LOOK = {
    "accounts.new_token": "about the user alone",
    "api.case_status": "names no patient, and programs ask until the case is read",
    "imports.example": "a table of nobody",
    "imports.imports": "names tables, and nobody in them",
    "triage.new_case": "an empty form; begun for a patient it leaves a row",
    "triage.worklist": "all that waits; whatever is searched for in it leaves a row",
}
"""Pages for those who see patients that leave no row in the record, nor ask by themselves."""

REVIEW = {"basis": "1 completed 0 1980 unknown", "decision": "uncertain"}
"""What the API reads before it looks for the case."""

EVERYONE = [
    pytest.param(None, False, id="nobody"),
    pytest.param(Role.CLINICIAN, False, id="clinician"),
    pytest.param(Role.REVIEWER, False, id="second reader"),
    pytest.param(Role.ADMINISTRATOR, False, id="administrator"),
    pytest.param(Role.APPROVER, False, id="approver"),
    pytest.param(Role.CLINICIAN, True, id="clinician elsewhere"),
    pytest.param(Role.REVIEWER, True, id="second reader elsewhere"),
]


@pytest.fixture
def numbers(
    app: Flask,
    clinician: User,
    people: People,
    case: Case,
    read: AssessedImage,
    explain: Callable[..., Explanation],
) -> dict[str, int]:
    """The rows that paths lead to, by what the paths call their numbers."""
    explanation = explain()
    with app.app_context():
        version = db.session.get_one(ModelVersion, read.assessment.model_version_id)
        sample = NewSample(
            name="grave.png",
            finding="grave",
            image_sha256=case.images[0].sha256,
            media_type="image/png",
            source="Drawn by hand, CC0 1.0",
        )
        add_samples(version=version, samples=[sample])
        (kept,) = samples_of(version)
        clinic.bring_report(version, {})
        asked = reproductions.request(actor=clinician, assessment=read.assessment)
        request = promotions.asked(people.administrator(), promotions.candidate())
        return {
            "assessed_image_id": read.id,
            "assessment_id": read.assessment_id,
            "case_id": case.id,
            "comparison_id": request.comparison_id,
            "erasure_id": erased(people),
            "dataset_id": dataset_of(version),
            "explanation_id": explanation.id,
            "filter_id": saved_filter(clinician),
            "installation_id": bundles.request(actor=None, archive=b"", file_name="").id,
            "import_id": imports.start(clinician, [{"file": "a.png"}]).id,
            "finding_id": kept.finding_id,
            "image_id": case.images[0].id,
            "model_id": version.id,
            "patient_id": case.patient_id,
            "reading_task_id": case.reading_task_id,
            "region_id": region_of(case),
            "reproduction_id": asked.id,
            "request_id": request.id,
            "run_id": trainings.run().id,
            "sample_id": kept.id,
            "site_id": case.site_id,
            "snapshot_id": snapshot_of(version),
            "token_id": number_of_token(clinic.token(clinician)),
            "user_id": people.administrator().id,
        }


def erased(people: People) -> int:
    patient = Patient(
        site=people.site(), identifier="E-1", sex=Sex.UNKNOWN, birth_year=None, created_at=now()
    )
    db.session.add(patient)
    return erase(actor=None, patient=patient, reason="asked", cause=Cause.REQUEST).id


def dataset_of(version: ModelVersion) -> int:
    return datasets.register(
        actor=None, reading_task=version.reading_task, name="a", licence="b", files=Path("/nowhere")
    ).id


def snapshot_of(version: ModelVersion) -> int:
    with transaction():
        snapshot = Snapshot(
            reading_task=version.reading_task,
            manifest_sha256=storage.put(b"sha256\n"),
            includes_agreement=False,
            counts=Gathered((), {}).counts(),
            note="",
            created_at=now(),
        )
        db.session.add(snapshot)
    return snapshot.id


def region_of(case: Case) -> int:
    region = Region(
        patient_id=case.patient_id,
        reading_task_id=case.reading_task_id,
        label="arm",
        key="arm",
        created_at=now(),
    )
    db.session.add(region)
    db.session.commit()
    return region.id


def saved_filter(user: User) -> int:
    saved = SavedFilter(user_id=user.id, name="mine", arguments={}, created_at=now())
    db.session.add(saved)
    db.session.commit()
    return saved.id


def number_of_token(secret: str) -> int:
    return db.session.scalars(
        select(ApiToken.id).where(ApiToken.token_sha256 == token_hash(secret))
    ).one()


def routes(app: Flask) -> Iterator[tuple[Rule, str]]:
    """Each route with each way to use it; signing out comes last."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]
    for rule in sorted(rules, key=lambda rule: (rule.endpoint == "accounts.sign_out", rule.rule)):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_route_is_in_the_matrix(app: Flask) -> None:
    assert {rule.endpoint for rule, _ in routes(app)} == set(ALLOWED)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_leaves_no_row_is_still_there(app: Flask) -> None:
    assert {rule.endpoint for rule, method in routes(app) if method == "GET"} >= NO_LOOK.keys()


@pytest.mark.parametrize(("role", "is_elsewhere"), EVERYONE)
def test_everyone_may_what_the_matrix_says(
    app: Flask,
    browse: Callable[[], Browser],
    people: People,
    case: Case,
    numbers: dict[str, int],
    role: Role | None,
    is_elsewhere: bool,
) -> None:
    browser, program = browse(), Program(app.test_client(), "")
    if role is not None:
        with app.app_context():
            site = people.site() if is_elsewhere else db.session.get_one(Site, case.site_id)
            user = people.user(role, sites=[] if role in OFFICE | APPROVERS else [site])
            program = Program(app.test_client(), clinic.token(user))
            if not is_elsewhere:
                numbers["filter_id"] = saved_filter(user)
                numbers["token_id"] = number_of_token(clinic.token(user))
        browser.sign_in(user)
    wrong, unseen = [], []
    for rule, method in routes(app):
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<int:{name}>", str(numbers[name]))
        by_program = path.startswith("/api/")
        length = length_of_record(app)
        if method == "GET":
            answer = (program if by_program else browser).get(path)
        else:
            answer = program.post(path, json=REVIEW) if by_program else browser.post(path)
        # Whoever signs out is led to signing in.
        expected = "asked to sign in" if rule.endpoint == "accounts.sign_out" else "let in"
        if role not in ALLOWED[rule.endpoint]:
            expected = "asked to sign in" if role is None else "refused"
        elif is_elsewhere and rule.arguments - NOT_OF_A_SITE:
            expected = "told that there is nothing"
        told = what_is_told(answer)
        tells = is_elsewhere and b"A-1" in answer.data
        if told != expected or tells:
            wrong.append((method, path, told, "tells of the patient" if tells else expected))
        shows = method == "GET" and answer.status_code == 200 and is_a_look(app, rule)
        if shows and length_of_record(app) == length:
            unseen.append(path)
    assert not wrong
    assert not unseen


def is_a_look(app: Flask, rule: Rule) -> bool:
    """Whether who opens it sees patients, and it is not a page that asks."""
    view = app.view_functions[rule.endpoint]
    is_asking = getattr(view, "is_poll", False) or rule.endpoint in NO_LOOK
    return getattr(view, "rule", None) in SEE_PATIENTS and not is_asking


def length_of_record(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.max(AuditEvent.id))) or 0


def what_is_told(answer: Any) -> str:
    """What an answer amounts to."""
    if answer.status_code == 401 or (answer.location or "").startswith("/sign-in"):
        return "asked to sign in"
    known = {403: "refused", 404: "told that there is nothing"}
    is_answer = answer.status_code < 500 or answer.text.startswith("not ready")
    return known.get(answer.status_code, "let in" if is_answer else "failed")
