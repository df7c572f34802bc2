"""Counting whom a bundle refuses, and the pictures of no task that it is tried on."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ml import bundle as bundles
from ml.bundle import FACTS
from ml.gates import Reason
from ml.predictor import BATCH, ImageAssessment
from ml.refusal import (
    BESIDE,
    NO_TASK,
    OF_EACH,
    OWN,
    Refusals,
    evenly,
    measure,
    of_no_task,
    spread,
)
from tests.unit.ml.factories import picture

REASONS = (None, Reason.UNFAMILIAR, Reason.BLURRED, Reason.UNCERTAIN, Reason.AMBIGUOUS)
ROOT = Path(__file__).parents[3]
SHIPPED = sorted(path.parent for path in (ROOT / "ml" / "bundles").glob(f"*/*/{FACTS}"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMED = {
    "blood-cell": "blood cell",
    "breast-ultrasound": "breast ultrasound",
    "chest-ct": "chest CT",
    "dermoscopy": "dermoscopy, pictures alone",
    "dermoscopy-fusion": "dermoscopy, with what is known",
    "fundus": "fundus",
}
DATA_OF = {
    "blood-cell": "blood-pbc",
    "breast-ultrasound": "breast-busi",
    "chest-ct": "chest-ct",
    "dermoscopy": "skin-ham10000",
    "fundus": "eye-odir5k",
}
"""The data set of each reading task, by whose name its pictures were counted."""


def test_there_are_enough_pictures_of_no_task() -> None:
    pictures = list(of_no_task())
    assert len(pictures) >= 100
    assert {each.mode for each in pictures} == {"RGB"}
    again = list(of_no_task())
    assert all(np.array_equal(a, b) for a, b in zip(pictures[-32:], again[-32:], strict=True))
    flat = [each for each in pictures if np.asarray(each).std(axis=(0, 1)).max() == 0]
    assert 8 <= len(flat) <= 12


def test_doubt_is_no_refusal() -> None:
    """A predictor with the reasons in turn: two of five refused, four of five held back."""
    calls: list[int] = []

    def predict(images: Sequence[Image.Image]) -> list[ImageAssessment]:
        start = sum(calls)
        calls.append(len(images))
        reasons = [REASONS[(start + index) % 5] for index in range(len(images))]
        return [
            ImageAssessment("", {}, reason is not None, str(reason) if reason else None)
            for reason in reasons
        ]

    counted = measure(SimpleNamespace(predict=predict), [picture()] * 50)  # type: ignore[arg-type]
    assert counted == Refusals(count=50, refused=20, abstained=40)
    assert str(counted) == "0.400 refused, 0.800 held"
    assert max(calls) <= BATCH


def test_pictures_are_spread_over_the_data_set() -> None:
    manifest = SimpleNamespace(open_image=lambda file: file)
    files = [str(index) for index in range(101)]
    assert spread(manifest, files, 3) == ["0", "50", "100"]  # type: ignore[arg-type]
    assert spread(manifest, files[:2], 200) == ["0", "1"]  # type: ignore[arg-type]
    assert evenly(files, 5) == ["0", "25", "50", "75", "100"]
    assert evenly([], 5) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_was_counted_of_every_shipped_bundle_is_good_enough_and_is_what_the_readme_says(
    path: Path,
) -> None:
    bundle = bundles.load(path)
    kept = json.loads((BESIDE / f"{bundle.sha256}.json").read_text())
    counted = {kind: Refusals(**said) for kind, said in kept.items()}
    own, strange = counted.pop(OWN), counted.pop(NO_TASK)
    assert own.count == bundle.facts["training"]["images"]["test"]
    assert own.refused <= 0.02 * own.count
    assert own.abstained <= 0.10 * own.count
    assert strange.count >= 100
    assert strange.refused >= 0.95 * strange.count
    assert counted.keys() == set(DATA_OF.values()) - {DATA_OF[bundle.reading_task]}
    for name, other in counted.items():
        assert other.count == (78 if name == "breast-busi" else OF_EACH)  # that test has no more
        assert other.refused >= 0.99 * other.count, name
    refused = sum(other.refused for other in counted.values())
    shares = (
        own.refused / own.count,
        own.abstained / own.count,
        strange.refused / strange.count,
        refused / sum(other.count for other in counted.values()),
    )
    (row,) = re.findall(rf"^\| {NAMED[bundle.name]} \|(?= \d).*$", README, re.MULTILINE)
    assert re.findall(r"[\d.]+ %", row) == [
        f"{share:.1%}".replace("100.0", "100").replace("%", " %") for share in shares
    ]
