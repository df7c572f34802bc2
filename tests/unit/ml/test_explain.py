"""Why an answer is what it is: heat maps that depend on the network, and what metadata changed."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ml import bundle as bundles
from ml.bundle import Bundle
from ml.engines import TorchEngine
from ml.explain import HeatMap, HeatMaps, NoHeatMap, last_stage, metadata_effects
from ml.networks import build_network
from ml.predictor import Predictor
from ml.preprocess import PreprocessSpec
from tests.unit.ml.factories import parts_of_bundle, picture, reading_task

SIZE = 32
TASK = reading_task("mel", "nv", "bcc")
KNOWN: dict[str, Any] = {"age": 70, "sex": "male", "localization": "back"}


def fusion(path: Path, *, head_seed: int = 0) -> Bundle:
    """An untrained fusion bundle whose network is the same but for its head."""
    name = "basic-cnn-fusion"
    torch.manual_seed(0)
    reader = build_network(name, len(TASK.codes), metadata_count=19, size_px=SIZE).eval()
    torch.manual_seed(head_seed)
    nn.init.normal_(reader.head.weight, std=2.0)
    spec = PreprocessSpec(native_short_side_px=SIZE, size_px=SIZE)
    facts, tensors = parts_of_bundle(reader, name, TASK, spec, encoding="ham-19")
    return bundles.save(path, facts, tensors)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return fusion(tmp_path_factory.mktemp("explain") / "fusion")


def test_a_heat_map_lies_over_the_frame(bundle: Bundle) -> None:
    maps = HeatMaps(bundle)
    for finding in TASK.codes:
        heat = maps.of(picture(), finding, KNOWN)
        assert heat.finding == finding
        assert heat.warmth.shape == (SIZE, SIZE)
        assert heat.warmth.dtype == np.float32
        assert heat.warmth.min() >= 0
        assert heat.warmth.max() in (0, pytest.approx(1))
    warm = [maps.of(picture(), finding).warmth for finding in TASK.codes]
    assert max(each.max() for each in warm) == pytest.approx(1)
    assert not np.allclose(warm[0], warm[1], atol=0.05)
    with pytest.raises(ValueError, match="eczema"):
        maps.of(picture(), "eczema")


def test_another_head_gives_another_map(bundle: Bundle, tmp_path: Path) -> None:
    """Adebayo et al. 2018: a map that does not depend on the weights explains nothing."""
    again = fusion(tmp_path / "again")
    other = fusion(tmp_path / "other", head_seed=1)
    pictures = [picture(seed=seed) for seed in range(4)]
    here, there, apart = (
        np.stack([HeatMaps(each).of(shown, "mel", KNOWN).warmth for shown in pictures])
        for each in (bundle, again, other)
    )
    assert here == pytest.approx(there, abs=1e-6)
    assert np.abs(here - apart).mean() > 0.05


def test_the_last_stage_is_looked_at_with_all_its_branches() -> None:
    """Of ResNet10's last block the convolution that is listed last is the shortcut's."""
    reader = build_network("resnet10-fusion", 3, metadata_count=19, size_px=SIZE).eval()
    stage = last_stage(reader, torch.zeros(1, 3, SIZE, SIZE))
    assert stage is reader.blocks[-1]
    assert not isinstance(stage, nn.Conv2d)


def test_a_network_of_tokens_has_no_heat_map() -> None:
    reader = build_network("mvitv2-t", 3, size_px=SIZE).eval()
    with pytest.raises(NoHeatMap):
        last_stage(reader, torch.zeros(1, 3, SIZE, SIZE))


def test_a_heat_map_is_drawn_where_the_frame_lies() -> None:
    """A wide picture, of which the network saw the middle; warm in the frame's left half."""
    warmth = np.zeros((SIZE, SIZE), np.float32)
    warmth[:, : SIZE // 2] = 1
    heat = HeatMap("mel", warmth, (1024, 512), PreprocessSpec(64, 64).shown((1024, 512)))
    assert heat.frame == (0.25, 0, 0.75, 1)
    with Image.open(io.BytesIO(heat.png())) as drawn:
        assert drawn.size == (512, 256)
        seen = np.asarray(drawn.convert("RGBA"))
    opaque = seen[128, :, 3]
    assert opaque[[10, 120, 264, 400, 500]].tolist() == [0, 0, 0, 0, 0]
    assert opaque[180] == round(0.85 * 255)
    assert seen[128, 180, :3].tolist() == [253, 231, 37]


def test_what_a_particular_changed_is_seen_by_blanking_it(bundle: Bundle) -> None:
    predictor = Predictor(bundle, TorchEngine(bundle, "cpu"))
    effects = metadata_effects(predictor, picture(), KNOWN)
    assert set(effects) == {"age", "sex", "localization"}
    whole, blank = predictor.predict([picture()] * 2, [KNOWN, {**KNOWN, "age": ""}])
    for code in TASK.codes:
        difference = whole.probabilities[code] - blank.probabilities[code]
        assert effects["age"][code] == pytest.approx(difference, abs=1e-6)
    for field in effects.values():
        assert sum(field.values()) == pytest.approx(0, abs=1e-6)
    assert max(abs(value) for field in effects.values() for value in field.values()) > 1e-3


def test_what_is_unknown_or_unused_has_no_effect(bundle: Bundle) -> None:
    predictor = Predictor(bundle, TorchEngine(bundle, "cpu"))
    effects = metadata_effects(predictor, picture(), {"sex": "female", "age": "", "shoe": 42})
    assert set(effects) == {"sex"}
    unused = replace(bundle, facts={**bundle.facts, "metadata": {"encoding_version": "none"}})
    reading = SimpleNamespace(bundle=unused, predict=predictor.predict)
    assert metadata_effects(reading, picture(), KNOWN) == {}  # type: ignore[arg-type]
