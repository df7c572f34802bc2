"""Counting whom a bundle refuses, and the pictures of no task that it is tried on."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from PIL import Image

from ml.gates import Reason
from ml.predictor import BATCH, ImageAssessment
from ml.refusal import Refusals, evenly, measure, of_no_task, spread
from tests.unit.ml.factories import picture

REASONS = (None, Reason.UNFAMILIAR, Reason.BLURRED, Reason.UNCERTAIN, Reason.AMBIGUOUS)


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
