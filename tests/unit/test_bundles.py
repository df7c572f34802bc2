"""Bundles from outside: what may be anything is refused plainly, and what is whole is installed;
and a machine that lacks one fetches it from the store."""

import dataclasses
import hashlib
import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from tests import clinic
from tests.conftest import People
from tests.unit.ml.factories import make_bundle
from webapp import queue, storage
from webapp.accounts.models import User
from webapp.assessments.models import State
from webapp.bundles import cli, services
from webapp.bundles.archive import BundleArchive, pack
from webapp.bundles.models import Installation
from webapp.bundles.refusals import SENTENCES
from webapp.config import current_settings
from webapp.db import db, transaction
from webapp.errors import Invalid
from webapp.jobs import ADMINISTER, ASSESS
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion, champions, versions_of
from webapp.worker import fetching, install, jobs, predictors

ONE_KIND = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the rings instead of sending them."""
    heard: list[str] = []
    monkeypatch.setattr(queue, "ring", lambda job=ASSESS: heard.append(job) or True)
    return heard


@pytest.fixture
def actor(core: Flask, people: People) -> User:
    return people.administrator()


def sent(actor: User | None, archive: bytes, **more: Any) -> Installation:
    """What became of an archive that was sent."""
    installation = services.request(actor=actor, archive=archive, file_name="b.zip", **more)
    jobs.administer.run()
    db.session.refresh(installation)
    return installation


def edited(bundle: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle that says something else of itself, and is whole otherwise."""
    copy = Path(shutil.copytree(bundle, folder / "edited"))
    facts = json.loads((copy / "bundle.json").read_text())
    change(facts)
    (copy / "bundle.json").write_text(json.dumps(facts))
    return pack(copy)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return stream.getvalue()


# Installing


def test_a_bundle_is_installed_and_kept_in_the_store(
    actor: User, bundle: Path, rings: list[str]
) -> None:
    sha256 = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    installation = sent(actor, pack(bundle), expected_sha256=sha256)
    assert rings[0] == ADMINISTER
    assert installation.state is State.COMPLETED
    version = installation.model_version
    assert version is not None
    assert version.bundle_sha256 == sha256
    assert champion(version.reading_task_id) is None  # the first, and of one person
    assert BundleArchive(storage.get(version.archive_sha256 or ""))
    assert sha256 in predictors.at_hand()
    done = clinic.recorded("installation.requested", "model.installed", "installation.completed")
    assert [event.actor_id for event in done] == [actor.id] * 3


@ONE_KIND
def test_a_second_one_is_a_candidate_and_the_same_again_is_the_same(
    actor: User, bundle: Path, tmp_path: Path
) -> None:
    install.install(bundle)
    other = pack(make_bundle(tmp_path / "other", seed=1))
    version = sent(actor, other).model_version
    assert version is not None
    serving = champion(version.reading_task_id)
    assert serving is not None
    assert serving is not version
    assert sent(actor, other).model_version is version
    assert len(versions_of(version.reading_task_id)) == 2


@ONE_KIND
def test_a_folder_in_the_archive_and_what_macs_add_do_not_matter(actor: User, bundle: Path) -> None:
    files = [(f"my-model/{p.relative_to(bundle)}", p.read_bytes()) for p in bundle.rglob("*.*")]
    archive = zipped(("my-model/", b""), *files, ("__MACOSX/my-model/._bundle.json", b"x"))
    assert sent(actor, archive).model_version is not None
    kept = set(db.session.scalars(select(ModelVersion.archive_sha256)))
    assert hashlib.sha256(archive).hexdigest() not in set(storage.hashes()) - kept


