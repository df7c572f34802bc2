"""The two ways to run a bundle's network, behind one interface.

ONNX Runtime on a CPU, from a file that is exported once a bundle and kept by the bundle's hash;
torch on CUDA. Torch is imported only where it runs, so that a serving process on a CPU stays
small: the export happens in a process of its own.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from ml.bundle import Bundle, load

Array = npt.NDArray[np.float32]

EXPORT_TOLERANCE = 1e-3
"""Largest difference of any logit between torch and the exported file."""


class EngineError(Exception):
    """A network could not be exported or opened."""


class Engine(Protocol):
    """Runs a network on batches of prepared pictures."""

    name: str
    """Kind, version and device, as recorded with every result."""

    def run(self, pixels: Array, metadata: Array) -> tuple[Array, Array]:
        """(n, channels, size, size) and (n, m) to logits (n, c) and features (n, f)."""
        ...


class OnnxEngine:
    """ONNX Runtime on the CPU. Raises EngineError when the file is spoilt."""

    def __init__(self, file: Path, threads: int):
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of many kinds, with no common base
            raise EngineError(f"{file} cannot be opened: {error}") from error
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self.name = f"onnxruntime {onnxruntime.__version__} cpu"

    def run(self, pixels: Array, metadata: Array) -> tuple[Array, Array]:
        """See Engine."""
        given = {"pixels": pixels, "metadata": metadata}
        logits, features = self._session.run(None, {name: given[name] for name in self._inputs})
        return logits, features


class TorchEngine:
    """Torch, channels last; half precision where the device is a GPU."""

    def __init__(self, bundle: Bundle, device: str):
        import torch

        from ml.networks import Reader, build_network

        spec = bundle.preprocess
        reader: Reader = build_network(
            bundle.facts["network"]["name"],
            len(bundle.codes),
            channels=spec.channels,
            metadata_count=bundle.metadata.count,
            size_px=spec.size_px,
        )
        prefix = "network."
        reader.load_state_dict(
            {
                name[len(prefix) :]: torch.from_numpy(value)
                for name, value in bundle.tensors().items()
                if name.startswith(prefix)
            }
        )
        self._torch, self._device = torch, device
        # torch's annotation of `to` leaves memory_format out.
        self.reader = reader.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = f"torch {torch.__version__} {device}"

    def run(self, pixels: Array, metadata: Array) -> tuple[Array, Array]:
        """See Engine."""
        torch = self._torch
        seen = torch.from_numpy(pixels).to(self._device, memory_format=torch.channels_last)
        known = torch.from_numpy(metadata).to(self._device)
        half = torch.autocast(self._device, torch.float16, enabled=self._device == "cuda")
        with torch.inference_mode(), half:
            logits, features = self.reader(seen, known)
        return logits.float().cpu().numpy(), features.float().cpu().numpy()


def open_engine(bundle: Bundle, *, device: str, cache_dir: Path, threads: int = 1) -> Engine:
    """The engine for ``device``: ``cpu``, ``cuda``, or ``auto`` (CUDA where there is one).

    Raises EngineError when CUDA is asked for and missing, or when the export fails.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise EngineError(f"unknown device {device}; known are auto, cpu, cuda")
    if device == "cuda" and not has_cuda():
        raise EngineError("there is no CUDA device here")
    if device == "cuda" or (device == "auto" and has_cuda()):
        return TorchEngine(bundle, "cuda")
    return OnnxEngine(export(bundle, cache_dir), threads)


def has_cuda() -> bool:
    """Whether torch sees a GPU; a machine without a driver is answered without loading torch."""
    if not any(Path(driver).exists() for driver in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def export(bundle: Bundle, cache_dir: Path) -> Path:
    """The bundle's ONNX file in ``cache_dir``, exported first where it is not there yet.

    Safe to call from many processes at once: one exports, in a subprocess, and the others wait.
    The file appears under its name only after it agreed with torch, and one that is no longer what
    was written is exported again. Raises EngineError.
    """
    export_all([bundle], cache_dir)
    return _kept(bundle, cache_dir)


def export_all(bundles: Iterable[Bundle], cache_dir: Path) -> None:
    """Likewise for several, in one subprocess for all that are not there yet: most of its time
    goes into loading torch. It ends at the first that fails; those before it are kept."""
    wanted = {_kept(bundle, cache_dir): bundle for bundle in bundles}
    if all(map(_is_whole, wanted)):
        return
    cache_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        for kept in sorted(wanted):  # in this order everywhere, or two would wait for each other
            locks.enter_context(FileLock(kept.with_suffix(".lock")))
        missing = {kept: bundle for kept, bundle in wanted.items() if not _is_whole(kept)}
        if missing:
            _export_in_a_subprocess(missing)


def _export_in_a_subprocess(missing: Mapping[Path, Bundle]) -> None:
    command = [sys.executable, "-m", "ml.engines"]
    for kept, bundle in missing.items():
        command += [str(bundle.path.resolve()), str(kept)]
    home = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": home, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        for kept in missing:
            _fresh(kept).unlink(missing_ok=True)
        paths = ", ".join(str(bundle.path) for bundle in missing.values())
        raise EngineError(f"export of {paths} failed: {done.stderr.strip()[-2000:]}")


def _kept(bundle: Bundle, cache_dir: Path) -> Path:
    return cache_dir / f"{bundle.sha256}.onnx"


def _fresh(kept: Path) -> Path:
    return kept.with_suffix(".partial")


def _is_whole(kept: Path) -> bool:
    digest = _digest_file(kept)
    return kept.exists() and digest.exists() and digest.read_text() == _sha256(kept)


def _digest_file(kept: Path) -> Path:
    return kept.with_suffix(".sha256")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_onnx(bundle: Bundle, file: Path) -> None:
    """Export the network with a free batch size, and check it against torch.

    Raises EngineError when a logit differs by more than EXPORT_TOLERANCE.
    """
    import torch

    reader = TorchEngine(bundle, "cpu").reader
    spec, generator = bundle.preprocess, torch.Generator().manual_seed(0)
    pixels = torch.randn(3, spec.channels, spec.size_px, spec.size_px, generator=generator)
    metadata = torch.randn(3, bundle.metadata.count, generator=generator)
    inputs = (
        {"pixels": pixels, "metadata": metadata} if reader.metadata_count else {"pixels": pixels}
    )
    torch.onnx.export(
        reader,
        tuple(value[:2] for value in inputs.values()),
        str(file),
        dynamo=False,
        opset_version=17,
        input_names=list(inputs),
        output_names=["logits", "features"],
        dynamic_axes={name: {0: "batch"} for name in (*inputs, "logits", "features")},
    )
    with torch.inference_mode():
        expected = reader(pixels, metadata)[0].numpy()
    exported, _ = OnnxEngine(file, threads=1).run(pixels.numpy(), metadata.numpy())
    difference = float(np.abs(exported - expected).max())
    if not difference <= EXPORT_TOLERANCE:  # NaN, too, is a difference
        raise EngineError(f"the exported network differs from torch by {difference:.1e}")


def main() -> None:
    """Export bundles, each to a file: what ``export_all`` runs in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m ml.engines", description=main.__doc__)
    parser.add_argument(
        "pairs", type=Path, nargs="+", metavar="BUNDLE FILE", help="a bundle and its file, in turn"
    )
    pairs = parser.parse_args().pairs
    for folder, kept in zip(pairs[::2], pairs[1::2], strict=True):
        write_onnx(load(folder), _fresh(kept))
        _digest_file(kept).write_text(_sha256(_fresh(kept)))
        _fresh(kept).replace(kept)


if __name__ == "__main__":
    main()
