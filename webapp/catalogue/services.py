"""Reading tasks and findings, as bundles describe them."""

from collections.abc import Mapping
from typing import Any

from webapp.catalogue.models import Finding, Priority, ReadingTask
from webapp.catalogue.queries import findings_by_code, reading_task_by_code
from webapp.db import db, now, transaction
from webapp.errors import Conflict


def add_reading_task(*, manifest: Mapping[str, Any]) -> ReadingTask:
    """The reading task of a bundle, made if it is new. What is there is never changed: old answers
    must keep the words in which they were given.

    Raises:
        Conflict: the reading task is there, with other findings.
    """
    described = manifest["reading_task"]
    with transaction():
        task = reading_task_by_code(described["code"])
        codes = [finding["code"] for finding in manifest["findings"]]
        if task is not None:
            if list(findings_by_code(task.id)) != codes:
                raise Conflict("other_findings", reading_task=task.code, findings=codes)
            return task
        task = ReadingTask(
            code=described["code"],
            name=described["name"],
            description=described["description"],
            created_at=now(),
            findings=[
                Finding(
                    code=finding["code"],
                    position=position,
                    name=finding["name"],
                    description=finding["description"],
                    malignancy=finding["malignancy"],
                    severity=finding["severity"],
                    urgency=Priority(finding["urgency"]),
                    recommendation=finding["recommendation"],
                )
                for position, finding in enumerate(manifest["findings"])
            ],
        )
        db.session.add(task)
        db.session.flush()
        return task
