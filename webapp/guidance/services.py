"""Changing what findings mean and how long cases may wait, and what follows for those that wait."""

from typing import Any

from webapp import audit
from webapp.accounts.models import Site, User
from webapp.assessments.redating import raise_by_finding, redate
from webapp.cases.services import plain_text
from webapp.catalogue import services as catalogue
from webapp.catalogue.models import Finding, ReadingTask
from webapp.catalogue.queries import allowance_in_force, terms_in_force
from webapp.catalogue.services import Meaning, Minutes
from webapp.db import transaction
from webapp.errors import Forbidden
from webapp.permissions import Permission


def change_finding(
    *,
    actor: User,
    finding: Finding,
    site: Site | None,
    meaning: Meaning | None,
    reason: str,
    shown: int,
) -> int | None:
    """Change what a finding means, everywhere or at a site; a site without a `meaning` is as
    everywhere from then on. Answers stay as they were given; cases that wait move up where they are
    due sooner by it, and never down. Says how many did; None where nothing was changed.

    Raises:
        Forbidden: the actor does not keep the catalogue.
        Conflict: `changed`: the version that was `shown` is not the `latest`.
        Invalid: as `catalogue.services.change_terms`.
    """
    _require(actor)
    site_id = site.id if site else None
    with transaction():
        before = Meaning.of(terms_in_force(finding.reading_task_id, site_id)[finding.code])
        terms = catalogue.change_terms(
            actor=actor,
            finding=finding,
            site=site,
            meaning=meaning,
            reason=plain_text(reason),
            shown=shown,
        )
        if terms is None:
            return None
        moved = raise_by_finding(finding=finding, site_id=site_id)
        audit.record(
            actor=actor,
            action="finding.changed",
            subject=finding,
            site_id=site_id,
            version=terms.version,
            reason=terms.reason,
            moved_up_count=moved,
            **_old_and_new(before, meaning),
        )
    return moved


def change_allowance(
    *,
    actor: User,
    reading_task: ReadingTask | None,
    site: Site | None,
    minutes: Minutes | None,
    reason: str,
    shown: int,
) -> int | None:
    """Change how long cases may wait: all, those of a reading task, or those of one at a site;
    without `minutes` the place has none of its own from then on. Cases that wait move up where they
    are due sooner by it, and never down. Says how many did; None where nothing was changed.

    Raises:
        Forbidden: the actor does not keep the catalogue.
        Conflict: `changed`: the version that was `shown` is not the `latest`.
        Invalid: as `catalogue.services.change_allowance`.
    """
    _require(actor)
    task_id, site_id = reading_task.id if reading_task else None, site.id if site else None
    with transaction():
        before = Minutes.of(allowance_in_force(task_id, site_id))
        allowance = catalogue.change_allowance(
            actor=actor,
            reading_task=reading_task,
            site=site,
            minutes=minutes,
            reason=plain_text(reason),
            shown=shown,
        )
        if allowance is None:
            return None
        moved = redate(reading_task_id=task_id, site_id=site_id)
        audit.record(
            actor=actor,
            action="allowance.changed",
            subject=allowance,
            reading_task=reading_task.code if reading_task else None,
            version=allowance.version,
            reason=allowance.reason,
            moved_up_count=moved,
            **_old_and_new(before, minutes),
        )
    return moved


def _require(actor: User) -> None:
    if not actor.can(Permission.MANAGE_CATALOGUE):
        raise Forbidden(Permission.MANAGE_CATALOGUE)


def _old_and_new(before: Meaning | Minutes, after: Meaning | Minutes | None) -> dict[str, Any]:
    """What is otherwise, for the record."""
    if after is None:
        return {"as_everywhere": True}
    changed = [n for n in before.__slots__ if getattr(before, n) != getattr(after, n)]
    return {
        "old": {name: getattr(before, name) for name in changed},
        "new": {name: getattr(after, name) for name in changed},
    }
