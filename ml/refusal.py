"""Measure whom a bundle refuses: other tasks' pictures, pictures of no task, and its own.

Other tasks' pictures are those of their locked tests, which no gate was fitted to or set by.
Refused is what is held back for being foreign or too poor; what is merely uncertain is counted
apart, since a doubtful answer to a wrong question is still an answer. What was counted of the
shipped bundles is kept in ``ml/refusals``, under the hash that names each.
"""

import argparse
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ml import predictor as predictors
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.decode import decode
from ml.evaluate import recorded_split
from ml.gates import Reason
from ml.jsonfile import write_json
from ml.locked_test import TEST, parts_of
from ml.predict import DEFAULT_CACHE
from ml.predictor import BATCH, Predictor

BESIDE = Path(__file__).parent / "refusals"
OWN = "own test"
NO_TASK = "no task"
DOUBT = {Reason.UNCERTAIN, Reason.AMBIGUOUS}
OF_EACH = 200
"""Pictures that are taken of every other task, spread over its locked test."""


@dataclass(frozen=True)
class Refusals:
    """Of so many pictures: how many were refused, and how many were held back in all."""

    count: int
    refused: int
    abstained: int

    def __str__(self) -> str:
        return f"{self.refused / self.count:.3f} refused, {self.abstained / self.count:.3f} held"


def measure(predictor: Predictor, images: Sequence[Image.Image]) -> Refusals:
    """Read pictures, and count."""
    answers = [
        answer
        for start in range(0, len(images), BATCH)
        for answer in predictor.predict(images[start : start + BATCH])
    ]
    reasons = [answer.reason for answer in answers]
    held = [reason for reason in reasons if reason]
    return Refusals(len(reasons), sum(reason not in DOUBT for reason in held), len(held))


def of_no_task() -> Iterator[Image.Image]:
    """At least 100 pictures that no reading task is about: photographs, pages, noise, colours.

    Photographs are those that scikit-image and scikit-learn carry, whole and in parts; those of
    retinas and of blood cells are left out.
    """
    from skimage import data
    from sklearn.datasets import load_sample_images

    names: tuple[str, ...] = (
        "astronaut",
        "brick",
        "camera",
        "chelsea",
        "coffee",
        "coins",
        "grass",
        "gravel",
    )
    names += ("hubble_deep_field", "logo", "moon", "page", "rocket", "text", "checkerboard")
    photographs = [np.asarray(getattr(data, name)()) for name in names]
    for pixels in [*photographs, *load_sample_images().images]:
        picture = Image.fromarray(np.asarray(pixels)).convert("RGB")
        yield picture
        width, height = picture.width // 2, picture.height // 2
        for left, top in ((0, 0), (width, 0), (0, height), (width, height)):
            yield picture.crop((left, top, left + width, top + height))
    random = np.random.default_rng(0)
    for index in range(8):
        yield Image.fromarray(random.integers(0, 256, (256, 320, 3), np.uint8))
        yield Image.new("RGB", (256, 256), tuple(random.integers(0, 256, 3).tolist()))
        yield _page(random, lines=6 + 2 * index)
        yield _screen(random)


def _page(random: np.random.Generator, lines: int) -> Image.Image:
    page = Image.new("RGB", (400, 400), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(400 / lines * 0.6)
    for line in range(lines):
        letters = "".join(chr(97 + int(letter)) for letter in random.integers(0, 26, 40))
        draw.text((10, line * 400 / lines), letters, fill="black", font=font)
    return page


def _screen(random: np.random.Generator) -> Image.Image:
    screen = Image.new("RGB", (640, 400), tuple(random.integers(200, 256, 3).tolist()))
    draw = ImageDraw.Draw(screen)
    for _ in range(12):
        left, top = int(random.integers(0, 500)), int(random.integers(0, 340))
        box = (left, top, left + int(random.integers(40, 200)), top + int(random.integers(10, 80)))
        draw.rectangle(box, fill=tuple(random.integers(0, 256, 3).tolist()))
        draw.text((left + 4, top + 2), "Save as", fill="black")
    return screen


def spread(manifest: Manifest, files: Sequence[str], count: int) -> list[Image.Image]:
    """So many pictures, evenly spaced over ``files``."""
    return [manifest.open_image(file) for file in evenly(files, count)]


def evenly(files: Sequence[str], count: int) -> list[str]:
    """So many of ``files``, evenly spaced; all of them where there are no more."""
    places = np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)
    return [files[place] for place in places]


def main() -> None:
    """Print a table, a line for each bundle and kind of picture, and write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m ml.refusal", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--own", type=Path, required=True, help="the bundle's own data set")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="other tasks' data sets")
    parser.add_argument("--out", type=Path, default=BESIDE, help="the folder to write to")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps exported networks")
    options = parser.parse_args()
    predictor = predictors.load(options.bundle, cache_dir=options.cache)
    own = packed.read(options.own)
    tested = parts_of(own)[TEST] or recorded_split(predictor.bundle.facts, own).test
    table = {
        OWN: measure(predictor, spread(own, tested, len(tested))),
        NO_TASK: measure(predictor, [_reopened(picture) for picture in of_no_task()]),
    }
    for folder in options.other:
        manifest = packed.read(folder)
        files = parts_of(manifest)[TEST] or [record.file for record in manifest.records]
        table[folder.name] = measure(predictor, spread(manifest, files, OF_EACH))
    for kind, refusals in table.items():
        print(f"{predictor.bundle.name}: {kind} ({refusals.count}): {refusals}")
    write_json(
        options.out / f"{predictor.bundle.sha256}.json",
        {kind: asdict(refusals) for kind, refusals in table.items()},
    )


def _reopened(picture: Image.Image) -> Image.Image:
    """As it would arrive: through a file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return decode(stream.getvalue())


if __name__ == "__main__":
    main()
