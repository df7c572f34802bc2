"""Candidates for tests: compared, asked for and promoted. Call inside an application context."""

from typing import Any

from tests import clinic
from tests.factories import manifest, serving_model
from webapp import storage
from webapp.accounts.models import User
from webapp.assessments import services as assessments
from webapp.db import db
from webapp.promotion import queries, services
from webapp.promotion.models import Comparison, PromotionRequest
from webapp.promotion.plans import Plan
from webapp.registry.models import ModelVersion, Promotion
from webapp.registry.services import register


def candidate(version: str = "2.0.0") -> ModelVersion:
    """A version beside the one that serves."""
    clinic.serve()
    return serving_model(version=version)


def first() -> ModelVersion:
    """A version of a reading task that none serves, as one that was uploaded."""
    return register(manifest=manifest(), bundle_sha256="f" * 64, model_card="# A model")


def compared(version: ModelVersion, low: float = -0.01) -> Comparison:
    """A candidate that was compared: with a metric whose difference is from `low` to 0.01."""
    services.request_comparison(actor=None, candidate=version)
    claim = services.claim(worker="test", lease_seconds=60)
    assert claim is not None
    assert services.complete(claim=claim, outcome=proof(low))
    return queries.get_comparison(claim.comparison_id)


def asked(actor: User, version: ModelVersion) -> PromotionRequest:
    """A request that a candidate serve which has passed."""
    return services.request_promotion(
        actor=db.session.get_one(User, actor.id),
        comparison=compared(version),
        reason="It finds more.",
    )


def promoted(requester: User, approver: User, version: ModelVersion) -> Promotion:
    """A candidate that serves now."""
    request = asked(requester, version)
    line = services.approve(actor=db.session.get_one(User, approver.id), request=request)
    assert line is not None
    return line


def plan(actor: User, version: ModelVersion, **what: Any) -> None:
    """A new version of the plan of a version's reading task: as it comes, but for this."""
    task = version.reading_task
    services.change_plan(
        actor=db.session.get_one(User, actor.id),
        reading_task=task,
        plan=Plan(**what),
        reason="For tests.",
        shown=queries.plan_in_force(task.id).version,
    )


def read_unseen(version: ModelVersion, *findings: str) -> None:
    """Have a version say this of the cases that it was to read unseen, in their order."""
    for finding in findings:
        (claim,) = assessments.claim(
            worker="test", bundle_sha256s=[version.bundle_sha256], limit=1, lease_seconds=60
        )
        assert assessments.complete(claim=claim, result=clinic.result(claim, finding))


def proof(low: float = -0.01) -> services.Proof:
    """What comes of comparing two models that are much the same: of the metric's difference from
    `low` on, of all else from -0.01 to 0.01."""
    same = {"value": 0.0, "interval": [-0.01, 0.01]}
    figure = {
        "champion": {"value": 0.9, "interval": [0.88, 0.92]},
        "candidate": {"value": 0.9, "interval": [0.88, 0.92]},
        "difference": same,
    }
    metric = figure | {"difference": {"value": low / 2 + 0.005, "interval": [low, 0.01]}}
    finding = figure | {"code": "grave", "image_count": 60, "subject_count": 50}
    group = {"image_count": 150, "subject_count": 120, "findings": [finding]}
    side = {"median_ms": 20.0, "p95_ms": 30.0, "image_count": 50}
    size = {"bundle_bytes": 15_000_000, "weights_bytes": 14_000_000, "parameter_count": 3_400_000}
    figures = ("accuracy", "macro_f1", "macro_auc", "log_loss", "expected_calibration_error")
    return services.Proof(
        result={
            "image_count": 300,
            "subject_count": 250,
            "multi_label": False,
            "changed": ["operating_points"],
            "figures": {"balanced_accuracy": metric} | dict.fromkeys(figures, figure),
            "findings": [finding],
            "subgroups": [
                {"kind": "sex", "name": "female"} | group,
                {"kind": "sex", "name": "male"} | group | {"subject_count": 90},
            ],
            "abstention": figure | {"accuracy_when_answered": {"champion": 0.9, "candidate": 0.9}},
            "latency": {"champion": side, "candidate": side, "ratio": 1.0},
            "size": {"champion": size, "candidate": size},
        },
        test_sha256="7" * 64,
        predictions_sha256=storage.put(b"file,subject,label\n"),
        engine="test",
        code_version="test",
    )
