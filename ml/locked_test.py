"""Name the pictures of a reading task that no training may learn from: the locked test.

``python -m ml.locked_test --bundle ml/bundles/fundus/1.0.0 --data ../shared/data/eye-odir5k``
makes the division that the bundle was fitted by once more, and writes it to
``ml/locked_tests/<reading task>.csv``: one row a picture that is held back, named by the SHA-256 of
its bytes. Those of ``test`` are what models are compared on. Those of ``tune`` set the thresholds,
now as before, so that what starts from the bundle's weights is not tuned on what these learnt from.
Those ``dropped`` may show whom the test shows.
"""

import argparse
import csv
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from ml import bundle as bundles
from ml.bundle import BundleError
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.evaluate import EvaluationError, recorded_split
from ml.splits import Split

FOLDER = Path(__file__).parent / "locked_tests"
COLUMNS = ("sha256", "subject", "part")
TRAIN, TEST, TUNE, DROPPED = "train", "test", "tune", "dropped"


def rows_of(manifest: Manifest, split: Split) -> list[tuple[str, str, str]]:
    """The rows of the table, in the order of their hashes: test before tune before dropped where
    two files have the same bytes."""
    subjects = {record.file: record.subject for record in manifest.records}
    found: dict[str, tuple[str, str, str]] = {}
    for part, files in ((TEST, split.test), (TUNE, split.tune), (DROPPED, split.dropped)):
        for file in files:
            sha256 = hashlib.sha256(manifest.read(file)).hexdigest()
            found.setdefault(sha256, (sha256, subjects[file], part))
    return [found[sha256] for sha256 in sorted(found)]


def write(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write the table that says what is held back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def held_back(folder: Path = FOLDER) -> dict[str, str]:
    """Of every picture that any table in ``folder`` names, by its SHA-256, the part it is of."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as table:
            found.update((row["sha256"], row["part"]) for row in csv.DictReader(table))
    return found


def parts_of(manifest: Manifest, folder: Path = FOLDER) -> dict[str, list[str]]:
    """The files of a data set by the part that the tables in ``folder`` give each to.

    What no table names is of ``train``.
    """
    held = held_back(folder)
    parts: dict[str, list[str]] = {part: [] for part in (TRAIN, TUNE, TEST, DROPPED)}
    for record in manifest.records:
        digest = hashlib.sha256(manifest.read(record.file)).hexdigest()
        parts[held.get(digest, TRAIN)].append(record.file)
    return parts


def main() -> int:
    """Write the table of one reading task. Exit status: 0, or 2 when these are not the data that
    the bundle was fitted to."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.locked_test",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="what it was fitted to")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    options = parser.parse_args()
    try:
        facts = bundles.load(options.bundle).facts
        manifest = packed.read(options.data)
        split = recorded_split(facts, manifest)
    except (BundleError, EvaluationError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    rows = rows_of(manifest, split)
    path = options.out / f"{facts['reading_task']['code']}.csv"
    write(path, rows)
    print(f"{path}: {sum(part == TEST for _, _, part in rows)} pictures in the test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
