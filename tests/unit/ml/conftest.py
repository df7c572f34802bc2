"""Fixtures: a tiny bundle with its predictor, the shipped one, and real pictures."""

import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from ml import predictor as predictors
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.predictor import Predictor
from tests import made
from tests.unit.ml.factories import make_bundle, picture_bytes

import_module("ml.torchvision_shim")  # some tests load timm and torchvision by themselves

SHIPPED = Path(__file__).parents[3] / "ml" / "bundles" / "blood-cell"


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """Where exported networks are kept during the tests."""
    return made.engines()


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


@pytest.fixture
def blood_like(tmp_path: Path) -> Path:
    """A packed data set of 88 drawn cells, of which eight are the locked test."""
    folder, rows = tmp_path / "data", ["file,subject,label,split"]
    folder.mkdir()
    codes = ("basophil", "eosinophil")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number in range(88):
            archive.writestr(f"{number}.png", picture_bytes(seed=number))
            split = "val" if number < 8 else "train"
            rows.append(f"{number}.png,s{number // 2},{codes[number % 2]},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder
