"""What bundles say in English, in the language of the reader: names of findings, advice, places.

The English is what is stored. A text that no translation knows, such as one that an administrator
wrote, is shown as it is.
"""

import json
import tomllib
from collections.abc import Iterator
from typing import IO, Any

from flask_babel import gettext


def translated(text: str | None) -> str:
    """The text in the language of the reader; empty where there is none."""
    return gettext(text) if text else ""


def extract(
    file: IO[bytes], _keywords: Any, _comment_tags: Any, options: dict[str, str]
) -> Iterator[tuple[int, None, str, list[str]]]:
    """The texts for people in a bundle's manifest, or in what Firstlook says of findings, for Babel
    to put into the catalogues."""
    texts = _of_findings if options.get("kind") == "findings" else _of_manifest
    for text in dict.fromkeys(texts(file)):
        yield 0, None, text, []


def _of_findings(file: IO[bytes]) -> Iterator[str]:
    for findings in tomllib.load(file).values():
        for finding in findings.values():
            yield finding["about"].strip()


def _of_manifest(file: IO[bytes]) -> Iterator[str]:
    manifest = json.load(file)
    task = manifest["reading_task"]
    yield from (task["name"], task["description"], task["modality"])
    for finding in manifest["findings"]:
        yield from (finding["name"], finding["description"], finding["recommendation"])
    yield manifest["intended_use"]
    yield from manifest["not_for"]
    if quoted := manifest["training"].get("quoted_first"):
        yield from (quoted["name"], quoted["description"])
    for choices in manifest["metadata"].get("choices", {}).values():
        yield from choices