@ONE_KIND
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts.pop("licence"), "not_stated licence"),
        (lambda facts: facts.update(intended_use=" "), "not_stated intended_use"),
        (lambda facts: facts.update(schema_version=7), "not_a_bundle schema version 7 is not 1"),
        (lambda facts: facts.update(self_test=[]), "not_stated self_test"),
        (
            lambda facts: facts["findings"][0].update(urgency="soon"),
            "not_stated findings[0].urgency",
        ),
        (lambda facts: facts.update(findings="?"), "not_a_bundle"),
        (lambda facts: facts["network"].update(name="os.system"), "engine "),
        (
            lambda facts: facts["files"].popitem(),
            "is not part of the bundle",
        ),
        (
            lambda facts: facts["self_test"][0]["probabilities"].update(basophil=0.123),
            "self_test",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_plainly_and_leaves_nothing(
    actor: User,
    bundle: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    said: str,
) -> None:
    installation = sent(actor, edited(bundle, tmp_path, change))
    assert installation.is_refused
    told = [" ".join(problem.values()) for problem in installation.problems or []]
    assert said in told[0]
    assert db.session.scalars(select(ModelVersion)).all() == []
    assert predictors.at_hand() == set()
    assert list(storage.hashes()) == []
    (event,) = clinic.recorded("installation.refused")
    assert event.detail["reasons"]


@ONE_KIND
def test_another_bundle_than_expected_is_refused(actor: User, bundle: Path) -> None:
    installation = sent(actor, pack(bundle), expected_sha256="0" * 64)
    assert [problem["reason"] for problem in installation.problems or []] == ["other_bundle"]


@ONE_KIND
def test_a_store_that_is_away_is_no_fault_of_the_bundle(
    actor: User, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_sha256: str) -> bytes:
        raise ConnectionRefusedError("store")

    with monkeypatch.context() as patch:
        installation = services.request(actor=actor, archive=pack(bundle), file_name="b.zip")
        patch.setattr(storage, "get", away)
        jobs.administer.run()
        db.session.refresh(installation)
        assert installation.state is State.SCHEDULED
        assert "ConnectionRefusedError" in (installation.last_error or "")
    with transaction():
        installation.not_before_at = None
    jobs.administer.run()
    db.session.refresh(installation)
    assert installation.model_version is not None


@ONE_KIND
def test_a_worker_that_goes_silent_gives_the_work_back(actor: User, bundle: Path) -> None:
    installation = services.request(actor=actor, archive=pack(bundle), file_name="b.zip")
    claim = services.claim(worker="test:1", lease_seconds=-1)
    assert claim is not None
    assert services.KIND.return_expired_leases() == 1
    assert not services.refuse(claim=claim, problems=[{"reason": "archive_format"}])
    db.session.refresh(installation)
    assert installation.state is State.SCHEDULED
    jobs.administer.run()
    db.session.refresh(installation)
    assert installation.model_version is not None


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_the_command_waits_for_the_worker_and_says_what_came_of_it(
    app: Flask,
    exported: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    path, engines = exported
    if form == "archive":
        path = tmp_path / "model.zip"
        path.write_bytes(pack(exported[0]))
    with app.app_context():
        shutil.copytree(engines, current_settings().engines_dir)
    monkeypatch.setattr(cli.time, "sleep", lambda _seconds: jobs.administer.run())
    run = app.test_cli_runner().invoke
    done = run(args=["bundle", "install", str(path)])
    assert done.exit_code == 0, done.output
    assert "blood-cell 0.0.0 is installed" in done.output
    with app.app_context():
        assert [serving.version for serving in champions()] == ["0.0.0"]  # it is the first
    refused = run(args=["bundle", "install", str(path), "--sha256", "0" * 64])
    assert refused.exit_code == 1
    assert "another bundle than you expect" in refused.output
    (tmp_path / "none.zip").write_bytes(b"PK nonsense")
    refused = run(args=["bundle", "install", str(tmp_path / "none.zip")])
    assert refused.exit_code == 1
    assert "not a ZIP archive" in refused.output


# Archives


def _link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("selftest.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


FACTS = ("bundle.json", b"{}")


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"PK nonsense", "archive_format"),
        (zipped(("model.json", b"{}")), "no_bundle"),
        (zipped(("a/bundle.json", b"{}"), ("b/c.json", b"{}")), "no_bundle"),
        (zipped(FACTS, ("../../etc/passwd.txt", b"x")), "archive_name"),
        (zipped(FACTS, ("/etc/passwd.txt", b"x")), "archive_name"),
        (zipped(FACTS, ("a\\b.txt", b"x")), "archive_name"),
        (zipped(FACTS, (".hidden.json", b"x")), "archive_name"),
        (zipped(FACTS, ("a" * 200 + ".json", b"x")), "archive_name"),
        (zipped(FACTS, ("weights.pkl", b"x")), "archive_kind"),
        (zipped(FACTS, ("model.pt", b"x")), "archive_kind"),
        (zipped(FACTS, ("setup.py", b"x")), "archive_kind"),
        (zipped(FACTS, (_link(), b"/etc/passwd")), "archive_link"),
        (zipped(FACTS, *((f"{number}.txt", b"") for number in range(501))), "archive_entries"),
    ],
)
def test_a_hostile_archive_is_refused(archive: bytes, reason: str) -> None:
    with pytest.raises(Invalid) as refusal:
        BundleArchive(archive)
    assert refusal.value.reason == reason
    assert reason in SENTENCES


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_or_below_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="archive_twice"):
        BundleArchive(zipped(FACTS, FACTS))
    with pytest.raises(Invalid, match="archive_name"):
        BundleArchive(zipped(FACTS, ("bundle.json/a.txt", b""))).unpack(tmp_path)


