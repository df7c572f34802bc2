"""Small real bundles, exported once."""

import shutil
from pathlib import Path

import pytest
from flask import Flask

from tests import made
from tests.unit.ml.factories import make_bundle
from webapp.config import current_settings


@pytest.fixture(scope="session")
def fusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a later version, which reads what is known of a patient as well."""
    return make_bundle(tmp_path_factory.mktemp("tiny") / "fusion", seed=1, fusion=True)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, fusion: Path) -> tuple[Path, Path]:
    """A bundle, and the folder that its network was exported to, with that of the other in one go:
    what takes long is to begin."""
    folder = tmp_path_factory.mktemp("tiny")
    path = make_bundle(folder / "bundle")
    made.put_engines([path, fusion], folder / "engines")
    return path, folder / "engines"


@pytest.fixture
def bundle(core: Flask, exported: tuple[Path, Path]) -> Path:
    """A bundle that is exported already, as after an installation elsewhere on the machine."""
    path, engines = exported
    shutil.copytree(engines, current_settings().engines_dir)
    return path
