"""The pictures that a bundle carries: those it is tested on where it is installed, and shown with.

Where the licence of a data set allows it, one picture a finding out of the locked test; else a
public-domain photograph or a drawing, which nobody can mistake for a patient.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ml.datasets.manifest import Manifest, Record
from ml.decode import decode
from ml.predictor import ImageAssessment, Predictor
from ml.reading_task import ReadingTask

FOLDER = "selftest"


@dataclass(frozen=True)
class Sample:
    """One picture to be carried along."""

    name: str
    content: bytes
    finding: str | None
    """What it shows, by code; None where nobody says."""
    origin: str
    metadata: dict[str, str] = field(default_factory=dict)


def of_test(
    task: ReadingTask,
    manifest: Manifest,
    test: Sequence[Record],
    answers: Sequence[ImageAssessment],
) -> list[Sample]:
    """One test picture a finding: of those that are named rightly the surest, else the first.

    A sure one is still named when it was compressed anew. A finding that no test picture shows
    alone has none.
    """
    samples = []
    for code in task.codes:
        shown = [pair for pair in zip(test, answers, strict=True) if pair[0].labels == (code,)]
        right = [pair for pair in shown if pair[1].prediction == code and not pair[1].abstained]
        right.sort(key=lambda pair: -pair[1].probabilities[code])
        for record, _ in (right or shown)[:1]:
            name = f"{code}{Path(record.file).suffix}"
            licence = record.licence or task.data_licence
            origin = f"{task.data_source}: `{record.file}`. Licence: {licence}."
            content = manifest.read(record.file)
            samples.append(Sample(name, content, code, origin, dict(record.metadata)))
    return samples


def retina() -> list[Sample]:
    """The retina photograph that scikit-image carries."""
    from skimage import data

    origin = (
        "Fundus photograph of a normal left eye by Mikael Haggstrom (2014), CC0 1.0, "
        "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg, as "
        "packaged by scikit-image; shrunk."
    )
    photograph = Image.fromarray(data.retina()).resize((512, 512), Image.Resampling.LANCZOS)
    return [Sample("retina.jpg", _encoded(photograph, "JPEG", quality=90), None, origin)]


def phantom() -> list[Sample]:
    """A drawn slice of a chest: enough to run a model, and nothing that it should answer on."""
    side = 256
    slice_ = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(slice_)
    for box, grey in (
        ((20, 48, 236, 216), 150),
        ((44, 72, 118, 190), 25),
        ((138, 72, 212, 190), 25),
        ((112, 92, 160, 150), 170),
        ((114, 172, 142, 204), 235),
    ):
        draw.ellipse(box, fill=grey)
    soft = np.asarray(slice_.filter(ImageFilter.GaussianBlur(2)), np.float32)
    noisy = soft + np.random.default_rng(0).normal(0, 6, soft.shape)
    drawing = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return [Sample("phantom.png", _encoded(drawing, "PNG"), None, "Drawn; it shows no patient.")]


DRAWN: dict[str, Callable[[], list[Sample]]] = {"retina": retina, "phantom": phantom}


def write(path: Path, samples: Sequence[Sample], predictor: Predictor) -> list[dict[str, Any]]:
    """Write the pictures into a bundle; returns what its ``self_test`` says of them."""
    folder = path / FOLDER
    folder.mkdir(exist_ok=True)
    cases = []
    for sample in samples:
        (folder / sample.name).write_bytes(sample.content)
        (answer,) = predictor.predict([decode(sample.content)], [sample.metadata])
        cases.append(
            {
                "file": f"{FOLDER}/{sample.name}",
                "finding": sample.finding,
                "metadata": sample.metadata,
                "probabilities": answer.probabilities,
            }
        )
    lines = "\n".join(f"- `{sample.name}`: {sample.origin}" for sample in samples)
    text = f"# Where these pictures are from\n\n{lines}\n"
    (folder / "SOURCES.md").write_text(text, encoding="utf-8")
    return cases


def _encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()
