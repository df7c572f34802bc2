"""Model versions, the catalogue that they bring along, and which one serves."""

import pytest
from flask import Flask
from sqlalchemy import func, select

from tests.factories import SEVERITIES, manifest, serving_model
from webapp.audit import AuditEvent
from webapp.catalogue import queries as catalogue
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.services import add_reading_task
from webapp.db import db
from webapp.errors import Conflict
from webapp.registry import queries
from webapp.registry.models import ModelVersion
from webapp.registry.services import promote_first, register


def test_a_bundle_brings_its_reading_task_along(core: Flask) -> None:
    version = register(manifest=manifest(), bundle_sha256="a" * 64, model_card="# Card")
    task = catalogue.reading_task_by_code("test-task")
    assert task is not None
    assert [finding.code for finding in task.findings] == list(SEVERITIES)
    assert [finding.severity for finding in task.findings] == list(SEVERITIES.values())
    assert version.reading_task is task
    assert version.licence == "CC0-1.0"
    assert version.manifest == manifest()
    assert queries.installed("a" * 64) is version


def test_the_same_bundle_again_is_the_same_version(core: Flask) -> None:
    first = register(manifest=manifest(), bundle_sha256="a" * 64, model_card="")
    assert register(manifest=manifest(), bundle_sha256="a" * 64, model_card="") is first
    assert db.session.scalar(select(func.count(ModelVersion.id))) == 1
    assert db.session.scalars(select(AuditEvent.action)).all() == ["model.installed"]


def test_a_version_names_one_bundle(core: Flask) -> None:
    register(manifest=manifest(), bundle_sha256="a" * 64, model_card="")
    with pytest.raises(Conflict, match="version_taken"):
        register(manifest=manifest(), bundle_sha256="b" * 64, model_card="")


def test_a_later_version_shares_the_reading_task(core: Flask) -> None:
    first = register(manifest=manifest(), bundle_sha256="a" * 64, model_card="")
    second = register(manifest=manifest(version="2"), bundle_sha256="b" * 64, model_card="")
    assert second.reading_task_id == first.reading_task_id
    assert queries.versions_of(first.reading_task_id) == [second, first]


def test_a_version_with_other_findings_is_refused(core: Flask) -> None:
    register(manifest=manifest(), bundle_sha256="a" * 64, model_card="")
    other = manifest(version="2")
    other["findings"] = other["findings"][:2]
    with pytest.raises(Conflict, match="other_findings"):
        register(manifest=other, bundle_sha256="b" * 64, model_card="")
    assert queries.installed("b" * 64) is None


def test_the_words_of_a_finding_stay_as_they_were(core: Flask) -> None:
    add_reading_task(manifest=manifest())
    reworded = manifest()
    reworded["findings"][0]["name"] = "Reworded"
    add_reading_task(manifest=reworded)
    assert db.session.scalar(select(func.count(ReadingTask.id))) == 1
    task = db.session.scalars(select(ReadingTask)).one()
    assert task.findings[0].name == "Calm"


def test_a_bundle_made_for_comparing_serves_nothing(core: Flask) -> None:
    described = {**manifest(), "serves": False}
    version = register(manifest=described, bundle_sha256="a" * 64, model_card="")
    assert not promote_first(version=version)
    assert queries.champions() == []
    other = register(manifest=manifest(version="2"), bundle_sha256="b" * 64, model_card="")
    assert promote_first(version=other)


def test_the_first_version_serves_and_the_second_waits(core: Flask) -> None:
    first = serving_model(version="1")
    second = serving_model(version="2")
    assert queries.champion(first.reading_task_id) is first
    assert not promote_first(version=second)
    assert not promote_first(version=first)
    assert queries.champions() == [first]
    actions = db.session.scalars(select(AuditEvent.action)).all()
    assert actions.count("model.promoted") == 1


def test_each_reading_task_has_its_own_champion(core: Flask) -> None:
    blood, skin = serving_model(task="blood"), serving_model(task="skin")
    assert queries.champion(blood.reading_task_id) is blood
    assert queries.champion(skin.reading_task_id) is skin
