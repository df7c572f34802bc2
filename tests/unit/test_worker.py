"""The worker, with a small real model: rows to answers, and what can go wrong between."""

import dataclasses
import datetime as dt
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask
from kombu.exceptions import KombuError
from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from ml import bundle as bundles
from ml.bundle import BundleError
from ml.predictor import Predictor
from tests.conftest import People
from tests.factories import scheduled
from tests.unit.ml.factories import make_bundle, picture_bytes
from webapp import queue, storage, sweeper
from webapp.assessments import services
from webapp.assessments.models import Assessment, Failure, State
from webapp.assessments.services import Claim, ImageResult
from webapp.catalogue.models import ReadingTask
from webapp.config import Settings, current_settings
from webapp.db import db, now, transaction
from webapp.errors import NotFound
from webapp.jobs import ASSESS
from webapp.registry.models import Sample
from webapp.registry.queries import champion, installed, samples_of
from webapp.worker import fetching, inference, install, jobs, lease, predictors
from webapp.worker.version import code_version, git_revision

Schedule = Callable[..., Assessment]


@pytest.fixture
def schedule(bundle: Path, people: People) -> Schedule:
    """Schedules cases for the installed bundle; without images given, one that is a drawn cell."""
    install.install(bundle)
    site = people.site()
    return partial(
        scheduled,
        actor=people.clinician(site),
        site=site,
        reading_task=db.session.scalars(select(ReadingTask)).one(),
        image_sha256s=(storage.put(picture_bytes(seed=1)),),
    )


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Counts the rings instead of sending them."""
    heard: list[None] = []

    def ring(*_: str) -> bool:
        heard.append(None)
        return True

    monkeypatch.setattr(queue, "ring", ring)
    return heard


def claim(limit: int = 1, lease_seconds: int = 30) -> list[Claim]:
    return services.claim(
        worker="test:1",
        bundle_sha256s=predictors.at_hand(),
        limit=limit,
        lease_seconds=lease_seconds,
    )


def read_and_write(claims: list[Claim]) -> list[inference.Outcome]:
    outcomes = inference.read(claims)
    inference.write(outcomes)
    return outcomes


def let_pauses_pass() -> None:
    with transaction():
        db.session.execute(update(Assessment).values(not_before_at=None))


def reread(assessment: Assessment) -> Assessment:
    db.session.refresh(assessment)
    return assessment


def always_raise(error: Exception) -> Callable[..., Any]:
    def predict(*_: Any, **__: Any) -> Any:
        raise error

    return predict


# Reading


def test_a_case_is_read_and_what_read_it_is_kept(schedule: Schedule) -> None:
    images = tuple(storage.put(picture_bytes(seed=seed)) for seed in (1, 2))
    assessment = schedule(image_sha256s=images)
    read_and_write(claim())
    assert reread(assessment).state is State.COMPLETED
    assert assessment.engine.startswith("onnxruntime")
    assert assessment.code_version == code_version()
    assert assessment.inference_ms > 0
    assert assessment.metadata_encoded["encoding_version"] == "none"
    assert len(assessment.images) == 2
    for image in assessment.images:
        assert image.abstained is False
        assert len(image.predictions) == 8
        assert image.finding_id == image.predictions[0].finding_id
        assert sum(said.probability for said in image.predictions) == pytest.approx(1, abs=1e-4)


def test_the_stored_probabilities_are_the_models(schedule: Schedule, bundle: Path) -> None:
    facts = json.loads((bundle / "bundle.json").read_text())
    tested = facts["self_test"][3]
    assessment = schedule(image_sha256s=(storage.put((bundle / tested["file"]).read_bytes()),))
    read_and_write(claim())
    stored = {
        said.finding.code: said.probability for said in reread(assessment).images[0].predictions
    }
    assert stored == pytest.approx(tested["probabilities"], abs=2e-3)


def test_torn_bytes_fail_their_case_only(schedule: Schedule) -> None:
    torn = schedule(image_sha256s=(storage.put(picture_bytes()[:200]),))
    whole = schedule()
    read_and_write(claim(limit=2))
    assert reread(torn).state is State.FAILED
    assert torn.failure is Failure.UNREADABLE_IMAGE
    assert torn.attempt_count == 1
    assert reread(whole).state is State.COMPLETED


@pytest.mark.parametrize(
    "away",
    [NotFound("blob"), storage.CorruptBlob("e" * 64), ConnectionRefusedError("store")],
    ids=["unmounted", "damaged", "down"],
)
def test_while_the_store_is_away_cases_wait(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch, away: Exception
) -> None:
    cases = [schedule() for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(storage, "get", always_raise(away))
        jobs.assess.run()
    for case in cases:
        assert reread(case).state is State.SCHEDULED
        assert case.attempt_count == 1
        assert type(away).__name__ in case.last_error
    let_pauses_pass()
    jobs.assess.run()
    assert {reread(case).state for case in cases} == {State.COMPLETED}


def test_an_image_that_stays_away_fails_its_case(schedule: Schedule) -> None:
    missing, neighbour = schedule(image_sha256s=("e" * 64,)), schedule()
    for _ in range(3):
        jobs.assess.run()
        let_pauses_pass()
    assert reread(missing).state is State.FAILED
    assert missing.failure is Failure.MISSING_IMAGE
    assert reread(neighbour).state is State.COMPLETED


def test_without_the_bundle_files_a_case_waits(schedule: Schedule, bundle: Path) -> None:
    assessment = schedule()
    shutil.rmtree(current_settings().bundles_dir)
    jobs.assess.run()
    assert reread(assessment).state is State.SCHEDULED
    assert assessment.attempt_count == 0
    assert install.install(bundle)
    jobs.assess.run()
    assert reread(assessment).state is State.COMPLETED


def test_bundle_files_that_vanish_are_named(schedule: Schedule) -> None:
    assessment = schedule()
    claims = claim()
    shutil.rmtree(current_settings().bundles_dir)
    read_and_write(claims)
    assert "MissingBundle" in reread(assessment).last_error


def test_a_worker_says_which_model_it_lacks(
    schedule: Schedule, caplog: pytest.LogCaptureFixture
) -> None:
    predictors.load_champions()
    assert caplog.messages == []
    bundles_dir = current_settings().bundles_dir
    shutil.rmtree(bundles_dir)
    predictors.load_champions()
    assert len(caplog.messages) == 1
    assert "is not installed on this machine" in caplog.messages[0]
    assert str(bundles_dir) in caplog.messages[0]


def test_an_edited_bundle_is_not_used(schedule: Schedule) -> None:
    assessment = schedule()
    predictors._load.cache_clear()  # as a process that begins
    home = current_settings().bundles_dir / assessment.model_version.bundle_sha256
    (home / "MODEL_CARD.md").write_text("edited")
    for _ in range(3):
        read_and_write(claim())
        let_pauses_pass()
    assert reread(assessment).failure is Failure.MISSING_BUNDLE
    assert "MODEL_CARD.md" in assessment.last_error


def test_the_unexpected_is_recorded_and_raised(
    schedule: Schedule, rings: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assessment, neighbour = schedule(), schedule()
    rings.clear()
    monkeypatch.setattr(Predictor, "predict", always_raise(RuntimeError("boom")))
    with pytest.raises(RuntimeError, match="boom"):
        jobs.assess.run()
    assert reread(assessment).state is State.SCHEDULED
    assert assessment.last_error == "RuntimeError: boom"
    assert reread(neighbour).attempt_count == 0
    assert rings  # someone else goes on at once


def test_a_case_that_breaks_a_batch_does_not_harm_its_neighbours(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = storage.put(picture_bytes(seed=66))
    cases = [schedule(), schedule(image_sha256s=(poison,)), schedule()]
    opened = inference.open_image

    def open_unless_poison(image_sha256: str, predictor: Predictor) -> Any:
        if image_sha256 == poison:
            raise MemoryError("too much")
        return opened(image_sha256, predictor)

    monkeypatch.setattr(inference, "open_image", open_unless_poison)
    monkeypatch.setattr(predictors, "images_at_once", lambda: 32)
    outcomes = read_and_write(claim(limit=32))
    assert [outcome.is_unexpected for outcome in outcomes] == [False, True, False]
    assert [reread(case).state for case in cases] == [
        State.COMPLETED,
        State.SCHEDULED,
        State.COMPLETED,
    ]


def unknown_code(said: ImageResult) -> ImageResult:
    return dataclasses.replace(said, prediction="unicorn")


def not_a_number(said: ImageResult) -> ImageResult:
    spoilt = {**said.probabilities, said.prediction: float("nan")}
    return dataclasses.replace(said, probabilities=spoilt)


@pytest.mark.parametrize("spoil", [unknown_code, not_a_number])
def test_an_answer_that_cannot_be_written_does_not_harm_its_neighbours(
    schedule: Schedule, spoil: Callable[[ImageResult], ImageResult]
) -> None:
    cases = [schedule() for _ in range(3)]
    good, bad, other = inference.read(claim(limit=3))
    spoilt = dataclasses.replace(bad.result, images=(spoil(bad.result.images[0]),))
    inference.write([good, dataclasses.replace(bad, result=spoilt), other])
    assert [reread(case).state for case in cases] == [
        State.COMPLETED,
        State.SCHEDULED,
        State.COMPLETED,
    ]
    assert cases[1].attempt_count == 1
    assert cases[1].finding_id is None
    assert [image.finding_id for image in cases[1].images] == [None]
    assert cases[1].last_error.startswith(("KeyError: 'unicorn'", "IntegrityError: "))
    assert len(cases[1].last_error.splitlines()) == 1  # the values of the row are in the next ones
    assert "parameters" not in cases[1].last_error
    assert [len(reread(case).images[0].predictions) for case in cases] == [8, 0, 8]


def test_a_database_that_is_away_is_no_matter_of_an_answer(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assessment = schedule()
    outcomes = inference.read(claim())
    away = OperationalError("", {}, Exception("gone"))
    with monkeypatch.context() as patch:
        patch.setattr(services, "end_all", lambda **_: always_raise(away)())
        with pytest.raises(OperationalError):
            inference.write(outcomes)
    assert reread(assessment).state is State.IN_PROGRESS
    assert assessment.last_error is None


def test_a_soft_limit_gives_the_work_back(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [schedule(), schedule()]
    monkeypatch.setattr(Predictor, "predict", always_raise(SoftTimeLimitExceeded()))
    assert all(outcome.is_unexpected for outcome in read_and_write(claim(limit=2)))
    assert {reread(case).state for case in cases} == {State.SCHEDULED}


def test_an_answer_that_comes_too_late_is_dropped(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assessment = schedule()
    predict = Predictor.predict

    def lose_the_lease(self: Predictor, *args: Any) -> Any:
        with transaction():
            db.session.execute(
                update(Assessment).values(lease_expires_at=now() - dt.timedelta(seconds=1))
            )
        services.return_expired_leases()
        return predict(self, *args)

    monkeypatch.setattr(Predictor, "predict", lose_the_lease)
    read_and_write(claim())
    assert reread(assessment).state is State.SCHEDULED
    assert assessment.finding_id is None


# The heartbeat


def test_a_heartbeat_keeps_a_long_reading(core: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[str] = []
    beaten = threading.Event()

    def extend(*, lease_token: str, lease_seconds: int) -> bool:
        beats.append(lease_token)
        if len(beats) == 2:
            beaten.set()
        return True

    monkeypatch.setattr(services, "extend_lease", extend)
    core.config["FIRSTLOOK"] = Settings(
        instance_dir=current_settings().instance_dir, lease_seconds=1
    )
    with lease.Heartbeat() as heartbeat:
        heartbeat.keep("token")
        assert beaten.wait(10)
    assert set(beats) == {"token"}
    count = len(beats)
    time.sleep(0.5)
    assert len(beats) == count


def test_a_reading_that_hangs_is_not_kept(core: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[str] = []
    monkeypatch.setattr(services, "extend_lease", lambda **_: beats.append("beat") or True)
    core.config["FIRSTLOOK"] = Settings(
        instance_dir=current_settings().instance_dir, lease_seconds=1
    )
    with lease.Heartbeat(kept_seconds=0.5) as heartbeat:
        heartbeat.keep("token")
        time.sleep(1.5)
    assert len(beats) == 1


# The job


def test_a_job_reads_until_nothing_waits(schedule: Schedule, rings: list[None]) -> None:
    cases = [schedule() for _ in range(5)]
    rings.clear()
    jobs.assess.run()
    assert {reread(case).state for case in cases} == {State.COMPLETED}
    assert rings == []
    jobs.assess.run()  # a message that comes twice finds nothing


def test_a_job_is_bounded_and_rings_for_the_next(
    schedule: Schedule, rings: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [schedule() for _ in range(3)]
    rings.clear()
    monkeypatch.setattr(jobs, "CLAIMING_SECONDS", -1)
    jobs.assess.run()
    assert sorted(reread(case).state for case in cases) == ["completed", "scheduled", "scheduled"]
    assert len(rings) == 1


def test_a_job_ends_after_its_case_when_the_worker_is_stopping(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [schedule() for _ in range(3)]
    monkeypatch.setattr(jobs.stopping, "value", True)
    jobs.assess.run()
    assert sorted(reread(case).state for case in cases) == ["completed", "scheduled", "scheduled"]


def claims_of(*image_counts: int) -> list[Claim]:
    return [Claim(n, "token", 1, "b" * 64, ("a" * 64,) * n, {}) for n in image_counts]


@pytest.mark.parametrize(
    ("image_counts", "seconds", "limit"),
    [((1,), 0.1, 2), ((1,), 3.0, 1), ((20,), 4.0, 1), ((4, 4), 0.1, 20), ((1,), 0.0, 32)],
    ids=["quick", "slow", "many slow", "a claim of several", "at most"],
)
def test_a_claim_is_for_a_quarter_of_a_second(
    core: Flask, image_counts: tuple[int, ...], seconds: float, limit: int
) -> None:
    assert jobs._images_to_claim(claims_of(*image_counts), seconds) == limit


# The sweeper


def test_the_sweeper_rings_for_what_nobody_claims(
    schedule: Schedule, rings: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        schedule()
    rings.clear()
    monkeypatch.setattr(queue, "unheard_count", lambda *_: 0)
    assert sweeper.ring_for_unclaimed(Assessment, ASSESS, bells=2) == 2
    assert len(rings) == 2


def test_the_sweeper_leaves_pauses_in_peace(
    schedule: Schedule, rings: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule(image_sha256s=("e" * 64,))
    read_and_write(claim())
    rings.clear()
    monkeypatch.setattr(queue, "unheard_count", lambda *_: 0)
    assert sweeper.ring_for_unclaimed(Assessment, ASSESS, bells=2) == 0
    let_pauses_pass()
    assert sweeper.ring_for_unclaimed(Assessment, ASSESS, bells=2) == 1


def test_the_sweeper_does_not_pile_up_rings(
    schedule: Schedule, rings: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule()
    rings.clear()
    monkeypatch.setattr(queue, "unheard_count", lambda *_: 1)
    assert sweeper.ring_for_unclaimed(Assessment, ASSESS, bells=4) == 0
    assert rings == []


def test_the_sweeper_leaves_the_broker_alone_when_nothing_waits(
    core: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "unheard_count", always_raise(AssertionError("asked")))
    assert sweeper.ring_for_unclaimed(Assessment, ASSESS, bells=2) == 0


def test_a_sweep_returns_rings_and_anchors(
    schedule: Schedule, rings: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = schedule()
    claim(lease_seconds=-1)
    rings.clear()
    monkeypatch.setattr(queue, "unheard_count", lambda *_: 0)
    sweeper.sweep(bells=1, anchors=True)
    assert reread(silent).state is State.SCHEDULED
    assert rings
    assert current_settings().audit_anchors.exists()


@pytest.mark.parametrize("trouble", [KombuError("away"), OperationalError("", {}, Exception())])
def test_a_sweep_does_what_it_can_in_trouble(
    core: Flask, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    anchored: list[None] = []
    monkeypatch.setattr(sweeper, "return_expired_leases", always_raise(trouble))
    monkeypatch.setattr(sweeper, "unclaimed_count", always_raise(trouble))
    monkeypatch.setattr(sweeper.audit, "append_anchor", lambda: anchored.append(None))
    sweeper.sweep(bells=1, anchors=True)
    assert anchored == [None]


# Devices


def test_gpus_are_counted_without_torch_in_this_process(tmp_path: Path) -> None:
    import torch

    settings = Settings(instance_dir=tmp_path, device="auto", worker_processes=3)
    assert predictors.gpu_count(settings) == torch.cuda.device_count()
    on_cpu = Settings(instance_dir=tmp_path, device="cpu", worker_processes=3)
    assert predictors.process_count(on_cpu) == 3


@pytest.mark.parametrize(("visible", "own"), [("", "1"), ("4,6", "6")])
def test_each_process_sees_one_gpu(monkeypatch: pytest.MonkeyPatch, visible: str, own: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert predictors.own_gpu(1) == own


# Installing


def test_installing_registers_copies_and_lets_the_first_serve(bundle: Path) -> None:
    assert install.install(bundle)
    sha256 = bundles.load(bundle).sha256
    version = installed(sha256)
    assert version is not None
    assert champion(version.reading_task_id) is version
    assert bundles.verify(current_settings().bundles_dir / sha256) == []
    assert [finding.code for finding in version.reading_task.findings][:3] == [
        "basophil",
        "eosinophil",
        "erythroblast",
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_several_are_exported_by_one_process_and_what_is_no_bundle_stops_none(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(current_settings().engines_dir)
    other = make_bundle(tmp_path / "other", seed=1)
    (tmp_path / "none").mkdir()
    install.export_together([bundle, tmp_path / "none", other])
    monkeypatch.setattr(subprocess, "run", always_raise(AssertionError("exported again")))
    assert install.install(bundle)
    assert install.install(other)


def test_installing_again_does_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install.install(bundle)
    monkeypatch.setattr(fetching.predictor, "load", always_raise(AssertionError("loaded again")))
    assert not install.install(bundle)


def test_the_pictures_of_a_bundle_are_kept_if_it_says_where_they_are_from(bundle: Path) -> None:
    described = install.sources(bundle / "selftest" / install.SOURCES)
    install.install(bundle)
    db.session.execute(delete(Sample))  # as after an installation by a version that kept none
    db.session.commit()
    for _ in range(2):
        assert not install.install(bundle)
    version = installed(bundles.load(bundle).sha256)
    assert version is not None
    samples = samples_of(version)
    assert {sample.name: sample.source for sample in samples} == described
    for sample in samples:
        assert storage.get(sample.image_sha256) == (bundle / "selftest" / sample.name).read_bytes()
        assert sample.finding is None or sample.name.startswith(sample.finding.code)


def test_an_edited_bundle_is_not_installed(bundle: Path, tmp_path: Path) -> None:
    edited = tmp_path / "edited"
    shutil.copytree(bundle, edited)
    (edited / "selftest" / "ig.png").write_bytes(picture_bytes(seed=99))
    with pytest.raises(BundleError, match=r"ig\.png was edited"):
        install.install(edited)
    assert not current_settings().bundles_dir.exists()


def test_a_bundle_that_answers_otherwise_here_is_not_installed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda self, images, _: predict(self, images[::-1]))
    with pytest.raises(install.SelfTestFailed, match="differ by up to"):
        install.install(bundle)
    assert installed(bundles.load(bundle).sha256) is None


def test_the_second_installation_loads_no_torch(bundle: Path) -> None:
    install.install(bundle)
    db.session.remove()
    done = run_apart(
        "import sys; from webapp.worker.install import main; status = main();"
        "print(sorted({'torch', 'onnxruntime'} & set(sys.modules))); sys.exit(status)",
        str(bundle),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{bundle}: is installed", "[]"]


def test_workers_that_have_nothing_to_do_load_nothing_for_it(core: Flask) -> None:
    done = run_apart(
        "import sys; from webapp.worker.app import flask_app; from webapp.worker import jobs\n"
        "with flask_app.app_context(): jobs.administer.run(); jobs.train.run()\n"
        "print(sorted({'torch', 'onnxruntime', 'webapp.worker.comparing'} & set(sys.modules)))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]"]


def run_apart(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a process of its own, on this test's instance."""
    settings = current_settings()
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={
            "INSTANCE_DIR": str(settings.instance_dir),
            "DATABASE_URL": settings.database_url,
            "AUDIT_KEY": settings.audit_key or "k" * 32,
            "DEVICE": "cpu",
        },
        capture_output=True,
        text=True,
        check=False,
    )


# Which code


def test_the_code_version_names_package_and_revision() -> None:
    version, _, revision = code_version().partition("+g")
    assert version.count(".") == 2
    assert len(revision) in (0, 40)


def test_the_revision_is_read_from_the_files_of_git(tmp_path: Path) -> None:
    assert git_revision(tmp_path) == ""
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    assert git_revision(tmp_path) == ""
    (tmp_path / "packed-refs").write_text(f"# pack-refs\n{'a' * 40} refs/heads/main\n")
    assert git_revision(tmp_path) == "a" * 40
    (tmp_path / "refs" / "heads").mkdir(parents=True)
    (tmp_path / "refs" / "heads" / "main").write_text(f"{'b' * 40}\n")
    assert git_revision(tmp_path) == "b" * 40
    (tmp_path / "HEAD").write_text(f"{'c' * 40}\n")
    assert git_revision(tmp_path) == "c" * 40
