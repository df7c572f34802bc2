"""What pictures and answers were like where a model was tuned."""

import json
from pathlib import Path

import numpy as np
import pytest

from ml import bundle as bundles
from ml import reference
from ml.datasets import packed
from ml.predictor import Predictor

SHIPPED = sorted((Path(reference.__file__).parent / "bundles").glob("*/*/bundle.json"))


def test_it_is_measured_as_in_serving(tiny: Predictor, blood_like: Path) -> None:
    manifest = packed.read(blood_like)
    records = manifest.records[:40]
    made = reference.make(tiny, manifest, records)
    answers = tiny.predict([manifest.open_image(record.file) for record in records])
    assert made["image_count"] == 40
    brightness = sorted(answer.measures.brightness for answer in answers if answer.measures)
    assert made["inputs"]["brightness"] == pytest.approx(brightness, rel=1e-4)
    assert made["inputs"]["short_side_px"] == [40.0] * 40
    assert sum(made["findings"].values()) == 40
    assert made["abstained_count"] == 0
    likely = sorted(max(answer.probabilities.values()) for answer in answers)
    assert made["probabilities"] == pytest.approx(likely, rel=1e-4)


def test_many_values_are_thinned_evenly() -> None:
    kept = reference.thinned(list(range(5000)))
    assert len(kept) == reference.KEPT
    assert np.median(kept) == pytest.approx(2500, abs=10)
    assert reference.thinned([3, 1, 2.000004]) == [1.0, 2.0, 3.0]


def test_a_bundles_own_file_counts_before_the_one_beside_it(
    tmp_path: Path, tiny: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "BESIDE", tmp_path)
    assert reference.of(tiny.bundle) is None
    reference.write(tmp_path / f"{tiny.bundle.sha256}.json", {"image_count": 7})
    assert reference.of(tiny.bundle) == {"image_count": 7}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_every_shipped_model_has_one_of_the_pictures_that_it_was_tuned_on(path: Path) -> None:
    made = reference.of(bundles.load(path.parent))
    assert made is not None
    facts = json.loads(path.read_text())
    assert made["image_count"] == facts["training"]["images"]["tune"]
    codes = {finding["code"] for finding in facts["findings"]}
    assert set(made["findings"]) <= codes
    assert sum(made["findings"].values()) + made["abstained_count"] == made["image_count"]
    assert {len(values) for values in made["inputs"].values()} == {
        min(made["image_count"], reference.KEPT)
    }
