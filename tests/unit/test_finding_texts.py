"""The texts on findings, and the pictures that bundles bring along for them."""

import json
from typing import Any

import pytest

from webapp.catalogue.texts import _texts, text_of
from webapp.config import REPOSITORY
from webapp.worker.install import SOURCES, sources

BUNDLES = sorted(REPOSITORY.glob("ml/bundles/*/*/bundle.json"))
MANIFESTS: list[dict[str, Any]] = [json.loads(path.read_text()) for path in BUNDLES]


def test_every_finding_of_the_shipped_bundles_has_a_text_with_its_sources_and_no_other() -> None:
    shipped = {
        (manifest["reading_task"]["code"], finding["code"])
        for manifest in MANIFESTS
        for finding in manifest["findings"]
    }
    assert {(task, code) for task, texts in _texts().items() for code in texts} == shipped
    for task, code in shipped:
        text = text_of(task, code)
        assert text is not None
        assert 100 < len(text.about) < 1000, (task, code)
        assert text.sources


def test_other_findings_have_none() -> None:
    assert text_of("blood-cell", "blast") is None
    assert text_of("x-ray", "mel") is None


@pytest.mark.parametrize("manifest", BUNDLES, ids=lambda path: path.parent.parent.name)
def test_every_picture_of_a_shipped_bundle_says_where_it_is_from(manifest: Any) -> None:
    described = sources(manifest.parent / "selftest" / SOURCES)
    pictures = json.loads(manifest.read_text())["self_test"]
    assert pictures
    for said in pictures:
        source = described[said["file"].removeprefix("selftest/")]
        assert "CC" in source or source.startswith("Drawn")
