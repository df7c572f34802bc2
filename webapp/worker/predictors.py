"""Loaded models, by the hash of their bundle, and the devices that they run on."""

import functools
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from ml import predictor
from ml.engines import has_cuda
from ml.predictor import Predictor
from webapp.config import REPOSITORY, Settings, current_settings
from webapp.registry.queries import champions

if TYPE_CHECKING:  # it loads torch, which must not be there before the fork
    from ml.explain import HeatMaps

log = logging.getLogger(__name__)

KEPT = 8
"""Models that one process holds at a time."""
IMAGES_ON_GPU = 32


class MissingBundle(Exception):
    """A bundle is registered, but its files are not on this machine."""


def get(bundle_sha256: str) -> Predictor:
    """The model of an installed bundle, loaded at its first use.

    Raises:
        MissingBundle: its files are not here.
        ml.bundle.BundleError: they are not what they were.
    """
    settings = current_settings()
    if not (settings.bundles_dir / bundle_sha256 / "bundle.json").exists():
        raise MissingBundle(f"{settings.bundles_dir / bundle_sha256} is not there")
    return _load(bundle_sha256, settings)


@functools.lru_cache(maxsize=KEPT)
def _load(bundle_sha256: str, settings: Settings) -> Predictor:
    return predictor.load(
        settings.bundles_dir / bundle_sha256,
        device=settings.device,
        cache_dir=settings.engines_dir,
        threads=1,
    )


def heat_maps(bundle_sha256: str) -> "HeatMaps":
    """What makes heat maps with an installed bundle, loaded at its first use.

    Raises:
        MissingBundle: its files are not here.
        ml.bundle.BundleError: they are not what they were.
        ml.explain.NoHeatMap: its network has none.
    """
    return _load_heat_maps(get(bundle_sha256))


@functools.lru_cache(maxsize=KEPT)
def _load_heat_maps(model: Predictor) -> "HeatMaps":
    import torch

    from ml.explain import HeatMaps

    torch.set_num_threads(1)  # a process a core
    return HeatMaps(model.bundle)


def at_hand() -> set[str]:
    """The bundles whose files are on this machine, by their hashes."""
    return {facts.parent.name for facts in current_settings().bundles_dir.glob("*/bundle.json")}


def load_champions() -> None:
    """Load the models that serve now; says which of them are not on this machine."""
    here = at_hand()
    for version in champions():
        if version.bundle_sha256 in here:
            get(version.bundle_sha256)
            continue
        log.warning(
            "%s %s is not installed on this machine, its cases wait for another worker, or until it"
            " is fetched from the store: there is no bundle %s in %s",
            version.reading_task.code,
            version.version,
            version.bundle_sha256,
            current_settings().bundles_dir,
        )


def images_at_once() -> int:
    """How many images are decoded and read together: a GPU reads many as fast as one."""
    return IMAGES_ON_GPU if _on_gpu(current_settings().device) else 1


@functools.cache
def _on_gpu(device: str) -> bool:
    return device != "cpu" and has_cuda()


@functools.cache
def gpu_count(settings: Settings) -> int:
    """How many GPUs models run on; asked in a process of its own, so that torch stays out of
    one that is going to fork."""
    if settings.device == "cpu":
        return 0
    program = (
        "from ml.engines import has_cuda\n"
        "print(__import__('torch').cuda.device_count() if has_cuda() else 0)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(answer.stdout)


def own_gpu(index: int) -> str:
    """What CUDA_VISIBLE_DEVICES says in the process with this index: one of those seen here."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",")[index] if visible else str(index)


def process_count(settings: Settings) -> int:
    """One process a GPU; without one, as many as the settings say."""
    return gpu_count(settings) or settings.worker_processes
