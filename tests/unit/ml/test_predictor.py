"""The predictor: answers, gates, what it was fed, and the shipped model on real cells."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ml.bundle import BundleError
from ml.datasets.manifest import Manifest
from ml.engines import EngineError, OnnxEngine, export
from ml.gates import Abstention, Familiarity, Reason
from ml.predictor import BATCH, Predictor, load
from tests.unit.ml.factories import picture


def held_to(predictor: Predictor, cache_dir: Path, **limits: float) -> Predictor:
    """The same model with other gates."""
    bundle = predictor.bundle
    engine = OnnxEngine(export(bundle, cache_dir), threads=1)
    return Predictor(replace(bundle, abstention=Abstention(**limits)), engine)


def test_answers_are_probabilities(tiny: Predictor) -> None:
    (answer,) = tiny.predict([picture()])
    assert tuple(answer.probabilities) == tiny.bundle.codes
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.prediction == max(answer.probabilities, key=answer.probabilities.__getitem__)
    assert (answer.abstained, answer.reason) == (False, None)
    assert tiny.engine.startswith("onnxruntime ")
    assert tiny.engine.endswith(" cpu")


def test_batches_change_nothing_and_keep_the_order(tiny: Predictor) -> None:
    images = [picture(seed=seed) for seed in range(BATCH + 3)]
    together = tiny.predict(images)
    for image, answer in zip(images, together, strict=True):
        alone = tiny.predict([image])[0].probabilities
        assert list(answer.probabilities.values()) == pytest.approx(list(alone.values()), abs=1e-6)
    assert len({answer.probabilities["ig"] for answer in together}) == len(images)
    assert tiny.predict([]) == []


def test_metadata_must_match_the_images(tiny: Predictor) -> None:
    with pytest.raises(ValueError, match="1 metadata for 2 images"):
        tiny.predict([picture(), picture()], [{}])


def test_what_the_model_was_fed_of_metadata(tiny: Predictor) -> None:
    assert tiny.encode_metadata({"age": 40}) == {
        "raw": {"age": 40},
        "missing": [],
        "vector": [],
        "units": [],
        "encoding_version": "none",
    }


@pytest.mark.parametrize(
    ("limits", "image", "reason"),
    [
        ({"short_side_below_px": 64}, picture(size=(300, 63)), Reason.TOO_SMALL),
        ({"contrast_below": 5.0}, Image.new("RGB", (64, 64), "teal"), Reason.BLANK),
        ({"brightness_below": 250.0}, picture(), Reason.TOO_DARK),
        ({"brightness_above": 20.0}, picture(), Reason.TOO_BRIGHT),
        ({"sharpness_below": 200.0}, picture(), Reason.BLURRED),
        ({"sharpness_below": 1.0}, picture(), None),
        ({"novelty_above": 0.0}, picture(), Reason.UNFAMILIAR),
        ({"strangeness_above": -1.0}, picture(), Reason.UNFAMILIAR),
        ({"otherness_above": -1.0}, picture(), Reason.UNFAMILIAR),
        ({"otherness_above": 0.0}, picture(), None),
        ({"set_size_above": 7}, picture(), Reason.AMBIGUOUS),
        ({"set_size_above": 8}, picture(), None),
        ({"confidence_below": 1.0}, picture(), Reason.UNCERTAIN),
        ({"short_side_below_px": 32, "contrast_below": 5.0}, picture(), None),
    ],
)
def test_each_gate_has_its_reason_and_keeps_the_answer(
    tiny: Predictor,
    cache_dir: Path,
    limits: dict[str, float],
    image: Image.Image,
    reason: Reason | None,
) -> None:
    (answer,) = held_to(tiny, cache_dir, **limits).predict([image])
    assert answer.reason == reason
    assert answer.abstained == (reason is not None)
    assert answer.probabilities == tiny.predict([image])[0].probabilities


def stated(predictor: Predictor, cache_dir: Path, **facts: object) -> Predictor:
    """The same model with other facts in its description."""
    bundle = replace(predictor.bundle, facts={**predictor.bundle.facts, **facts})
    return Predictor(bundle, OnnxEngine(export(predictor.bundle, cache_dir), threads=1))


def test_a_finding_is_supported_from_its_operating_point_on(
    tiny: Predictor, cache_dir: Path
) -> None:
    probabilities = tiny.predict([picture()])[0].probabilities
    points = {code: {"threshold": value} for code, value in probabilities.items()}
    points["ig"] = {"threshold": probabilities["ig"] + 1e-3}
    points["monocyte"] = {"threshold": None}
    (answer,) = stated(tiny, cache_dir, operating_points=points).predict([picture()])
    assert set(answer.supported) == set(probabilities) - {"ig", "monocyte"}


def test_the_plausible_findings_are_those_over_their_conformal_point(
    tiny: Predictor, cache_dir: Path
) -> None:
    points = {code: {"threshold": 2.0} for code in tiny.bundle.codes} | {"ig": {"threshold": 0.0}}
    (answer,) = stated(tiny, cache_dir, conformal=points).predict([picture()])
    assert set(answer.plausible) == {"ig", answer.prediction}
    assert tiny.predict([picture()])[0].plausible == tiny.bundle.codes


def test_a_balanced_decision_can_name_what_is_not_the_most_probable(
    tiny: Predictor, cache_dir: Path
) -> None:
    plain = tiny.predict([picture()])[0]
    rare = min(plain.probabilities, key=plain.probabilities.__getitem__)
    weights = {rare: 2 / plain.probabilities[rare]}
    (answer,) = stated(tiny, cache_dir, decision={"weights": weights}).predict([picture()])
    assert answer.prediction == rare != plain.prediction
    assert answer.probabilities == plain.probabilities


def test_findings_that_do_not_exclude_each_other_are_named_together(
    tiny: Predictor, cache_dir: Path
) -> None:
    task = {**tiny.bundle.facts["reading_task"], "multi_label": True}
    points = {code: {"threshold": 2.0} for code in tiny.bundle.codes}
    none = stated(tiny, cache_dir, reading_task=task, operating_points=points)
    abstaining = none.predict([picture()])[0]
    values = abstaining.probabilities.values()
    assert sum(values) != pytest.approx(1)
    assert (abstaining.abstained, abstaining.reason) == (True, Reason.UNCERTAIN)
    assert abstaining.probabilities[abstaining.prediction] == max(values)
    points |= {"ig": {"threshold": 0.0}, "basophil": {"threshold": 0.0}}
    two = stated(tiny, cache_dir, reading_task=task, operating_points=points)
    answer = two.predict([picture()])[0]
    assert (answer.prediction, answer.abstained) == ("basophil|ig", False)


def test_features_outside_what_was_learnt_are_distant() -> None:
    random = np.random.default_rng(0)
    known = random.normal(size=(500, 1, 4)) @ random.normal(size=(4, 30)) + 3
    known = known[:, 0].astype(np.float32)
    familiarity = Familiarity.fit(known, directions=5)
    foreign = known[:50] + random.normal(0, 2, (50, 30)).astype(np.float32)
    assert familiarity.distance(foreign).min() > 10 * familiarity.distance(known).max()


def test_few_features_leave_room_for_what_is_foreign() -> None:
    """As many directions as features would leave nothing but rounding errors outside."""
    random = np.random.default_rng(0)
    known = random.normal(3, 1, (500, 12)).astype(np.float32)
    familiarity = Familiarity.fit(known, directions=128).as_stored()
    assert familiarity.basis.shape == (12, 6)
    assert familiarity.distance(known).min() > 1e-3


def test_the_self_test_passes_and_notices_other_answers(tiny: Predictor, cache_dir: Path) -> None:
    assert tiny.self_test().passed
    colder = replace(tiny.bundle, facts={**tiny.bundle.facts, "calibration": {"temperature": 2}})
    engine = OnnxEngine(export(tiny.bundle, cache_dir), threads=1)
    outcome = Predictor(colder, engine).self_test()
    assert not outcome.passed
    assert outcome.same_predictions
    assert outcome.largest_difference > 0.01


def test_no_pictures_are_no_self_test(tiny: Predictor, cache_dir: Path) -> None:
    untested = replace(tiny.bundle, facts={**tiny.bundle.facts, "self_test": []})
    engine = OnnxEngine(export(tiny.bundle, cache_dir), threads=1)
    assert not Predictor(untested, engine).self_test().passed


def test_what_is_no_number_is_no_answer(tiny: Predictor) -> None:
    class Broken:
        name = "broken cpu"

        def run(self, pixels: np.ndarray, metadata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.full((len(pixels), 8), np.nan), np.ones((len(pixels), 35))

    with pytest.raises(EngineError, match="not a number"):
        Predictor(tiny.bundle, Broken()).predict([picture()])


def test_a_spoilt_bundle_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json is missing"):
        load(tmp_path, cache_dir=tmp_path)


def test_the_shipped_bundle_is_small_whole_and_right_about_itself(shipped: Predictor) -> None:
    path = shipped.bundle.path
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 12e6
    assert {case["finding"] for case in shipped.bundle.facts["self_test"]} == set(
        shipped.bundle.codes
    )
    assert (path / "selftest" / "SOURCES.md").exists()
    outcome = shipped.self_test()
    assert outcome.passed, outcome
    images = [Image.open(path / case["file"]) for case in shipped.bundle.facts["self_test"]]
    answers = shipped.predict(images)
    assert [answer.prediction for answer in answers] == list(shipped.bundle.codes)
    assert not any(answer.abstained for answer in answers)


def test_the_shipped_bundle_reads_real_cells(shipped: Predictor, blood: Manifest) -> None:
    records = [record for record in blood.records if record.split == "val"][::6]
    answers = shipped.predict([blood.open_image(record.file) for record in records])
    right = [a.prediction == r.label for a, r in zip(answers, records, strict=True)]
    assert np.mean(right) >= 0.97
    assert np.mean([answer.abstained for answer in answers]) <= 0.1


def test_the_publishers_size_changes_no_answer(shipped: Predictor, blood: Manifest) -> None:
    """Upsampled to the original 360 x 363, at least 98 % keep their top class."""
    records = [record for record in blood.records if record.split == "val"][::8]
    images = [blood.open_image(record.file) for record in records]
    enlarged = [image.resize((360, 363), Image.Resampling.BICUBIC) for image in images]
    before, after = shipped.predict(images), shipped.predict(enlarged)
    same = [a.prediction == b.prediction for a, b in zip(before, after, strict=True)]
    assert np.mean(same) >= 0.98


def test_the_publishers_size_changes_no_answer_of_a_shipped_sample(shipped: Predictor) -> None:
    """As above, on what every clone has."""
    paths = [shipped.bundle.path / case["file"] for case in shipped.bundle.facts["self_test"]]
    images = [Image.open(path).convert("RGB") for path in paths]
    enlarged = [image.resize((360, 363), Image.Resampling.BICUBIC) for image in images]
    assert {image.size for image in images}.isdisjoint({(360, 363)})
    before, after = shipped.predict(images), shipped.predict(enlarged)
    assert [one.prediction for one in before] == [one.prediction for one in after]


def test_storing_as_jpeg_changes_little(shipped: Predictor) -> None:
    """Quality 95 without subsampling, as uploads are stored, moves no probability by 0.02."""
    for case in shipped.bundle.facts["self_test"]:
        image = Image.open(shipped.bundle.path / case["file"])
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=95, subsampling=0)
        (answer,) = shipped.predict([Image.open(stream)])
        for code, probability in case["probabilities"].items():
            assert abs(answer.probabilities[code] - probability) < 0.02


def foreign_pictures() -> list[Image.Image]:
    """Flat colours, text, noise and shapes: pictures of no cell."""
    random = np.random.default_rng(0)
    drawn = []
    for index in range(30):
        colour = tuple(random.integers(0, 256, 3).tolist())
        flat = Image.new("RGB", (200, 200), colour)
        text = Image.new("RGB", (400, 300), "white" if index % 2 else "#202028")
        pen = ImageDraw.Draw(text)
        for row in range(4, 300, 14):
            words = "".join(random.choice(list("abcde fghij klmno prstu")) for _ in range(60))
            pen.text((6, row), words, fill=colour)
        coarse = random.integers(0, 256, (index + 2, index + 2, 3)).astype(np.uint8)
        noise = Image.fromarray(coarse).resize((256, 256))
        shapes = Image.new("RGB", (200, 200), "white")
        pen = ImageDraw.Draw(shapes)
        for _ in range(4):
            x, y, side = random.integers(10, 100, 3).tolist()
            pen.rectangle((x, y, x + side, y + side), fill=colour)
        drawn += [flat, text, noise, shapes]
    return drawn


def test_pictures_of_no_cell_are_not_named(shipped: Predictor) -> None:
    answers = shipped.predict(foreign_pictures())
    doubtful = {None, Reason.UNCERTAIN, Reason.AMBIGUOUS}
    refused = [answer.reason not in doubtful for answer in answers]
    assert np.mean(refused) >= 0.95


def test_other_tasks_pictures_are_not_named(shipped: Predictor, data_dir: Path) -> None:
    import zipfile

    from ml.decode import decode

    for folder in ("skin-ham10000", "breast-busi", "eye-odir5k", "chest-ct"):
        archive = zipfile.ZipFile(data_dir / folder / "images.zip")
        names = [name for name in archive.namelist() if not name.endswith("/")]
        chosen = names[:: len(names) // 50]
        answers = shipped.predict([decode(archive.read(name)) for name in chosen])
        assert np.mean([answer.abstained for answer in answers]) >= 0.95, folder
