"""The pictures that bundles carry: drawn ones, and those chosen from the test part."""

import numpy as np
import pytest

from ml.datasets.manifest import Manifest, Record
from ml.decode import decode
from ml.predictor import ImageAssessment
from ml.samples import of_test, phantom, retina
from tests.unit.ml.factories import reading_task

TASK = reading_task("a", "b", "c", multi_label=True)


def answer(
    prediction: str, probability: float = 0.5, *, abstained: bool = False
) -> ImageAssessment:
    probabilities = dict.fromkeys(prediction.split("|"), probability)
    return ImageAssessment(prediction, probabilities, abstained, "uncertain" if abstained else None)


@pytest.mark.parametrize(("draw", "size"), [(phantom, (256, 256)), (retina, (512, 512))])
def test_drawn_pictures_are_pictures_of_nobody(draw, size: tuple[int, int]) -> None:
    (sample,) = draw()
    (again,) = draw()
    assert sample.content == again.content
    assert sample.finding is None
    assert sample.metadata == {}
    assert sample.origin
    picture = decode(sample.content)
    assert picture.size == size
    assert np.asarray(picture).std() > 20


def test_one_test_picture_a_finding_the_surest_of_those_that_are_right() -> None:
    records = [
        Record("wrong.png", ("a",)),
        Record("lesser.png", ("a",)),
        Record("unsure.png", ("a",)),
        Record("deep/sure.jpg", ("a",), metadata={"age": "50"}),
        Record("less.png", ("a",)),
        Record("both.png", ("a", "b")),
        Record("only.png", ("b",)),
    ]
    answers = [
        answer("b"),
        answer("a", 0.7),
        answer("a", 0.99, abstained=True),
        answer("a", 0.9),
        answer("a", 0.8),
        answer("a|b"),
        answer("c"),
    ]
    manifest = Manifest(tuple(records), lambda file: file.encode())
    first, second = of_test(TASK, manifest, records, answers)
    assert (first.name, first.finding, first.content) == ("a.jpg", "a", b"deep/sure.jpg")
    assert first.metadata == {"age": "50"}
    assert "deep/sure.jpg" in first.origin
    assert (second.name, second.finding, second.content) == ("b.png", "b", b"only.png")
