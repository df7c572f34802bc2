"""Decode, gate and predict, and nothing else: what a worker's rate is held against.

    python -m tests.bench.bare_loop BUNDLE_SHA256 FILE

reads stored images by the hashes in FILE, one a line. It says when its model is loaded, begins
when a line comes on standard input, and prints the seconds that it took.
"""

import sys
import time
from pathlib import Path

from ml import predictor
from ml.decode import decode
from webapp import storage
from webapp.config import current_settings
from webapp.core import create_core


def main(bundle_sha256: str, hashes_file: str) -> None:
    """One process of the loop, with one inference thread, as a worker's."""
    hashes = Path(hashes_file).read_text().split()
    with create_core().app_context():
        settings = current_settings()
        model = predictor.load(
            settings.bundles_dir / bundle_sha256,
            device=settings.device,
            cache_dir=settings.engines_dir,
            threads=1,
        )
        short_side_px = model.bundle.preprocess.native_short_side_px
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        for sha256 in hashes:
            model.predict([decode(storage.get(sha256), short_side_px)])
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
