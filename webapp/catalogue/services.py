"""Reading tasks and findings, as bundles describe them, and their terms, as administrators change
them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from webapp.accounts.models import Site, User
from webapp.catalogue import queries
from webapp.catalogue.models import (
    Allowance,
    Finding,
    FindingTerms,
    Malignancy,
    Priority,
    ReadingTask,
    RegionKind,
)
from webapp.db import Lock, db, hold, now, transaction
from webapp.errors import Conflict, Invalid

REASON_LENGTH_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a finding means for the work."""

    description: str
    about: str | None
    malignancy: Malignancy
    urgency: Priority
    recommendation: str
    mark: float | None

    @classmethod
    def of(cls, terms: FindingTerms) -> Self:
        return cls(**{name: getattr(terms, name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """How long each priority may wait."""

    routine: int
    urgent: int
    asap: int
    stat: int

    @classmethod
    def of(cls, allowance: Allowance) -> Self:
        return cls(**{name: getattr(allowance, f"{name}_minutes") for name in cls.__slots__})


DICOM_MODALITIES = {
    "blood-cell": ["GM", "SM"],
    "breast-ultrasound": ["US"],
    "chest-ct": ["CT"],
    "dermoscopy": ["DMS", "XC", "GM"],
    "fundus": ["OP"],
}
"""Of reading tasks by their codes, as DICOM names them: general and slide microscopy, ultrasound,
computed tomography, dermoscopy, photography with a camera, photography of the eye."""
WITH_SIDES = {"breast-ultrasound"}
"""Where a side is asked for, and is not what images are followed by."""
_REGIONS = {"breast-ultrasound": "lesion", "dermoscopy": "lesion", "fundus": "eye"}
"""What images show that can be looked at again, for bundles from before they said it themselves."""


def add_reading_task(*, manifest: Mapping[str, Any]) -> ReadingTask:
    """The reading task of a bundle, made if it is new. What is there is never changed: it belongs
    to administrators, and old answers must keep the words in which they were given.

    Raises:
        Conflict: the reading task is there, with other findings.
    """
    described = manifest["reading_task"]
    with transaction():
        task = queries.reading_task_by_code(described["code"])
        codes = [finding["code"] for finding in manifest["findings"]]
        if task is not None:
            if list(queries.findings_by_code(task.id)) != codes:
                raise Conflict("other_findings", reading_task=task.code, findings=codes)
            return task
        task = ReadingTask(
            code=described["code"],
            name=described["name"],
            description=described["description"],
            dicom_modalities=DICOM_MODALITIES.get(described["code"], []),
            has_sides=described["code"] in WITH_SIDES,
            region_kind=_region_kind(described),
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
        db.session.add_all(_first_terms(task.findings))
        db.session.flush()
        return task


def change_terms(
    *,
    actor: User,
    finding: Finding,
    site: Site | None,
    meaning: Meaning | None,
    reason: str,
    shown: int,
) -> FindingTerms | None:
    """Make a new version of what a finding means, everywhere or at a site; None, and nothing made,
    where it means that already. A site without a `meaning` is as everywhere from then on.

    The caller has waiting cases moved up and then records the change, all in one transaction.

    Raises:
        Conflict: `changed`: the version that was `shown`, 0 for none, is not the `latest`.
        Invalid: `reason`; `mark`; `meaning`: general terms without one; `shown`: there is none.
    """
    _check_reason(reason)
    if meaning is None and site is None:
        raise Invalid("meaning")
    if meaning is not None and meaning.mark is not None and not 0 < meaning.mark <= 1:
        raise Invalid("mark")
    with transaction():
        hold(Lock.CATALOGUE)
        latest = queries.latest_terms(finding.id, site.id if site else None)
        before = Meaning.of(latest) if latest is not None and latest.is_own else None
        if before == meaning:
            return None
        _check_shown(shown, latest)
        terms = FindingTerms(
            finding=finding,
            site=site,
            version=shown + 1,
            is_own=meaning is not None,
            reason=reason,
            changed_by=actor,
            changed_at=now(),
        )
        for name, value in _values(meaning or Meaning.of(_general(finding))).items():
            setattr(terms, name, value)
            if site is None and hasattr(finding, name):
                setattr(finding, name, value)
        db.session.add(terms)
        db.session.flush()
        return terms


def change_allowance(
    *,
    actor: User,
    reading_task: ReadingTask | None,
    site: Site | None,
    minutes: Minutes | None,
    reason: str,
    shown: int,
) -> Allowance | None:
    """Make a new version of how long cases may wait: all of them, those of a reading task, or those
    of a reading task at a site; None, and nothing made, where it is so already. Without `minutes`
    the place has none of its own from then on.

    The caller has waiting cases moved up and then records the change, all in one transaction.

    Raises:
        Conflict: `changed`: the version that was `shown`, 0 for none, is not the `latest`.
        Invalid: `reason`; `order`: something more urgent may wait longer; `place`: a site without
            a reading task, or all cases without `minutes`; `shown`: there is none.
    """
    _check_reason(reason)
    task_id, site_id = reading_task.id if reading_task else None, site.id if site else None
    if reading_task is None and (site is not None or minutes is None):
        raise Invalid("place")
    if minutes is not None:
        _check_order(minutes)
    with transaction():
        hold(Lock.CATALOGUE)
        latest = queries.latest_allowance(task_id, site_id)
        before = Minutes.of(latest) if latest is not None and latest.is_own else None
        if before == minutes:
            return None
        _check_shown(shown, latest)
        given = minutes or Minutes.of(queries.allowance_in_force(task_id, site_id))
        allowance = Allowance(
            reading_task=reading_task,
            site=site,
            version=shown + 1,
            is_own=minutes is not None,
            reason=reason,
            changed_by=actor,
            changed_at=now(),
            **{f"{name}_minutes": value for name, value in _values(given).items()},
        )
        db.session.add(allowance)
        db.session.flush()
        return allowance


def _first_terms(findings: Sequence[Finding]) -> list[FindingTerms]:
    return [
        FindingTerms(
            finding=finding,
            version=1,
            is_own=True,
            description=finding.description,
            malignancy=Malignancy(finding.malignancy),
            urgency=finding.urgency,
            recommendation=finding.recommendation,
            reason="",
            changed_at=now(),
        )
        for finding in findings
    ]


def _general(finding: Finding) -> FindingTerms:
    terms = queries.latest_terms(finding.id, None)
    if terms is None:
        raise LookupError(f"finding {finding.id} has no general terms")
    return terms


def _values(given: Meaning | Minutes) -> dict[str, Any]:
    return {name: getattr(given, name) for name in given.__slots__}


def _check_shown(shown: int, latest: FindingTerms | Allowance | None) -> None:
    if latest is None and shown:
        raise Invalid("shown")
    if latest is not None and shown != latest.version:
        raise Conflict("changed", latest=latest)


def _check_reason(reason: str) -> None:
    if not 1 <= len(reason) <= REASON_LENGTH_MAX:
        raise Invalid("reason", limit=REASON_LENGTH_MAX)


def _check_order(minutes: Minutes) -> None:
    if not 0 <= minutes.stat <= minutes.asap <= minutes.urgent <= minutes.routine:
        raise Invalid("order")


def _region_kind(described: Mapping[str, Any]) -> RegionKind | None:
    kind = described.get("region", _REGIONS.get(described["code"]))
    return RegionKind(kind) if kind in list(RegionKind) else None
