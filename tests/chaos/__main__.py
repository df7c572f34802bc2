"""The long storm: `make chaos`."""

import sys
import tempfile
from pathlib import Path

from tests.chaos.storm import PICTURE_SIDE_PX, Goals, Storm, Target
from tests.stack import Stack
from tests.unit.ml.factories import make_bundle

ROUNDS = 5
GOALS = Goals(case_count=500, kill_count=20, mid_inference_count=10, outage_seconds=60)


def main() -> int:
    """Run it and print the table; the exit status says whether the storm was as strong as it has to
    be, and nothing was lost."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder) / "bundle", size=PICTURE_SIDE_PX)
        with Stack(bundle=bundle) as stack:
            report = Storm(
                stack,
                goals=GOALS,
                targets=[*Target] * ROUNDS,
                settle_seconds=300,
            ).run()
    print(report.table())
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
