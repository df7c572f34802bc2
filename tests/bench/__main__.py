"""`make bench`: prints what was measured as a table, and writes it to bench.json."""

import argparse
import datetime as dt
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ml.datasets import packed
from tests.bench.parts import Bench, Figure
from tests.conftest import DATA
from tests.demo import newest_bundle
from tests.stack import Stack
from webapp.config import REPOSITORY

RESULT = REPOSITORY / "bench.json"
RECIPE = "blood-cell"


def main() -> None:
    """Measure everything on one instance, at the sizes asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=None, help="default: the shipped one")
    parser.add_argument("--cases", type=int, default=100_000, help="cases of the worklist")
    parser.add_argument("--uploads", type=int, default=60, help="uploads at rest")
    parser.add_argument("--heat-maps", type=int, default=30, help="heat maps of what was read last")
    parser.add_argument("--drain", type=int, default=2000, help="cases that wait at once")
    parser.add_argument("--seconds", type=int, default=60, help="time of asking for list pages")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    bundle = arguments.bundle or newest_bundle("blood-cell")
    print(f"Load average before: {load_before:.2f} on {os.cpu_count()} cores")
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(bundle=bundle, environment={"LOCKED_TESTS_DIR": folder}) as stack,
    ):
        figures = measure(
            Bench(stack, pictures(bundle, arguments.drain)),
            cases=arguments.cases,
            uploads=arguments.uploads,
            heat_maps=arguments.heat_maps,
            drain=arguments.drain,
            seconds=arguments.seconds,
            folder=Path(folder),
        )
    print(table(figures))
    result = {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average_before": load_before,
        "bundle": bundle.name,
        "sizes": {
            name: getattr(arguments, name)
            for name in ("cases", "uploads", "heat_maps", "drain", "seconds")
        },
        "figures": [asdict(figure) for figure in figures],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Written to {RESULT}")


def measure(
    bench: Bench,
    *,
    cases: int,
    uploads: int,
    heat_maps: int,
    drain: int,
    seconds: int,
    folder: Path,
    recipe: str = RECIPE,
) -> list[Figure]:
    """Every figure, one part after another so that none disturbs another, but for the training,
    which is there to disturb. `folder` is the one in which the instance looks for locked tests."""
    print(f"Filling a worklist of {cases:,} cases ...", flush=True)
    bench.fill(cases)
    print(f"Uploading {uploads} cases, one after another ...", flush=True)
    figures = bench.upload_to_result(uploads)
    print(f"Opening list pages for {seconds} s ...", flush=True)
    figures += bench.list_page(seconds)
    print(f"Draining {drain:,} waiting cases, then the bare loop ...", flush=True)
    drained = bench.drain(drain)
    print(f"Opening list pages for {seconds} s while the workers are busy ...", flush=True)
    busy = bench.list_page_while_busy(seconds, cases_a_second=drained[0].value)
    print(f"Uploading {uploads} cases while a model is trained ...", flush=True)
    trained = bench.upload_during_training(
        uploads, figures[:2], recipe=recipe, folder=folder / "pictures"
    )
    print(f"Showing where the model looked in {heat_maps} images ...", flush=True)
    mapped = bench.heat_maps(heat_maps)  # last: whoever makes one has torch loaded from then on
    return [*figures, *drained, *busy, *trained, *mapped]


def pictures(bundle: Path, count: int) -> Sequence[bytes]:
    """Real cells: of the development data where it is there, else the bundle's samples."""
    if (DATA / "blood-pbc").is_dir():
        manifest = packed.read(DATA / "blood-pbc")
        return [manifest.read(record.file) for record in manifest.records[:count]]
    samples = (path for path in (bundle / "selftest").iterdir() if path.suffix in (".jpg", ".png"))
    return [path.read_bytes() for path in sorted(samples)]


def table(figures: Sequence[Figure]) -> str:
    """The figures, one a line."""
    width = max(len(figure.name) for figure in figures)
    return "\n".join(
        f"{figure.name:<{width}}  {figure.value:10.1f} {figure.unit:<9} {figure.goal}".rstrip()
        for figure in figures
    )


if __name__ == "__main__":
    main()