def test_what_swells_is_stopped_while_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swelling = zipped(FACTS, ("a.txt", bytes(3_000_000)))
    monkeypatch.setattr("webapp.bundles.archive.MAX_BYTES", 1_500_000)
    with pytest.raises(Invalid, match="archive_size"):
        BundleArchive(swelling).unpack(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 2_000_000


def test_a_torn_archive_is_damaged(tmp_path: Path) -> None:
    packed = bytearray(zipped(FACTS, ("a.txt", b"of this " * 500)))
    packed[packed.index(b"a.txt") + 10] ^= 255
    with pytest.raises(Invalid, match="archive_damaged"):
        BundleArchive(bytes(packed)).unpack(tmp_path)


def test_the_same_files_are_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.json").write_text("1")
    packed = pack(tmp_path)
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "a")
    assert pack(tmp_path / "b") == packed


# Other machines


@pytest.fixture
def elsewhere(actor: User, bundle: Path) -> ModelVersion:
    """A model that serves, and that is in the store and not on this machine."""
    install.install(bundle)
    shutil.rmtree(current_settings().bundles_dir)
    return db.session.scalars(select(ModelVersion)).one()


def test_what_serves_is_fetched_verified_and_tested(elsewhere: ModelVersion) -> None:
    assert fetching.missing(predictors.at_hand()) == [elsewhere]
    assert fetching.fetch_missing() == 1
    assert predictors.at_hand() == {elsewhere.bundle_sha256}
    assert fetching.missing(predictors.at_hand()) == []
    assert predictors.get(elsewhere.bundle_sha256).self_test().passed


@ONE_KIND
def test_what_the_store_has_under_its_name_must_be_the_bundle(
    elsewhere: ModelVersion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = pack(make_bundle(tmp_path / "other", seed=1))
    with transaction():
        elsewhere.archive_sha256 = storage.put(other)
    assert fetching.fetch_missing() == 0
    assert "what the store has is" in caplog.text
    assert predictors.at_hand() == set()


@ONE_KIND
def test_what_nobody_asks_for_stays_where_it_is(elsewhere: ModelVersion, tmp_path: Path) -> None:
    fetching.fetch_missing()
    install.install(make_bundle(tmp_path / "other", seed=1))
    candidate = versions_of(elsewhere.reading_task_id)[0]
    shutil.rmtree(current_settings().bundles_dir / candidate.bundle_sha256)
    assert fetching.missing(predictors.at_hand()) == []


@ONE_KIND
def test_what_was_installed_before_the_store_had_bundles_is_kept_there(
    actor: User, bundle: Path
) -> None:
    install.install(bundle)
    version = db.session.scalars(select(ModelVersion)).one()
    storage.remove(version.archive_sha256 or "")
    with transaction():
        version.archive_sha256 = None
    assert install.install(bundle) is False
    assert storage.get(version.archive_sha256 or "")


@ONE_KIND
def test_one_process_fetches_at_a_time(core: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass
    class Process:
        ended: int | None = None

        def poll(self) -> int | None:
            return self.ended

    started: list[Process] = []

    def start(*_: Any, **__: Any) -> Process:
        started.append(Process())
        return started[-1]

    monkeypatch.setattr(fetching.subprocess, "Popen", start)
    monkeypatch.setattr(fetching, "_running", [])
    fetching.begin()
    fetching.begin()
    assert len(started) == 1
    started[0].ended = 0
    fetching.begin()
    assert len(started) == 2
