"""Engines: two ways to run a network that answer alike, and an export that is kept."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml import bundle as bundles
from ml.datasets.manifest import Manifest
from ml.engines import (
    Engine,
    EngineError,
    OnnxEngine,
    TorchEngine,
    export,
    export_all,
    has_cuda,
    open_engine,
)
from ml.predictor import ImageAssessment, Predictor, load
from tests import made
from tests.unit.ml.factories import make_bundle

ROOT = Path(__file__).parents[3]


def self_test_images(predictor: Predictor) -> list[Image.Image]:
    cases = predictor.bundle.facts["self_test"]
    return [Image.open(predictor.bundle.path / case["file"]) for case in cases]


def assert_alike(
    first: list[ImageAssessment], second: list[ImageAssessment], tolerance: float
) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.prediction == other.prediction
        assert list(one.probabilities.values()) == pytest.approx(
            list(other.probabilities.values()), abs=tolerance
        )


def test_torch_and_onnx_runtime_agree_on_the_samples(shipped: Predictor) -> None:
    other = Predictor(shipped.bundle, TorchEngine(shipped.bundle, "cpu"))
    images = self_test_images(shipped)
    assert_alike(shipped.predict(images), other.predict(images), 1e-4)


def test_torch_and_onnx_runtime_agree_on_real_pictures(shipped: Predictor, blood: Manifest) -> None:
    other = Predictor(shipped.bundle, TorchEngine(shipped.bundle, "cpu"))
    records = [record for record in blood.records if record.split == "val"][::30]
    images = [blood.open_image(record.file) for record in records]
    assert_alike(shipped.predict(images), other.predict(images), 1e-4)


@pytest.mark.skipif(not has_cuda(), reason="there is no CUDA device here")
def test_cuda_agrees_in_half_precision(shipped: Predictor, cache_dir: Path) -> None:
    engine = open_engine(shipped.bundle, device="auto", cache_dir=cache_dir)
    assert engine.name.endswith("cuda")
    images = self_test_images(shipped)
    assert_alike(shipped.predict(images), Predictor(shipped.bundle, engine).predict(images), 0.02)


def test_an_export_is_made_once_and_kept_by_hash(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = bundles.load(tiny_bundle)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: export(bundle, tmp_path), range(2))
    assert first == second == tmp_path / f"{bundle.sha256}.onnx"
    made_at = first.stat().st_mtime_ns
    assert export(bundle, tmp_path).stat().st_mtime_ns == made_at
    assert not list(tmp_path.glob("*.partial"))


def test_several_are_exported_by_one_process_up_to_one_that_fails(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tiny_bundle, *(make_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2, 3))]
    several = [bundles.load(path) for path in paths]
    kept = [tmp_path / f"{bundle.sha256}.onnx" for bundle in several]
    made.put_engines([tiny_bundle], tmp_path)
    made_at = kept[0].stat().st_mtime_ns
    started, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: started.append(a) or run(*a, **k))
    weights = paths[2] / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"not what they were when it was loaded")
    with pytest.raises(EngineError, match=r"(?s)/1, .*/2, .*/3 failed.*was edited"):
        export_all(several, tmp_path)
    assert [file.exists() for file in kept] == [True, True, False, False]
    assert not list(tmp_path.glob("*.partial"))
    weights.write_bytes(whole)
    export_all(several, tmp_path)
    export_all(several, tmp_path)
    assert len(started) == 2
    assert kept[0].stat().st_mtime_ns == made_at
    assert all(load(path, device="cpu", cache_dir=tmp_path).self_test().passed for path in paths)
    assert len(started) == 2


def test_a_spoilt_export_is_made_anew(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = bundles.load(tiny_bundle)
    made.put_engines([tiny_bundle], tmp_path)
    kept = export(bundle, tmp_path)
    whole = kept.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for spoilt in (b"", whole[:middle], flipped):
        kept.write_bytes(spoilt)
        open_engine(bundle, device="cpu", cache_dir=tmp_path)
        assert kept.read_bytes() == whole


def test_a_file_that_is_no_network_says_so(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").write_bytes(b"no network")
    with pytest.raises(EngineError, match="cannot be opened"):
        OnnxEngine(tmp_path / "network.onnx", threads=1)


def test_any_batch_size_runs(tiny_bundle: Path, cache_dir: Path) -> None:
    bundle = bundles.load(tiny_bundle)
    size = bundle.preprocess.size_px
    engines: list[Engine] = [
        OnnxEngine(export(bundle, cache_dir), threads=1),
        TorchEngine(bundle, "cpu"),
    ]
    for engine in engines:
        for count in (1, 2, 7):
            pixels = np.zeros((count, 3, size, size), np.float32)
            logits, features = engine.run(pixels, np.zeros((count, 0), np.float32))
            assert logits.shape == (count, 8)
            assert features.shape[0] == count


def test_a_failed_export_says_so_and_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineError, match=r"export of .* failed"):
        export(bundles.load(tiny_bundle), tmp_path)
    assert not list(tmp_path.glob("*.onnx"))


def test_devices_are_checked(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = bundles.load(tiny_bundle)
    with pytest.raises(EngineError, match="unknown device tpu"):
        open_engine(bundle, device="tpu", cache_dir=tmp_path)
    if not has_cuda():
        with pytest.raises(EngineError, match="no CUDA device"):
            open_engine(bundle, device="cuda", cache_dir=tmp_path)


def test_serving_on_a_cpu_leaves_torch_out(tiny: Predictor, cache_dir: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ml import predictor\n"
        "loaded = predictor.load(Path(sys.argv[1]), device='cpu', cache_dir=Path(sys.argv[2]))\n"
        "assert loaded.self_test().passed\n"
        "heavy = {'torch', 'timm', 'pytorch_lightning', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", program, str(tiny.bundle.path), str(cache_dir)]
    subprocess.run(command, cwd=ROOT, check=True)
