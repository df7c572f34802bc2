"""A candidate against a champion, on pictures of which all is known."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ml import predictor as predictors
from ml.datasets.manifest import Manifest, Record
from ml.evaluate import EvaluationError
from ml.predictor import Predictor
from ml.prove import changed_parts, prove
from tests.unit.ml.factories import make_bundle, picture, picture_bytes

COUNT = 24


@pytest.fixture(scope="module")
def pair(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Predictor]:
    """Two bundles that say different things of the same pictures."""
    folder = tmp_path_factory.mktemp("pair")
    return [
        predictors.load(
            make_bundle(folder / str(seed), seed=seed), device="cpu", cache_dir=cache_dir
        )
        for seed in (0, 1)
    ]


def truth_of(predictor: Predictor) -> Manifest:
    """Pictures that show what a model says of them: each subject has two, and a sex."""
    said = predictor.predict([picture(seed=seed) for seed in range(COUNT)])
    records = tuple(
        Record(
            f"{seed}.png",
            (answer.prediction,),
            subject=f"s{seed // 2}",
            metadata={"sex": "female" if seed % 4 < 2 else "male"},
        )
        for seed, answer in enumerate(said)
    )
    return Manifest(records, lambda file: picture_bytes(seed=int(file.removesuffix(".png"))))


def test_a_candidate_that_is_always_right_beats_one_that_is_not(pair: Sequence[Predictor]) -> None:
    champion, candidate = pair
    result = prove(champion, candidate, truth_of(candidate), resamples=100).result
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["image_count"], result["subject_count"]) == (COUNT, COUNT // 2)
    accuracy = result["figures"]["accuracy"]
    assert accuracy["candidate"]["value"] == 1
    agreed = accuracy["champion"]["value"]
    assert agreed < 1
    assert accuracy["difference"]["value"] == pytest.approx(1 - agreed)
    assert accuracy["difference"]["interval"][0] > 0
    for finding in result["findings"]:
        assert finding["candidate"]["value"] == 1
        assert 1 <= finding["subject_count"] <= finding["image_count"]
    assert [(row["name"], row["subject_count"]) for row in result["subgroups"]] == [
        ("female", 6),
        ("male", 6),
    ]
    assert result["abstention"]["difference"]["value"] == 0
    assert result["changed"] == []
    assert result["latency"]["ratio"] > 0
    assert result["size"]["champion"]["parameter_count"] > 0


def test_a_model_against_itself_differs_in_nothing(pair: Sequence[Predictor]) -> None:
    champion, other = pair
    result = prove(champion, champion, truth_of(other), resamples=50).result
    for figure in result["figures"].values():
        assert figure["difference"]["value"] in (0, None)
        assert set(figure["difference"]["interval"]) in ({0}, {None})


def test_every_answer_is_in_the_table(pair: Sequence[Predictor]) -> None:
    champion, candidate = pair
    manifest = truth_of(candidate)
    table = prove(champion, candidate, manifest, resamples=10).predictions
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert [row["file"] for row in rows] == [record.file for record in manifest.records]
    assert all(row["candidate_prediction"] == row["label"] for row in rows)
    said = champion.predict([picture(seed=0)])[0]
    assert rows[0]["champion_prediction"] == said.prediction
    assert float(rows[0][f"champion_p_{said.prediction}"]) == pytest.approx(
        said.probabilities[said.prediction], abs=1e-6
    )


def test_pictures_of_something_else_are_refused(pair: Sequence[Predictor]) -> None:
    manifest = truth_of(pair[0])
    strange = replace(manifest, records=(replace(manifest.records[0], labels=("other",)),))
    with pytest.raises(EvaluationError, match="other"):
        prove(*pair, strange)


def test_what_differs_is_named_by_its_part(tmp_path: Path) -> None:
    facts = {"calibration": {"temperature": 1.0}, "network": {"name": "a"}, "version": "1"}
    other = {"calibration": {"temperature": 2.0}, "network": {"name": "a"}, "version": "2"}
    assert changed_parts(facts, other) == ["decision"]
    assert changed_parts(facts, facts | {"network": {"name": "b"}, "not_for": ["x"]}) == [
        "network",
        "intended_use",
    ]
