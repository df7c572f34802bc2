"""What pages say of findings and of how long they may wait: today, and in all versions."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from webapp.accounts.models import Site, User
from webapp.accounts.queries import all_sites
from webapp.catalogue import queries as catalogue
from webapp.catalogue.models import Allowance, Finding, FindingTerms, Priority, Version
from webapp.permissions import Permission
from webapp.registry.facts import share


@dataclass(frozen=True, slots=True)
class Field:
    """Something that can be changed: what it is called, and how its values are written."""

    label: Any
    words: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version says otherwise than the one before."""

    field: Field
    old: Any
    new: Any

    @property
    def before(self) -> str:
        return self.field.words(self.old)

    @property
    def after(self) -> str:
        return self.field.words(self.new)


@dataclass(frozen=True, slots=True)
class Change:
    """One version, and what was new about it."""

    version: FindingTerms | Allowance
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class Place:
    """What a finding means in one place today."""

    site: Site | None
    terms: FindingTerms
    allowed: dt.timedelta
    """How long its urgency may wait there."""


def duration(time: dt.timedelta | int) -> str:
    """How long something may wait, a time or minutes, exactly and shortly."""
    minutes = time if isinstance(time, int) else round(time / dt.timedelta(minutes=1))
    if minutes == 0:
        return _("not at all")
    if minutes % 60:
        return _("%(minutes)s min", minutes=minutes)
    return _("%(hours)s h", hours=minutes // 60)


def mark_in_words(mark: float | None) -> str:
    """An operating point."""
    return _("each model's own") if mark is None else share(mark)


TERMS_FIELDS: Mapping[str, Field] = {
    "malignancy": Field(_l("Malignant or benign"), lambda value: str(value.label)),
    "urgency": Field(_l("How soon"), lambda value: str(value.label)),
    "mark": Field(_l("Operating point"), mark_in_words),
    "recommendation": Field(_l("Recommendation"), str),
    "description": Field(_l("In a sentence"), str),
    "about": Field(_l("Text of its page"), lambda value: value or _("as it comes with Firstlook")),
}
"""What can be changed of a finding."""

MINUTES_FIELDS: Mapping[str, Field] = {
    f"{priority.value}_minutes": Field(priority.label, duration) for priority in reversed(Priority)
}
"""What can be changed of how long cases may wait."""


def known_sites(actor: User) -> Sequence[Site]:
    """The sites of whose own rules the actor may be told: all of them, or the actor's."""
    if actor.can(Permission.MANAGE_CATALOGUE):
        return all_sites()
    return sorted(actor.sites, key=lambda site: site.name)


def places(finding: Finding, sites: Sequence[Site]) -> Sequence[Place]:
    """What a finding means in general, and at those sites that have terms of their own."""
    task_id = finding.reading_task_id
    found = []
    for site in (None, *sites):
        site_id = site.id if site else None
        terms = catalogue.terms_in_force(task_id, site_id)[finding.code]
        if terms.site_id == site_id:
            allowed = catalogue.allowances(task_id, site_id)[terms.urgency]
            found.append(Place(site, terms, allowed))
    return found


def terms_changes(finding: Finding, sites: Sequence[Site]) -> Sequence[Change]:
    """What was changed of a finding, in general and at those sites, the latest first."""
    history = catalogue.terms_history(finding.id)
    return _changes(history, sites, TERMS_FIELDS, lambda terms: terms.site_id, lambda _site: None)


def allowance_exceptions(sites: Sequence[Site]) -> Sequence[Allowance]:
    """What counts today for single reading tasks, and for single ones at those sites."""
    known = {None, *(site.id for site in sites)}
    latest: dict[tuple[int | None, int | None], Allowance] = {}
    for allowance in catalogue.allowance_history():
        latest.setdefault((allowance.reading_task_id, allowance.site_id), allowance)
    return [
        allowance
        for (task_id, site_id), allowance in latest.items()
        if task_id is not None and site_id in known and allowance.is_own
    ]


def allowance_changes(sites: Sequence[Site]) -> Sequence[Change]:
    """What was changed of how long cases may wait, in general and at those sites, the latest
    first."""

    def wider(place: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
        return (place[0] if place[1] is not None else None, None)

    return _changes(
        catalogue.allowance_history(),
        sites,
        MINUTES_FIELDS,
        lambda allowance: (allowance.reading_task_id, allowance.site_id),
        wider,
    )


def _changes(
    history: Sequence[Any],
    sites: Sequence[Site],
    fields: Mapping[str, Field],
    place_of: Callable[[Any], Any],
    wider: Callable[[Any], Any],
) -> Sequence[Change]:
    """Each version beside what counted in its place before: its own, or else that of the wider
    place."""
    known = {None, *(site.id for site in sites)}
    own: dict[Any, Any] = {}
    changes = []
    for version in reversed(history):
        place = place_of(version)
        before = own.get(place) or own.get(wider(place)) or own.get(wider(wider(place)))
        if version.is_own:
            own[place] = version
        else:
            own.pop(place, None)
        if version.site_id in known:
            changes.append(Change(version, differences(before, version, fields)))
    return changes[::-1]


def differences(
    before: Version | None, after: Version, fields: Mapping[str, Field]
) -> Sequence[Difference]:
    """What two versions say otherwise; nothing where there is none before."""
    if before is None or not after.is_own:
        return []
    return [
        Difference(field, getattr(before, name), getattr(after, name))
        for name, field in fields.items()
        if getattr(before, name) != getattr(after, name)
    ]
