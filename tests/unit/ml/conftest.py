"""Fixtures: a tiny bundle with its predictor, the shipped one, and real pictures."""

from pathlib import Path

import pytest

from ml import predictor as predictors
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.predictor import Predictor
from tests.unit.ml.factories import make_bundle

SHIPPED = Path(__file__).parents[3] / "ml" / "bundles" / "blood-cell"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exported networks are kept during the tests."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid bundle of an untrained network; read only."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_bundle: Path, cache_dir: Path) -> Predictor:
    """The tiny bundle on ONNX Runtime."""
    return predictors.load(tiny_bundle, device="cpu", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def shipped(cache_dir: Path) -> Predictor:
    """The blood-cell bundle that the project ships, on ONNX Runtime."""
    return predictors.load(max(SHIPPED.iterdir()), device="cpu", cache_dir=cache_dir, threads=2)


@pytest.fixture(scope="session")
def blood(data_dir: Path) -> Manifest:
    """The real blood-cell pictures."""
    return packed.read(data_dir / "blood-pbc")
