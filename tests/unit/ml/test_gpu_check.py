"""The comparison of engines, here of an engine with itself; on a GPU `make gpu-check` does it."""

from pathlib import Path

import numpy as np
import pytest

from ml import bundle as bundles
from ml import gpu_check
from ml.engines import TorchEngine
from tests.unit.ml.factories import make_bundle


class Shifted(TorchEngine):
    """Answers as the network does, and a little else."""

    def run(
        self, pixels: gpu_check.Array, metadata: gpu_check.Array
    ) -> tuple[gpu_check.Array, gpu_check.Array]:
        logits, features = super().run(pixels, metadata)
        return logits + np.linspace(0, 3, logits.shape[1], dtype=np.float32), features


def test_engines_that_agree_and_engines_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "ROUNDS", 1)
    bundle = bundles.load(make_bundle(tmp_path / "bundle"))
    engine = TorchEngine(bundle, "cpu")
    same = gpu_check.compare(bundle, engine, engine)
    assert same.agrees
    assert same.largest_difference == 0
    assert same.picture_count == 8
    assert min(same.cpu_ms, same.gpu_ms, same.gpu_batch_ms) > 0
    assert same.line.endswith("agree")
    other = gpu_check.compare(bundle, engine, Shifted(bundle, "cpu"))
    assert not other.agrees
    assert other.line.endswith("DIFFER")


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "has_cuda", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu_check"])
    assert gpu_check.main() == gpu_check.NO_GPU == 2
    assert "no NVIDIA GPU" in capsys.readouterr().out
