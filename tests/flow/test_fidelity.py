"""The model reads the stored bytes; they must say to it what the uploaded ones said."""

import io
from pathlib import Path

import pytest
from PIL import Image

from ml import predictor as predictors
from ml.decode import decode
from ml.predictor import Predictor
from tests import made
from tests.demo import newest_bundle
from webapp import imaging

MOST_CHANGE = 0.02
SCALES = (1, 3)
FORMATS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 80},
    "PNG": {},
    "WEBP": {"quality": 85},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "HEIF": {"quality": 85},  # what phones send
}


@pytest.fixture(scope="module")
def blood_cell_model() -> Predictor:
    return predictors.load(newest_bundle("blood-cell"), device="cpu", cache_dir=made.engines())


def samples() -> list[Path]:
    return sorted((newest_bundle("blood-cell") / "selftest").glob("*.jpg"))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("scale", SCALES)
def test_storing_an_image_hardly_changes_what_the_model_says(
    blood_cell_model: Predictor, form: str, scale: int
) -> None:
    for sample in samples():
        with Image.open(sample) as picture:
            size = (picture.width * scale, picture.height * scale)
            file = io.BytesIO()
            picture.resize(size, Image.Resampling.BICUBIC).save(file, form, **FORMATS[form])
        uploaded = file.getvalue()
        stored = imaging.clean(uploaded).data
        before, after = blood_cell_model.predict([decode(uploaded), decode(stored)])
        assert before.prediction == after.prediction, sample.name
        change = max(
            abs(before.probabilities[code] - after.probabilities[code])
            for code in before.probabilities
        )
        assert change < MOST_CHANGE, (sample.name, change)
