"""What pictures and answers were like where a model was tuned: what later ones are held against.

    python -m ml.reference --bundle DIR --data DIR

A bundle that is made today carries this in a file of its own. Those that were made before have it
beside them, in ``ml/references``, under the hash that names them.
"""

import argparse
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ml import predictor as predictors
from ml.bundle import Bundle
from ml.datasets import packed
from ml.datasets.manifest import SEPARATOR, Manifest, Record
from ml.decode import decode
from ml.predictor import BATCH, ImageAssessment, Predictor

FILE = "reference.json"
BESIDE = Path(__file__).parent / "references"
KEPT = 500
"""Values that are kept of each number, evenly spaced over all of them."""


def of(bundle: Bundle) -> dict[str, Any] | None:
    """The reference of a bundle; None where nobody has made one."""
    own, beside = bundle.path / FILE, BESIDE / f"{bundle.sha256}.json"
    path = own if own.exists() else beside
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def make(predictor: Predictor, manifest: Manifest, records: Sequence[Record]) -> dict[str, Any]:
    """Read the pictures of ``records`` as they are read in serving, and sum up.

    ``inputs`` and ``probabilities`` hold sorted values, ``findings`` how often each one was the
    answer. A probability is that of an answer, so that it leaves out where the model abstained.
    """
    short = predictor.bundle.preprocess.native_short_side_px
    answers: list[ImageAssessment] = []
    sides: list[int] = []
    for start in tqdm(range(0, len(records), BATCH), desc="measuring", unit="batch"):
        batch = records[start : start + BATCH]
        files = [manifest.read(record.file) for record in batch]
        sides += [_short_side_px(data) for data in files]
        images = [decode(data, short) for data in files]
        answers += predictor.predict(images, [record.metadata for record in batch])
    measures = [answer.measures for answer in answers if answer.measures]
    named = [_named(predictor.bundle, answer) for answer in answers if not answer.abstained]
    given = [answer.probabilities for answer in answers if not answer.abstained]
    return {
        "image_count": len(records),
        "inputs": {
            "brightness": thinned([one.brightness for one in measures]),
            "contrast": thinned([one.contrast for one in measures]),
            "sharpness": thinned([one.sharpness for one in measures]),
            "short_side_px": thinned(sides),
        },
        "probabilities": thinned([by[code] for by, code in zip(given, named, strict=True)]),
        "findings": dict(Counter(named).most_common()),
        "abstained_count": len(answers) - len(named),
    }


def _named(bundle: Bundle, answer: ImageAssessment) -> str:
    """The most severe of the findings that are named, which is the answer for a case."""
    severity = {finding["code"]: finding["severity"] for finding in bundle.facts["findings"]}
    codes = answer.prediction.split(SEPARATOR)
    return max(codes, key=lambda code: (severity[code], answer.probabilities[code]))


def _short_side_px(data: bytes) -> int:
    """Of the picture in a file, whatever scale it is decoded at."""
    with Image.open(io.BytesIO(data)) as image:
        return min(image.size)


def thinned(values: Sequence[float]) -> list[float]:
    """The values in order, in five digits, and no more than KEPT of them."""
    ordered = np.sort(np.asarray(values, dtype=float))
    if len(ordered) > KEPT:
        ordered = np.quantile(ordered, (np.arange(KEPT) + 0.5) / KEPT, method="inverted_cdf")
    return [float(f"{value:.5g}") for value in ordered]


def write(path: Path, reference: dict[str, Any]) -> None:
    """A line for each part: thousands of numbers read badly one below the other."""
    parts = [f'  "{name}": {json.dumps(value)}' for name, value in reference.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def main() -> None:
    """Make the reference of a bundle that has none, from the data that it was fitted to."""
    from ml.evaluate import part_of  # slow to load, and nobody else here needs them
    from ml.predict import DEFAULT_CACHE

    parser = argparse.ArgumentParser(
        prog="python -m ml.reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="images.zip and manifest.csv")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps exported networks")
    options = parser.parse_args()
    predictor = predictors.load(options.bundle, device="cpu", cache_dir=options.cache)
    manifest = packed.read(options.data)
    records = part_of(predictor.bundle.facts, manifest, "tune")
    path = BESIDE / f"{predictor.bundle.sha256}.json"
    write(path, make(predictor, manifest, records))
    print(path)


if __name__ == "__main__":
    main()
