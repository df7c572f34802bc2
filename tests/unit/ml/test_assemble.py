"""A bundle put together from a small network, end to end: limits, files, card, and its answers."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml import assemble as assembling
from ml import bundle as bundles
from ml import regate
from ml.assemble import assemble, prior_offsets
from ml.bundle import Bundle
from ml.datasets.manifest import Manifest, Record
from ml.engines import TorchEngine
from ml.gates import Abstention, Reason
from ml.networks import build_network
from ml.parts import read_part
from ml.predictor import Predictor
from ml.preprocess import PreprocessSpec
from ml.reading_task import QuotedFirst, ReadingTask
from ml.recipe import DataRecipe, GateRecipe, MetadataRecipe, NetworkRecipe, Recipe, TrainingRecipe
from tests.unit.ml.factories import picture, picture_bytes, reading_task

SPEC = PreprocessSpec(native_short_side_px=32, size_px=32)
PARTS = {"train": 80, "tune": 60, "test": 24}
GATES = GateRecipe(short_side_below_px=16)
EYE = reading_task("N", "D", "O", multi_label=True, other="O")
SKIN = reading_task("mel", "nv")
SITES = ("back", "face", "")
QUOTED = QuotedFirst(
    "Elsewhere", "Not good.", "house", 99, {"accuracy": {"value": 0.4, "interval": [0.3, 0.5]}}
)
HOUSE = """
reading_task = "test"
version = "0"
[preprocess]
native_short_side_px = 32
size_px = 32
[network]
name = "plain-cnn"
init = "random"
[training]
class_weights = "sqrt"
"""


@pytest.fixture
def drawings() -> Callable[[ReadingTask], Manifest]:
    """A data set of a task: drawn pictures, what they show and of whom, all by their number."""

    def draw(task: ReadingTask) -> Manifest:
        random = np.random.default_rng(0)
        names = [part for part, count in PARTS.items() for _ in range(count)]
        records = []
        for index, part in enumerate(names):
            labels = tuple(code for code in task.codes if random.random() < 0.4)
            if not task.multi_label:
                labels = (task.codes[int(random.random() < 0.75)],)
            known = {
                "age": str(random.integers(20, 90)) if index % 4 else "",
                "sex": ("female", "male")[index % 2],
                "localization": SITES[index % 3],
            }
            records.append(
                Record(f"{index}.png", labels or task.codes[:1], f"p{index // 2}", part, "", known)
            )
        return Manifest(tuple(records), lambda file: picture_bytes(seed=int(file.split(".")[0])))

    return draw


def put_together(path: Path, recipe: Recipe, task: ReadingTask, manifest: Manifest) -> Bundle:
    """The bundle of an untrained but opinionated network."""
    torch.manual_seed(0)
    parts = {name: [r for r in manifest.records if r.split == name] for name in PARTS}
    train, tune = (
        read_part(manifest, [record.file for record in parts[name]], recipe, task)
        for name in ("train", "tune")
    )
    reader = build_network(
        recipe.network.name,
        len(task.codes),
        init="random",
        metadata_count=train.metadata.shape[1],
        size_px=32,
    )
    torch.nn.init.normal_(reader.head.weight, std=2.0)
    return assemble(
        path,
        recipe=recipe,
        task=task,
        reader=reader.eval(),
        train=train,
        tune=tune,
        test=parts["test"],
        manifest=manifest,
        provenance={
            "recipe": recipe.to_dict(),
            "split_sha256": "0" * 64,
            "images": {**{name: len(records) for name, records in parts.items()}, "dropped": 0},
            "code_revision": "none",
        },
    )


def test_several_findings(
    tmp_path: Path, drawings: Callable[[ReadingTask], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drawn self-test, own pictures not refused, answers without support held back, and what is
    quoted of its recipe before its locked test."""
    monkeypatch.setattr(assembling, "RECIPES", tmp_path)
    (tmp_path / "house.toml").write_text(HOUSE)
    recipe = Recipe(
        "test",
        "1",
        preprocess=SPEC,
        network=NetworkRecipe("plain-cnn", init="random"),
        training=TrainingRecipe(class_weights="sqrt"),
        gates=replace(GATES, operating="f1"),
    )
    task, manifest = replace(EYE, samples="phantom", quoted_first=QUOTED), drawings(EYE)
    bundle = put_together(tmp_path / "bundle", recipe, task, manifest)
    assert bundles.verify(bundle.path) == []
    assert bundle.calibration.multi_label
    assert bundle.calibration.offsets == ()
    assert [case["file"] for case in bundle.facts["self_test"]] == ["selftest/phantom.png"]
    card = (bundle.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "named by all findings that reach their operating point" in card
    quoted = bundle.facts["training"]["quoted_first"]
    assert quoted["figures"]["accuracy"]["value"] == 0.4
    first, then = (
        card.index("| accuracy | 0.4000 | 0.3000 to 0.5000 |"),
        card.index("locked test\n"),
    )
    assert card.index("Elsewhere. Not good. 99 pictures") < first < then
    assert "from the same data set" not in (bundle.path / "LICENSE.md").read_text(encoding="utf-8")

    predictor = Predictor(bundle, TorchEngine(bundle, "cpu"))
    assert predictor.self_test().passed
    tuned = [record.file for record in manifest.records if record.split == "tune"]
    answers = predictor.predict([manifest.open_image(file) for file in tuned])
    foreign = [answer for answer in answers if answer.reason == Reason.UNFAMILIAR]
    assert len(foreign) <= 2
    assert np.mean([bool(answer.supported) for answer in answers]) >= GATES.coverage
    for answer in answers:
        assert answer.abstained or answer.supported
        assert answer.prediction == "|".join(answer.supported) or answer.abstained


def test_a_finding_and_what_is_known_of_the_patient(
    tmp_path: Path, drawings: Callable[[ReadingTask], Manifest]
) -> None:
    """Test pictures in the self-test, with their metadata; what is rare named as readily."""
    recipe = Recipe(
        "test",
        "1",
        preprocess=SPEC,
        data=DataRecipe(leave_out=("blank",)),
        network=NetworkRecipe("basic-cnn-fusion", init="random"),
        metadata=MetadataRecipe("age-sex-site-20", field_dropout=0.2),
        training=TrainingRecipe(class_weights="balanced"),
        gates=replace(GATES, decision="balanced"),
    )
    malignant = replace(SKIN.findings[0], malignancy="malignant")
    task = replace(
        SKIN,
        findings=(malignant, replace(SKIN.findings[1], malignancy="benign")),
        quoted_first=replace(QUOTED, recipe="dermoscopy-fusion"),
    )
    manifest = drawings(task)
    bundle = put_together(tmp_path / "bundle", recipe, task, manifest)
    assert bundle.metadata.fields == ("age", "sex", "localization")
    offsets, weights = np.array(bundle.calibration.offsets), bundle.decision_weights
    shown = [record.label for record in manifest.records if record.split == "train"]
    odds = shown.count("nv") / shown.count("mel")
    assert offsets[1] - offsets[0] == pytest.approx(np.log(odds), abs=1e-4)
    assert weights == pytest.approx([odds, 1], rel=1e-4)
    assert bundle.facts["malignancy"]["findings"] == ["mel"]
    card = (bundle.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "uses age, sex, localization; each may be unknown" in card
    assert "Malignant (mel) against benign" in card
    assert "sex: female" in card
    assert "Pictures labelled blank, which is no finding here, are in no part." in card
    assert bundle.facts["training"]["quoted_first"] is None  # it is of another recipe
    assert "Not good." not in card

    predictor = Predictor(bundle, TorchEngine(bundle, "cpu"))
    assert predictor.self_test().passed
    assert {case["finding"] for case in bundle.facts["self_test"]} == {"mel", "nv"}
    assert all(case["metadata"]["sex"] for case in bundle.facts["self_test"])
    old, blank = predictor.predict([picture()] * 2, [{"age": 85, "sex": "male"}, {"age": ""}])
    assert old.probabilities["mel"] != pytest.approx(blank.probabilities["mel"], abs=1e-4)


def test_what_sampling_and_weights_gave_to_the_rare_is_taken_back(
    drawings: Callable[[ReadingTask], Manifest],
) -> None:
    manifest = drawings(SKIN)
    shown = [record.label for record in manifest.records]
    odds = shown.count("nv") / shown.count("mel")
    natural = Recipe("test", "1", preprocess=SPEC)
    weighted = replace(natural, training=TrainingRecipe(class_weights="balanced"))
    sampled = replace(natural, data=DataRecipe(sampling="oversample"))
    part = read_part(manifest, [record.file for record in manifest.records], natural, SKIN)
    assert prior_offsets(natural, SKIN, part) == ()
    for recipe in (weighted, sampled):
        rare, common = prior_offsets(recipe, SKIN, part)
        assert common - rare == pytest.approx(np.log(odds), abs=1e-4)
    assert prior_offsets(sampled, replace(SKIN, multi_label=True), part) == ()


def striped(file: str) -> bytes:
    """A picture of another kind: stripes on grey."""
    pixels = np.full((40, 48, 3), 120, np.uint8)
    pixels[:, int(file) % 7 :: 7] = 190 + int(file) % 60
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def with_another_test(manifest: Manifest) -> Manifest:
    """The same data, but for pictures of another kind with other labels in the locked test."""
    records = [
        replace(record, labels=("nv" if record.label == "mel" else "mel",))
        if record.split == "test"
        else record
        for record in manifest.records
    ]
    strange = {record.file for record in records if record.split == "test"}

    def read(file: str) -> bytes:
        return striped(file.removesuffix(".png")) if file in strange else manifest.read(file)

    return Manifest(tuple(records), read)


def test_gates_are_set_anew_and_the_weights_stay(
    tmp_path: Path, drawings: Callable[[ReadingTask], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is taught what others look like refuses them, and whoever starts from it knows them.

    What is chosen is chosen on tune: with another locked test all of it is as it was.
    """
    recipe = Recipe(
        "test",
        "1",
        preprocess=SPEC,
        network=NetworkRecipe("plain-cnn", init="random"),
        gates=replace(GATES, refused_own=0.04),
    )
    task = replace(SKIN, samples="phantom")
    own = drawings(task)
    others = Manifest(tuple(Record(str(number), ("x",)) for number in range(40)), striped)
    before = put_together(tmp_path / "before", recipe, task, own)
    assert before.abstention.otherness_above is None

    def parts_of(manifest: Manifest) -> dict[str, list[str]]:
        if manifest is own:
            records = manifest.records
            named = {part: [r.file for r in records if r.split == part] for part in PARTS}
            return {**named, "dropped": []}
        files = [record.file for record in manifest.records]
        return {"train": files[::2], "tune": files[1::2]}

    monkeypatch.setattr(regate, "parts_of", parts_of)
    monkeypatch.setattr(regate, "INVENTED", {"train": 2, "tune": 1})
    monkeypatch.setattr(regate.ReadingTask, "named", lambda code: task)
    after = regate.regate(
        before,
        own,
        {"stripes": others},
        tmp_path / "after" / "2",
        version="2",
        gates=recipe.gates,
        cache=tmp_path / "cache",
    )
    assert (after.version, after.facts["training"]["recipe"]["version"]) == ("2", "2")
    assert after.facts["training"]["others_refused_on_tune"]["stripes"] == 1
    tensors, former = after.tensors(), before.tensors()
    assert all(np.array_equal(tensors[name], value) for name, value in former.items())
    limits = [bundle.abstention.novelty_above for bundle in (before, after)]
    assert limits[1] == pytest.approx(limits[0], rel=1e-2)  # of another engine
    limit = after.abstention.otherness_above
    assert limit is not None
    assert limit >= 0

    stripes = [others.open_image(str(number)) for number in range(5)]
    for bundle, reason in ((after, Reason.UNFAMILIAR), (before, None)):
        alone = replace(bundle, abstention=Abstention(otherness_above=limit))
        answers = Predictor(alone, TorchEngine(alone, "cpu")).predict(stripes)
        assert [answer.reason for answer in answers] == [reason] * 5
    assert "those tasks" in (after.path / "MODEL_CARD.md").read_text(encoding="utf-8")

    heir = replace(recipe, network=NetworkRecipe("plain-cnn", init=f"bundle:{after.path}"))
    inherited = put_together(tmp_path / "heir", heir, task, with_another_test(own))
    kept = inherited.tensors()
    assert np.array_equal(kept["otherness.weights"], tensors["otherness.weights"])
    assert inherited.abstention.otherness_above == pytest.approx(limit)
    assert replace(inherited.abstention, otherness_above=None) == before.abstention
    for part in ("calibration", "decision", "operating_points", "malignancy", "conformal"):
        assert inherited.facts[part] == before.facts[part], part
    assert all(np.array_equal(kept[name], value) for name, value in former.items())
    measured = [bundle.facts["training"]["figures"]["accuracy"] for bundle in (inherited, before)]
    assert measured[0] != measured[1]
    wider = PreprocessSpec(native_short_side_px=40, size_px=32)
    framed = put_together(tmp_path / "framed", replace(heir, preprocess=wider), task, own)
    assert framed.abstention.otherness_above is None

    strange = Manifest(own.records[1:], own.read)
    with pytest.raises(ValueError, match="other data"):
        regate.regate(
            before,
            strange,
            {"stripes": others},
            tmp_path / "never",
            version="3",
            gates=recipe.gates,
            cache=tmp_path / "cache",
        )
