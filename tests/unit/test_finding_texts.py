"""The texts on findings, and the pictures that bundles bring along for them."""

import json
from typing import Any

import pytest

from tests.demo import newest_bundle
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


def test_every_shipped_reading_task_has_a_picture_that_says_where_it_is_from() -> None:
    shown = REPOSITORY / "static" / "img" / "tasks"
    named, said = None, {}
    for line in (shown / "SOURCES.txt").read_text().splitlines():
        if line.endswith(".jpg"):
            named = line
        elif named:
            said[named] = said.get(named, "") + line
    shipped = {f"{manifest['reading_task']['code']}.jpg" for manifest in MANIFESTS}
    assert len(shipped) == 5
    assert shipped == {path.name for path in shown.glob("*.jpg")} == said.keys()
    for name, source in said.items():
        assert "Licence: CC" in source or "Drawn; it shows no patient." in source, name


def test_dermoscopy_asks_for_the_body_sites_that_its_model_learnt() -> None:
    """Those of HAM10000's table, in its spelling."""
    bundle = json.loads((newest_bundle("dermoscopy-fusion") / "bundle.json").read_text())
    assert sorted(bundle["metadata"]["choices"]["localization"]) == [
        "abdomen",
        "acral",
        "back",
        "chest",
        "ear",
        "face",
        "foot",
        "genital",
        "hand",
        "lower extremity",
        "neck",
        "scalp",
        "trunk",
        "unknown",
        "upper extremity",
    ]


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
