"""Bundles: whole, or refused with every reason."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ml import bundle as bundles
from ml.bundle import BundleError

SHIPPED = Path(bundles.__file__).parent / "bundles"


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_a_whole_bundle_loads(tiny_bundle: Path) -> None:
    bundle = bundles.load(tiny_bundle)
    assert bundles.verify(tiny_bundle) == []
    assert bundle.sha256 == hashlib.sha256((tiny_bundle / "bundle.json").read_bytes()).hexdigest()
    assert (bundle.reading_task, bundle.version) == ("blood-cell", "0.0.0")
    assert bundle.codes[3] == "ig"


def test_weights_are_kept_in_half_and_read_in_full(tiny_bundle: Path) -> None:
    tensors = bundles.load(tiny_bundle).tensors()
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float32)}
    assert (tiny_bundle / "model.safetensors").stat().st_size < 2.1 * sum(
        value.size for value in tensors.values()
    ) + 10_000


def test_an_edited_file_is_named(copy: Path) -> None:
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert bundles.verify(copy) == ["model.safetensors was edited"]
    with pytest.raises(BundleError, match="was edited"):
        bundles.load(copy)


def test_a_missing_and_an_extra_file_are_named(copy: Path) -> None:
    (copy / "selftest" / "ig.png").rename(copy / "selftest" / "other.pkl")
    assert bundles.verify(copy) == [
        "selftest/ig.png is missing",
        "selftest/other.pkl is not part of the bundle",
    ]


def test_an_edited_description_is_another_bundle(copy: Path) -> None:
    before = bundles.load(copy).sha256
    facts = json.loads((copy / "bundle.json").read_text())
    facts["calibration"]["temperature"] = 2.0
    (copy / "bundle.json").write_text(json.dumps(facts))
    assert bundles.load(copy).sha256 != before


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "bundle.json is missing"),
        ("{", "bundle.json is not a bundle description"),
        ('{"files": [1], "schema_version": 1}', "bundle.json is not a bundle description"),
        ("[]", "bundle.json is not a bundle description"),
        ('{"files": {}, "schema_version": 99}', "schema version 99 is not 1"),
    ],
)
def test_no_usable_description(copy: Path, content: str | None, problem: str) -> None:
    (copy / "bundle.json").unlink()
    if content is not None:
        (copy / "bundle.json").write_text(content)
    assert bundles.verify(copy) == [problem]


def test_an_incomplete_description_is_refused(copy: Path) -> None:
    facts = json.loads((copy / "bundle.json").read_text())
    del facts["preprocess"]
    (copy / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(BundleError, match="preprocess"):
        bundles.load(copy)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"findings": []}, "codes are none"),
        ({"findings": [{"code": "a"}, {"code": "a"}]}, "codes are none, or not different"),
        ({"calibration": {"temperature": 0}}, "its temperature is 0.0"),
        ({"calibration": None}, "is incomplete"),
        ({"version": ""}, "version has no name"),
        ({"self_test": [{"file": "../../other.png"}]}, "reads ../../other.png, which is not part"),
    ],
)
def test_a_description_that_means_nothing_is_refused(
    copy: Path, change: dict[str, object], problem: str
) -> None:
    facts = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(facts | change))
    with pytest.raises(BundleError, match=problem):
        bundles.load(copy)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname"])
def test_files_outside_the_folder_are_none_of_it(copy: Path, name: str) -> None:
    (copy.parent / "outside.txt").write_text("words")
    facts = json.loads((copy / "bundle.json").read_text())
    facts["files"][name] = hashlib.sha256(b"words").hexdigest()
    (copy / "bundle.json").write_text(json.dumps(facts))
    assert bundles.verify(copy) == [f"{name} is missing"]


def test_every_shipped_bundle_names_its_sources() -> None:
    notice = (SHIPPED / "NOTICE.md").read_text()
    for path in (facts.parent for facts in SHIPPED.glob("*/*/bundle.json")):
        assert f"## {path.parent.name}\n" in notice
        assert (path / "LICENSE.md").exists()
        assert (path / "selftest" / "SOURCES.md").exists()
    for words in ("creativecommons.org/licenses/by/4.0", "Apache License 2.0", "ML Illustrated"):
        assert words in notice


def test_weights_beyond_half_precision_are_refused() -> None:
    with pytest.raises(ValueError, match="half precision"):
        bundles.halved(np.array([1e6], np.float32))


def test_scalars_keep_their_shape(tmp_path: Path, tiny_bundle: Path) -> None:
    facts = {**bundles.load(tiny_bundle).facts, "self_test": []}
    tensors = {"count": np.array(3), "half": np.array(0.5, np.float32)}
    stored = bundles.save(tmp_path / "scalars", facts, tensors).tensors()
    assert {name: value.shape for name, value in stored.items()} == {"count": (), "half": ()}
