"""Install bundles: `python -m webapp.worker.install ml/bundles/*/*`.

Each one is verified, copied under its hash, exported, tested on the images that it brings along,
and registered; the first of a reading task serves it from then on. What is installed already is
left as it is, and costs no time. All are exported by one process.
"""

import argparse
import hashlib
import mimetypes
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from ml import bundle as bundles
from ml import reference
from ml.bundle import Bundle, BundleError
from ml.engines import EngineError, export_all
from webapp import storage
from webapp.accounts.models import User
from webapp.bundles.archive import pack
from webapp.bundles.services import forget_archive
from webapp.config import InvalidSettings, Settings, current_settings
from webapp.core import create_core
from webapp.db import transaction
from webapp.errors import Conflict
from webapp.registry.models import ModelVersion
from webapp.registry.queries import installed, samples_of
from webapp.registry.services import (
    NewSample,
    add_samples,
    keep_archive,
    keep_reference,
    promote_first,
    register,
)
from webapp.worker import fetching, predictors
from webapp.worker.fetching import SelfTestFailed

MODEL_CARD = "MODEL_CARD.md"
SOURCES = "SOURCES.md"
_SOURCE = re.compile(r"^- `(?P<name>[^`]+)`: (?P<source>.+)$", re.MULTILINE)
"""A line of it: a picture, and where it is from under which licence."""


def install(path: Path, *, actor: User | None = None, waits: bool = False) -> bool:
    """Install the bundle in a folder; False if it is here already. The first of its reading task
    serves it at once, unless it `waits` for people to let it.

    Raises:
        ml.bundle.BundleError: the folder is not a bundle, or was changed.
        ml.engines.EngineError: its network cannot run here.
        webapp.worker.fetching.SelfTestFailed: it runs, and gives other answers.
        Conflict: another bundle has this version.
    """
    settings = current_settings()
    bundle = bundles.load(path)
    with FileLock(settings.instance_dir / "install.lock"):
        if _is_ready(bundle, settings):
            _keep(bundle)
            return False
        fetching.try_out(path, settings)
        version = _register(bundle, _copy(bundle, settings.bundles_dir), actor)
        if not waits:
            promote_first(version=version, actor=actor)
    return True


def export_together(paths: Iterable[Path]) -> None:
    """Export every network that is missing here, in one process. What is wrong with one of them
    is said when that one is installed."""
    settings = current_settings()
    missing = []
    for path in paths:
        with suppress(BundleError):
            bundle = bundles.load(path)
            if not _is_exported(bundle, settings):
                missing.append(bundle)
    with suppress(EngineError):
        export_all(missing, settings.engines_dir)


def _is_ready(bundle: Bundle, settings: Settings) -> bool:
    return (
        installed(bundle.sha256) is not None
        and (settings.bundles_dir / bundle.sha256).is_dir()
        and _is_exported(bundle, settings)
    )


def _is_exported(bundle: Bundle, settings: Settings) -> bool:
    """Its export is here, or none is needed."""
    exported = settings.engines_dir / f"{bundle.sha256}.onnx"
    return exported.exists() or predictors.gpu_count(settings) > 0


def _copy(bundle: Bundle, bundles_dir: Path) -> Path:
    """Copy a bundle to its place; it appears there whole or not at all."""
    home = bundles_dir / bundle.sha256
    if home.is_dir():
        return home
    bundles_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bundles_dir) as folder:
        shutil.copytree(bundle.path, Path(folder) / "bundle").rename(home)
    return home


def _register(bundle: Bundle, home: Path, actor: User | None) -> ModelVersion:
    """Whatever the store has to take is there before there is a row: a store that cannot take it
    leaves nothing half-registered."""
    card = home / MODEL_CARD
    archive_sha256 = storage.put(pack(bundle.path))
    try:
        samples = _stored_samples(bundle)
        with transaction():
            storage.hold(sample.image_sha256 for sample in samples)
            version = register(
                manifest=bundle.facts,
                bundle_sha256=bundle.sha256,
                model_card=card.read_text(encoding="utf-8") if card.exists() else "",
                actor=actor,
            )
            keep_archive(version=version, archive_sha256=archive_sha256)
            _keep_reference(bundle, version)
            if not samples_of(version):
                add_samples(version=version, samples=samples)
    except Exception:
        forget_archive(archive_sha256)
        pictures = (bundle.path / said["file"] for said in bundle.facts["self_test"])
        storage.remove_unnamed({hashlib.sha256(one.read_bytes()).hexdigest() for one in pictures})
        raise
    return version


def _keep(bundle: Bundle) -> None:
    """Put a registered bundle where other machines find it, and what it brings along where pages
    do; also an earlier release may have registered it, and have left something out."""
    version = installed(bundle.sha256)
    if version is None:
        return
    fetching.keep(bundle, version)
    _keep_reference(bundle, version)
    if not samples_of(version):
        add_samples(version=version, samples=_stored_samples(bundle))


def _keep_reference(bundle: Bundle, version: ModelVersion) -> None:
    figures = reference.of(bundle)
    if figures is not None:
        keep_reference(version=version, figures=figures)


def _stored_samples(bundle: Bundle) -> Sequence[NewSample]:
    """The pictures of which it says where they are from."""
    samples = []
    for said in bundle.facts["self_test"]:
        picture = bundle.path / said["file"]
        source = sources(picture.with_name(SOURCES)).get(picture.name)
        media_type, _ = mimetypes.guess_type(picture.name)
        if source and media_type:
            samples.append(
                NewSample(
                    name=picture.name,
                    finding=said["finding"],
                    image_sha256=storage.put(picture.read_bytes()),
                    media_type=media_type,
                    source=source,
                )
            )
    return samples


def sources(path: Path) -> dict[str, str]:
    """Where pictures are from and under which licence, by their names, as the file beside them
    says; nothing where there is none."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return dict(_SOURCE.findall(text))


def main() -> int:
    """Install every folder that is named; the exit status says whether all are ready."""
    parser = argparse.ArgumentParser(
        prog="python -m webapp.worker.install", description="Verify, export, test, register models."
    )
    parser.add_argument("bundles", nargs="+", type=Path, help="folders with a bundle.json")
    options = parser.parse_args()
    ready = True
    try:
        app = create_core()
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    with app.app_context():
        export_together(options.bundles)
        for path in options.bundles:
            try:
                new = install(path)
                print(f"{path}: {'installed' if new else 'is installed'}")
            except (BundleError, EngineError, SelfTestFailed, Conflict) as error:
                print(f"{path}: {error}", file=sys.stderr)
                ready = False
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
