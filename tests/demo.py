"""The main job without a browser: `make demo`.

In an instance of its own, which it removes: the real web server, broker, worker and sweeper; an
account that signs in over HTTP, uploads a sample of each finding, and waits for the answers. Exits
non-zero if anything failed.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.stack import Client, Stack
from webapp.assessments.models import State
from webapp.config import REPOSITORY


def main() -> int:
    bundle = newest_bundle("blood-cell")
    samples = sorted(path for path in (bundle / "selftest").iterdir() if path.suffix == ".jpg")
    print(
        f"Starting web server, broker, worker and sweeper with {bundle.relative_to(REPOSITORY)} ..."
    )
    manifest = json.loads((bundle / "bundle.json").read_text())
    names = {finding["code"]: finding["name"] for finding in manifest["findings"]}
    with Stack(bundle=bundle) as stack:
        client = stack.sign_in()
        print(f"Signed in at {stack.url}; the instance is {stack.folder}")
        wrong = sum(not read(stack, client, sample, names) for sample in samples)
    print("The instance is removed.")
    return 1 if wrong else 0


def newest_bundle(reading_task: str) -> Path:
    """The folder of the newest shipped bundle of a reading task."""
    versions = (REPOSITORY / "ml" / "bundles" / reading_task).glob("*/bundle.json")
    return max(
        versions, key=lambda path: [int(part) for part in path.parent.name.split(".")]
    ).parent


def read(stack: Stack, client: Client, sample: Path, names: Mapping[str, str]) -> bool:
    """Upload one sample, wait, print what came of it; whether it is right, and its page says so."""
    began = time.monotonic()
    case_id = client.submit([sample.read_bytes()], file_name=sample.name)
    answer = stack.wait_for(case_id)
    seconds = time.monotonic() - began
    found = names[answer.finding] if answer.finding else "no finding"
    print(f"\n{sample.name}: {answer.state} after {seconds:.2f} s: {found}")
    width = max(map(len, names.values()))
    for code, probability in answer.probabilities[0].items():
        print(f"    {names[code]:<{width}} {probability:6.1%}")
    page = client.get(f"/cases/{case_id}").text
    verdict = page.partition('id="verdict-title"')[2].partition("</h2>")[0]
    is_right = answer.state is State.COMPLETED and answer.finding == sample.stem
    return is_right and names[sample.stem] in verdict


if __name__ == "__main__":
    sys.exit(main())
