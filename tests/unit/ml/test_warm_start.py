"""Starting a network from a bundle's weights."""

import shutil
from pathlib import Path

import pytest
import torch

from ml import bundle as bundles
from ml.networks import build_network
from ml.preprocess import PreprocessSpec
from ml.recipe import NetworkRecipe, Recipe
from ml.training import start
from ml.warm_start import bundle_of, find_bundle, start_from


def test_a_bundle_is_found_by_folder_name_or_hash(tiny_bundle: Path, tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0"):
        shutil.copytree(tiny_bundle, tmp_path / "blood" / version)
    assert find_bundle(str(tiny_bundle)).path == tiny_bundle
    assert find_bundle("blood", tmp_path).path.name == "1.10.0"
    sha256 = bundles.load(tiny_bundle).sha256
    assert find_bundle(sha256, tmp_path).sha256 == sha256
    with pytest.raises(ValueError, match="no bundle nowhere: neither a folder"):
        find_bundle("nowhere", tmp_path)
    assert bundle_of("imagenet") is None


def test_the_same_findings_take_over_the_head_too(tiny_bundle: Path) -> None:
    bundle = bundles.load(tiny_bundle)
    stored = bundle.tensors()
    reader = build_network("plain-cnn", len(bundle.codes))
    start_from(reader, bundle, bundle.codes)
    for name, value in reader.state_dict().items():
        assert (value.numpy() == stored[f"network.{name}"]).all(), name


@pytest.mark.parametrize("count", [3, 8])
def test_other_findings_get_a_head_of_their_own(tiny_bundle: Path, count: int) -> None:
    """Also when they are as many."""
    recipe = Recipe(
        "test",
        "1",
        preprocess=PreprocessSpec(32, 32),
        network=NetworkRecipe("plain-cnn", f"bundle:{tiny_bundle}"),
    )
    torch.manual_seed(3)
    fresh = build_network("plain-cnn", count)
    torch.manual_seed(3)
    reader = start(recipe, tuple(map(str, range(count))))
    stored = bundles.load(tiny_bundle).tensors()
    assert torch.equal(reader.head.weight, fresh.head.weight)
    for name, value in reader.backbone.state_dict().items():
        assert (value.numpy() == stored[f"network.backbone.{name}"]).all(), name


def test_another_network_is_refused(tiny_bundle: Path) -> None:
    bundle = bundles.load(tiny_bundle)
    with pytest.raises(ValueError, match="another backbone"):
        start_from(build_network("efficientnet-lite0", 8), bundle, bundle.codes)
