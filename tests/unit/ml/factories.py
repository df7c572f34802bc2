"""Small, real things for tests: a valid bundle in well under a second, and drawn pictures."""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ml import bundle as bundles
from ml.engines import TorchEngine
from ml.gates import Abstention, Familiarity
from ml.networks import Reader, build_network
from ml.predictor import Predictor
from ml.preprocess import PreprocessSpec
from ml.reading_task import Finding, ReadingTask


def make_bundle(path: Path, *, seed: int = 0, size: int = 32, fusion: bool = False) -> Path:
    """Write a valid, untrained blood-cell bundle of the smallest network into ``path``, or of the
    smallest that reads what is known of a patient as well.

    Its answers are arbitrary but steady, differ with ``seed``, and are never abstentions.
    """
    task = ReadingTask.named("blood-cell")
    spec = PreprocessSpec(native_short_side_px=size, size_px=size)
    torch.manual_seed(seed)
    name, encoding = ("basic-cnn-fusion", "ham-19") if fusion else ("plain-cnn", "none")
    asked = {"metadata_count": 19, "size_px": size} if fusion else {}
    reader = build_network(name, len(task.codes), **asked)
    torch.nn.init.normal_(reader.head.weight, std=2.0)
    facts, tensors = parts_of_bundle(
        reader, name, task, spec, version=f"0.0.{seed}", encoding=encoding
    )
    (path / "selftest").mkdir(parents=True)
    for index, code in enumerate(task.codes):
        (path / "selftest" / f"{code}.png").write_bytes(picture_bytes(seed=index))
    lines = "".join(f"- `{code}.png`: Drawn, CC0 1.0.\n" for code in task.codes)
    (path / "selftest" / "SOURCES.md").write_text(f"# Where these pictures are from\n\n{lines}")
    bundle = bundles.save(path, facts, tensors)
    predictor = Predictor(bundle, TorchEngine(bundle, "cpu"))
    images = [Image.open(path / "selftest" / f"{code}.png") for code in task.codes]
    facts["self_test"] = [
        {"file": f"selftest/{code}.png", "finding": code, "probabilities": answer.probabilities}
        for code, answer in zip(task.codes, predictor.predict(images), strict=True)
    ]
    bundles.save(path, facts, tensors)
    return path


def parts_of_bundle(
    reader: Reader,
    network: str,
    task: ReadingTask,
    spec: PreprocessSpec,
    *,
    version: str = "1",
    encoding: str = "none",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts and tensors of a bundle of ``reader`` that never abstains, without a self-test."""
    features = np.random.default_rng(0).normal(size=(64, reader.feature_count))
    familiarity = Familiarity.fit(features.astype(np.float32), directions=4)
    facts: dict[str, Any] = {
        **task.facts(),
        "version": version,
        "network": {"name": network},
        "preprocess": asdict(spec),
        "calibration": {"temperature": 1.0},
        "operating_points": {},
        "abstention": asdict(Abstention()),
        "metadata": {"encoding_version": encoding, "description": ""},
        "training": {"figures": {}},
        "self_test": [],
    }
    weights = {f"network.{name}": value.numpy() for name, value in reader.state_dict().items()}
    return facts, {**weights, **familiarity.tensors()}


def reading_task(*codes: str, multi_label: bool = False, other: str = "") -> ReadingTask:
    """A reading task of these findings; ``other`` is the one left out of macro figures."""
    findings = tuple(
        Finding(code, code.upper(), "", "none", 0, "routine", "", in_macro=code != other)
        for code in codes
    )
    words = ("Test", "Drawing", "", "CC0-1.0", "", (), "", "", ())
    return ReadingTask("test", *words, findings=findings, multi_label=multi_label)


def picture(*, seed: int = 0, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A drawn cell: a coloured disc on a noisy ground."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices((size[1], size[0]))
    inside = np.hypot(rows - size[1] / 2, columns - size[0] / 2) < 0.3 * min(size)
    pixels = np.where(inside[..., None], random.integers(0, 160, 3), (235, 215, 205))
    noisy = pixels + random.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def picture_bytes(*, seed: int = 0, form: str = "PNG") -> bytes:
    """``picture`` as a file."""
    stream = io.BytesIO()
    picture(seed=seed).save(stream, form)
    return stream.getvalue()
