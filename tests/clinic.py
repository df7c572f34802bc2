"""A clinic in a few lines: a model that serves, cases that were sent, and readings of them."""

import datetime as dt
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from PIL import Image

from tests.factories import SEVERITIES, serving_model
from webapp import imaging, storage
from webapp.accounts.models import ApiToken, User
from webapp.accounts.queries import token_hash
from webapp.assessments import services as assessments
from webapp.assessments.models import Assessment, Failure, State
from webapp.assessments.queries import current_assessment
from webapp.audit import AuditEvent
from webapp.cases.models import Case, Sex
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import db, now
from webapp.explanations import services as explanations
from webapp.permissions import Scope
from webapp.registry.models import Alias, ModelAlias, ModelVersion
from webapp.registry.services import NewSample, add_samples, keep_archive
from webapp.triage import services
from webapp.triage.services import Submission, Upload

_numbers = itertools.count(1)


def serve(
    task: str = "test-task", body_sites: Sequence[str] = (), encoding_version: str = "test-1"
) -> ModelVersion:
    """A model of three findings that serves, and reads metadata in this encoding; `none` reads
    none. It asks for the place on the body where it knows any."""
    version = serving_model(task=task)
    version.manifest = version.manifest | {
        "metadata": {
            "encoding_version": encoding_version,
            "choices": {"localization": [*body_sites, "unknown"]} if body_sites else {},
        }
    }
    db.session.commit()
    return version


def serve_newer(version: str = "2.0.0", task: str = "test-task") -> ModelVersion:
    """Another version of the model, which serves from now on."""
    newer = serving_model(task=task, version=version)
    alias = db.session.get_one(ModelAlias, (newer.reading_task_id, Alias.CHAMPION))
    alias.model_version = newer
    db.session.commit()
    return newer


def bring_samples(version: ModelVersion) -> None:
    """A picture of each finding, and what is known of whom the gravest shows."""
    version.manifest = version.manifest | {
        "self_test": [
            {
                "file": "selftest/grave.png",
                "metadata": {"age": "55", "sex": "male", "localization": "back"},
            }
        ]
    }
    samples = [
        NewSample(
            name=f"{code}.png",
            finding=code,
            image_sha256=storage.put(picture(seed=number)),
            media_type="image/png",
            source="Drawn, CC0 1.0",
        )
        for number, code in enumerate(("watch", "calm", "grave"))
    ]
    add_samples(version=version, samples=samples)


