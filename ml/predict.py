"""Read a folder, an archive or a table of pictures into one table of predictions.

The output has a row for every input, in the input's order: ``file``, the input's other columns,
``prediction``, ``abstained``, ``reason`` and one ``p_<code>`` for every finding. A file that
cannot be decoded gets the reason ``unreadable`` and no prediction.
"""

import argparse
import csv
import lzma
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image
from tqdm import tqdm

from ml import predictor as predictors
from ml.bundle import BundleError
from ml.decode import Unreadable, decode
from ml.engines import EngineError
from ml.gates import Reason
from ml.predictor import BATCH, ImageAssessment, Predictor

DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "firstlook"

COMPANIONS = {".csv", ".tsv", ".json", ".txt", ".md", ".html", ".xml", ".pdf", ".zip", ".npz"}
COMPANIONS |= {".db", ".ini"}
"""Files that lie beside pictures without being meant as one; anything else gets a row."""

UNOBTAINABLE = (
    OSError,
    KeyError,
    ValueError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What reading a file raises that is missing, or that its archive holds spoilt or locked."""


class InputError(Exception):
    """The input as a whole cannot be used."""


@dataclass(frozen=True)
class Inputs:
    """What is to be read: one mapping of columns a row, and how to get a file's bytes."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    read: Callable[[str], bytes]


def open_inputs(source: Path) -> Inputs:
    """The rows of a folder, a ZIP archive or a CSV table with a column ``file``.

    Folders and archives are searched to any depth; hidden files and COMPANIONS are passed over.
    Raises InputError.
    """
    if source.is_dir():
        found = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
        names = sorted(path.as_posix() for path in found)
        return Inputs(("file",), _rows(names), lambda file: (source / file).read_bytes())
    if source.suffix.lower() == ".csv":
        return _open_table(source)
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{source} is not a folder, a ZIP archive or a CSV table") from error
    names = [member.filename for member in archive.infolist() if not member.is_dir()]
    return Inputs(("file",), _rows(names), archive.read)


def _open_table(source: Path) -> Inputs:
    try:
        with source.open(newline="", encoding="utf-8-sig") as table:
            reader = csv.DictReader(table, restval="")
            columns = tuple(reader.fieldnames or ())
            rows = tuple({name: row[name] for name in columns} for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} cannot be read as a CSV table: {error}") from error
    if "file" not in columns:
        raise InputError(f"{source} has no column 'file'; its columns are {', '.join(columns)}")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise InputError(f"{source} has more than one column {', '.join(twice)}; rename them")
    return Inputs(columns, rows, lambda file: (source.parent / file).read_bytes())


def _rows(names: list[str]) -> tuple[Mapping[str, str], ...]:
    """A row for each name, leaving out hidden files, macOS's shadow copies and companions."""
    return tuple(
        {"file": name}
        for name in names
        if PurePosixPath(name).suffix.lower() not in COMPANIONS
        and not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    )


def predict_rows(predictor: Predictor, inputs: Inputs) -> Iterator[dict[str, str]]:
    """One output row an input row, in order; reading starts when the first one is asked for.

    Raises InputError at once when an input column would be overwritten by an output column.
    """
    clash = sorted(set(inputs.columns) & set(output_columns(predictor)))
    if clash:
        raise InputError(f"the input's columns {', '.join(clash)} are output columns; rename them")
    return _read_rows(predictor, inputs)


def _read_rows(predictor: Predictor, inputs: Inputs) -> Iterator[dict[str, str]]:
    """Batch by batch; files are decoded by threads."""
    bundle = predictor.bundle
    short_side_px = max(
        bundle.preprocess.native_short_side_px, bundle.abstention.short_side_below_px
    )

    def decoded(row: Mapping[str, str]) -> Image.Image | None:
        try:
            return decode(inputs.read(row["file"]), short_side_px)
        except (*UNOBTAINABLE, Unreadable):
            return None

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(inputs.rows), BATCH):
            rows = inputs.rows[start : start + BATCH]
            images = list(pool.map(decoded, rows))
            readable = [index for index, image in enumerate(images) if image]
            answers = predictor.predict(
                [image for image in images if image], [rows[index] for index in readable]
            )
            answer_of = dict(zip(readable, answers, strict=True))
            for index, row in enumerate(rows):
                yield {**row, **_answer_columns(predictor, answer_of.get(index))}


def output_columns(predictor: Predictor) -> list[str]:
    """Names of the columns that a prediction adds."""
    return ["prediction", "abstained", "reason", *(f"p_{c}" for c in predictor.bundle.codes)]


def _answer_columns(predictor: Predictor, answer: ImageAssessment | None) -> dict[str, str]:
    if answer is None:
        empty = dict.fromkeys(output_columns(predictor), "")
        return {**empty, "abstained": "true", "reason": str(Reason.UNREADABLE)}
    return {
        "prediction": answer.prediction,
        "abstained": "true" if answer.abstained else "false",
        "reason": answer.reason or "",
        **{f"p_{code}": f"{value:.8f}" for code, value in answer.probabilities.items()},
    }


def main() -> int:
    """Exit status: 0 if any picture was read, 1 if none was, 2 if the command cannot run."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder, ZIP archive or CSV")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps exported networks")
    options = parser.parse_args()
    try:
        inputs = open_inputs(options.images)
        if options.out.exists() and options.out.samefile(options.images):
            raise InputError(f"--out {options.out} is the input itself, which stays as it is")
        predictor = predictors.load(
            options.bundle,
            device=options.device,
            cache_dir=options.cache,
            threads=os.cpu_count() or 1,
        )
        answers = predict_rows(predictor, inputs)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        read = write_rows(
            answers, (*inputs.columns, *output_columns(predictor)), options.out, len(inputs.rows)
        )
    except (InputError, BundleError, EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{read} of {len(inputs.rows)} read by {predictor.engine}", file=sys.stderr)
    return 0 if read else 1


def write_rows(
    answers: Iterator[dict[str, str]], columns: tuple[str, ...], out: Path, total: int
) -> int:
    """Write the rows as they come, with a progress bar; returns how many pictures were read."""
    read = 0
    with out.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        for row in tqdm(answers, total=total, unit="image"):
            writer.writerow(row)
            read += row["reason"] != Reason.UNREADABLE
    return read


if __name__ == "__main__":
    sys.exit(main())
