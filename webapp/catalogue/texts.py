"""What the findings of the shipped reading tasks are, as it comes with Firstlook."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("findings.toml")


@dataclass(frozen=True, slots=True)
class FindingText:
    """A few paragraphs on a finding, and where to read on."""

    about: str
    sources: tuple[str, ...]


def text_of(reading_task_code: str, finding_code: str) -> FindingText | None:
    """The text on a finding; None where there is none."""
    said = _texts().get(reading_task_code, {}).get(finding_code)
    return FindingText(said["about"].strip(), tuple(said["sources"])) if said else None


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