def bring_report(version: ModelVersion, figures: object) -> None:
    """A bundle in the store that says this of how its model did."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("bundle.json", "{}")
        if figures is not None:
            archive.writestr("report.json", json.dumps(figures))
    keep_archive(version=version, archive_sha256=storage.put(packed.getvalue()))


def picture(seed: int | None = None, form: str = "PNG") -> bytes:
    """A small file of random dots; another one at each call unless a seed is given."""
    random = np.random.default_rng(next(_numbers) + 10**6 if seed is None else seed)
    stream = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(stream, form)
    return stream.getvalue()


def submission(actor: User, **changes: Any) -> Submission:
    """What a filled form asks for, with one new picture for a new patient unless said otherwise."""
    number = next(_numbers)
    task = db.session.scalars(sa.select(ReadingTask).order_by(ReadingTask.id)).first()
    assert task is not None, "serve() a model first"
    pictures = changes.pop("pictures", None) or [picture()]
    asked: dict[str, Any] = {
        "form_token": f"token-{number}",
        "site_id": min(actor.site_ids),
        "identifier": f"P-{number:05}",
        "birth_year": None,
        "sex": Sex.UNKNOWN,
        "reading_task_id": task.id,
        "priority": Priority.ROUTINE,
        "age_at_acquisition_years": None,
        "body_site": None,
        "note": "",
        "uploads": tuple(
            Upload(imaging.clean(data), f"picture-{index}.png")
            for index, data in enumerate(pictures)
        ),
        "confirm_duplicates": False,
    }
    return Submission(**asked | changes)


def send(actor: User, **changes: Any) -> Case:
    """Send a case."""
    actor = db.session.get_one(User, actor.id)
    return services.submit(actor=actor, submission=submission(actor, **changes))


def read(
    case: Case,
    finding: str | Sequence[str] = "calm",
    abstained: bool | Sequence[bool] = False,
    reasons: Sequence[str] = (),
    encoded: Mapping[str, Any] | None = None,
    of_last: Mapping[str, Any] | None = None,
    **said: Any,
) -> Assessment:
    """Have a case read: this finding with a probability of 0.9 in each image, or that of each.
    `reasons` says why it abstained on each, and is empty text where it did not; `encoded` is what
    is known of the patient as the network received it; `said` is what else an `ImageResult` says,
    for each, and `of_last` for the last one alone."""
    claim = _claim(case)
    whole = result(claim, finding, abstained, reasons)
    *others, last = (replace(image, **said) for image in whole.images)
    images = (*others, replace(last, **of_last or {}))
    whole = replace(whole, images=images, metadata_encoded=encoded or whole.metadata_encoded)
    assert assessments.complete(claim=claim, result=whole)
    return _current(case)


def result(
    claim: assessments.Claim,
    finding: str | Sequence[str] = "calm",
    abstained: bool | Sequence[bool] = False,
    reasons: Sequence[str] = (),
) -> assessments.AssessmentResult:
    """What a model says that sees the same in every image, or this in each."""
    count = len(claim.image_sha256s)
    named = [finding] * count if isinstance(finding, str) else finding
    held_back = [abstained] * count if isinstance(abstained, bool) else abstained
    reasons = reasons or ["ambiguous" if is_held else "" for is_held in held_back]
    return assessments.AssessmentResult(
        images=tuple(
            assessments.ImageResult(
                prediction=code,
                probabilities=dict.fromkeys(SEVERITIES, 0.05) | {code: 0.9},
                abstained=bool(reason),
                reason=reason,
            )
            for code, reason in zip(named, reasons, strict=True)
        ),
        metadata_encoded={"vector": [], "units": [], "encoding_version": "none"},
        engine="test",
        code_version="test",
        inference_ms=12.0,
    )


def token(user: User, *scopes: Scope, **changes: Any) -> str:
    """The secret of an access token of a user's; it allows everything unless told what."""
    secret = f"firstlook_{next(_numbers)}"
    fields: dict[str, Any] = {
        "user_id": user.id,
        "name": "a script",
        "token_sha256": token_hash(secret),
        "scopes": list(scopes or Scope),
        "created_at": now() - dt.timedelta(days=2),
        "expires_at": now() + dt.timedelta(days=1),
    }
    db.session.add(ApiToken(**fields | changes))
    db.session.commit()
    return secret


def explain(heat_map: bytes) -> None:
    """Have what waits explained: by this map, or by none where it is empty, and by the age."""
    bundles = list(db.session.scalars(sa.select(ModelVersion.bundle_sha256)))
    claim = explanations.claim(worker="test", bundle_sha256s=bundles, lease_seconds=60)
    assert claim is not None
    explained = explanations.Explained(
        heat_map_sha256=storage.put(heat_map) if heat_map else None,
        metadata_effects={"age": 0.12, "sex": -0.011, "localization": 0.001},
        engine="test",
        code_version="test",
    )
    assert explanations.complete(claim=claim, explained=explained)


def fail(case: Case) -> Assessment:
    """Have the reading of a case fail for good."""
    assessments.fail_attempt(
        claim=_claim(case), error="for tests", failure=Failure.UNREADABLE_IMAGE
    )
    assessment = _current(case)
    assert assessment.state is State.FAILED
    return assessment


def let_wait(case: Case, time: dt.timedelta) -> None:
    """Have a case be sent so much earlier."""
    assessment = _current(case)
    case.submitted_at -= time
    assessment.due_at -= time
    db.session.commit()


def _claim(case: Case) -> assessments.Claim:
    """A claim of this case's assessment; others that wait are taken on the way, and given back."""
    wanted = _current(case).id
    others = []
    bundles = list(db.session.scalars(sa.select(ModelVersion.bundle_sha256)))
    while claims := assessments.claim(
        worker="test", bundle_sha256s=bundles, limit=1, lease_seconds=60
    ):
        if claims[0].assessment_id == wanted:
            break
        others.append(claims[0].assessment_id)
    for row in db.session.scalars(sa.select(Assessment).where(Assessment.id.in_(others))):
        row.state, row.lease_token, row.lease_expires_at = State.SCHEDULED, None, None
        row.attempt_count = 0
    db.session.commit()
    return claims[0]


def _current(case: Case) -> Assessment:
    assessment = current_assessment(case)
    assert assessment is not None
    return assessment


def recorded(*actions: str) -> list[AuditEvent]:
    """What is on record of these actions, in order."""
    return list(
        db.session.scalars(
            sa.select(AuditEvent).where(AuditEvent.action.in_(actions)).order_by(AuditEvent.id)
        )
    )


def count_statements(act: Callable[[], Any]) -> int:
    """How many statements are sent to the database meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        act()
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
    return len(statements)
