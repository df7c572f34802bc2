"""Compares the two engines on a GPU: `python -m ml.gpu_check [BUNDLE ...]`, or `make gpu-check`.

Each bundle reads the same pictures with ONNX Runtime on the CPU, in single precision, and with
torch on CUDA, in half precision. The table says how far any probability differs, which must not be
more than a bundle's own test allows on a GPU, whether both name the same findings, and how many
milliseconds a picture takes: decoded and prepared already, one at a time and in a batch.

Ends with 0 where all bundles agree, 1 where one does not, and 2 where there is no GPU to check.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml import bundle as bundles
from ml.bundle import Bundle
from ml.decode import decode
from ml.engines import Engine, OnnxEngine, TorchEngine, export, has_cuda
from ml.predictor import SELF_TEST_TOLERANCE, Predictor

BATCH = 32
ROUNDS = 20
AGREE, DISAGREE, NO_GPU = 0, 1, 2
SHIPPED = Path(__file__).parent / "bundles"

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """What the two engines make of one bundle."""

    name: str
    picture_count: int
    largest_difference: float
    same_findings: bool
    cpu_ms: float
    gpu_ms: float
    gpu_batch_ms: float
    """A picture's share of a batch of `BATCH`."""

    @property
    def agrees(self) -> bool:
        return self.same_findings and self.largest_difference <= SELF_TEST_TOLERANCE["cuda"]

    @property
    def line(self) -> str:
        verdict = "agree" if self.agrees else "DIFFER"
        return (
            f"{self.name:<28} {self.picture_count:>8} {self.largest_difference:>11.1e}"
            f" {self.cpu_ms:>10.2f} {self.gpu_ms:>10.2f} {self.gpu_batch_ms:>12.3f}  {verdict}"
        )


HEAD = (
    f"{'bundle':<28} {'pictures':>8} {'difference':>11} {'CPU ms':>10} {'GPU ms':>10}"
    f" {f'GPU ms of {BATCH}':>12}"
)


def compare(bundle: Bundle, cpu: Engine, gpu: Engine) -> Comparison:
    """Read a bundle's own test pictures with both, and time both on what a network is shown."""
    cases = bundle.facts["self_test"]
    images = [decode((bundle.path / case["file"]).read_bytes()) for case in cases]
    known = [case.get("metadata", {}) for case in cases]
    answers = [Predictor(bundle, engine).predict(images, known) for engine in (cpu, gpu)]
    differences = [
        abs(here.probabilities[code] - there.probabilities[code])
        for here, there in zip(*answers, strict=True)
        for code in bundle.codes
    ]
    one, many = inputs(bundle, images, 1), inputs(bundle, images, BATCH)
    return Comparison(
        name=f"{bundle.name} {bundle.version}",
        picture_count=len(images),
        largest_difference=max(differences),
        same_findings=all(a.prediction == b.prediction for a, b in zip(*answers, strict=True)),
        cpu_ms=milliseconds(cpu, *one),
        gpu_ms=milliseconds(gpu, *one),
        gpu_batch_ms=milliseconds(gpu, *many) / BATCH,
    )


def inputs(bundle: Bundle, images: Sequence[Image.Image], count: int) -> tuple[Array, Array]:
    """So many pictures as a network is shown them, with metadata of nobody."""
    frames = [bundle.preprocess.frame(images[n % len(images)]) for n in range(count)]
    encoded = bundle.metadata.encode({}).vector
    return bundle.preprocess.to_input(frames), np.stack([encoded] * count)


def milliseconds(engine: Engine, pixels: Array, metadata: Array) -> float:
    """What one run takes, the median of `ROUNDS`; the first ones load and choose kernels."""
    times = []
    for round_ in range(ROUNDS + 3):
        began = time.perf_counter()
        engine.run(pixels, metadata)  # which waits for the answer
        if round_ >= 3:
            times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1000


def main() -> int:
    """Print a line a bundle."""
    parser = argparse.ArgumentParser(prog="python -m ml.gpu_check", description=__doc__)
    parser.add_argument("bundles", nargs="*", type=Path, help="folders; the shipped ones if none")
    paths = parser.parse_args().bundles or sorted(
        path.parent for path in SHIPPED.glob("*/*/bundle.json")
    )
    if not has_cuda():
        print("There is no NVIDIA GPU here that torch can use: nothing was compared.")
        return NO_GPU
    import torch

    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(HEAD)
    agrees = True
    with tempfile.TemporaryDirectory() as cache:
        for path in paths:
            bundle = bundles.load(path)
            cpu = OnnxEngine(export(bundle, Path(cache)), threads=1)
            comparison = compare(bundle, cpu, TorchEngine(bundle, "cuda"))
            print(comparison.line, flush=True)
            agrees = agrees and comparison.agrees
    allowed = SELF_TEST_TOLERANCE["cuda"]
    print(f"A probability may differ by {allowed:.0e}: a GPU computes in half precision.")
    return AGREE if agrees else DISAGREE


if __name__ == "__main__":
    sys.exit(main())
