"""All that the monitoring page says of one reading task in a period."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import format_decimal
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from webapp.catalogue.models import Priority, ReadingTask
from webapp.catalogue.wording import translated
from webapp.db import now
from webapp.monitoring import chart, figures, past
from webapp.monitoring.chart import Chart
from webapp.monitoring.drift import Moved, Verdict, compare
from webapp.monitoring.figures import Calibration, Moment, PastCase, Share, Times
from webapp.registry.facts import NO_BREAK
from webapp.registry.models import ModelVersion
from webapp.registry.queries import champion

DAY_SECONDS = 24 * 3600
_UNITS = {"s": (60, 1), "min": (3600, 60), "h": (2 * DAY_SECONDS, 3600)}
"""Each with the seconds from which on it reads badly, and how many it has."""
NAMES = {
    "brightness": _l("Brightness"),
    "contrast": _l("Contrast"),
    "sharpness": _l("Sharpness"),
    "short_side_px": _l("Short side in pixels"),
    "probability": _l("Probability of the answer"),
    "answers": _l("Findings named, and abstentions"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that have something in common, and the share of them."""

    mark: str
    """By which a page asks for it."""
    name: str
    share: Share | None


@dataclass(frozen=True, slots=True)
class Grouping:
    """What cases are told apart by."""

    code: str
    title: str
    of: Callable[[PastCase], Any]
    name: Callable[[PastCase], str]

    def mark(self, key: Any) -> str:
        words = map(str, key) if isinstance(key, tuple) else [str(key)]
        return f"{self.code}.{'-'.join(words)}"


@dataclass(frozen=True, slots=True)
class Table:
    """A share by group, in order."""

    title: str
    rows: Sequence[Group]


@dataclass(frozen=True, slots=True)
class Course:
    """A share over time, and its drawing."""

    moments: Sequence[Moment]
    chart: Chart | None


@dataclass(frozen=True, slots=True)
class Drift:
    """What recent cases are held against, and what came of it."""

    version: ModelVersion
    recent_count: int
    is_of_house: bool
    moved: Sequence[Moved]
    """Empty where there is nothing to hold them against."""

    @property
    def verdict(self) -> Verdict:
        """Of all figures together."""
        said = {moved.verdict for moved in self.moved}
        if Verdict.DRIFTED in said:
            return Verdict.DRIFTED
        return Verdict.STEADY if Verdict.STEADY in said else Verdict.TOO_FEW

    @property
    def drifted(self) -> list[str]:
        """What has, by name."""
        return [figure_name(one) for one in self.moved if one.verdict is Verdict.DRIFTED]


@dataclass(frozen=True, slots=True)
class Watch:
    """What there is to say."""

    task: ReadingTask
    case_count: int
    is_capped: bool
    """There are more cases in the period than are counted."""
    drift: Drift | None
    """None where no model serves."""
    agreement: Share | None
    agreement_course: Course
    group: Group | None
    """Whose course that is; None where it is that of all."""
    agreement_tables: Sequence[Table]
    abstention: Share | None
    abstention_course: Course
    reasons: Sequence[tuple[str, int | None]]
    """None where there are too few to say."""
    calibration: Calibration
    reliability: Chart | None
    to_result: Mapping[Priority, Times | None]
    to_signature: Mapping[Priority, Times | None]


def figure_name(moved: Moved) -> str:
    """What pages call a figure."""
    return str(NAMES.get(moved.name, moved.name))


def rough(value: float) -> str:
    """A number in three digits, which tell enough."""
    return format_decimal(value, "0" if abs(value) >= 100 else "@##")


def stretch(seconds: float) -> str:
    """A stretch of time in the unit that reads best."""
    for unit, (limit, length) in _UNITS.items():
        if seconds < limit:
            return f"{rough(seconds / length)}{NO_BREAK}{unit}"
    return _("%(count)s days", count=rough(seconds / DAY_SECONDS))


def watch(task: ReadingTask, *, period: dt.timedelta, step: dt.timedelta, mark: str = "") -> Watch:
    """Count and compare; agreement is followed over time in the group of this mark, in all cases
    where none that can be told has it."""
    until = now()
    since = until - period
    cases = past.cases(since=since, reading_task=task)
    compared, read = figures.compared(cases), figures.read(cases)
    calibration = figures.calibration(cases)

    def course(of: Sequence[PastCase], is_hit: Callable[[PastCase], bool]) -> Course:
        moments = figures.over_time(of, is_hit, since=since, until=until, step=step)
        return Course(moments, chart.over_time(moments))

    def course_of(grouping: Grouping) -> Course:
        moments = figures.over_time_of(
            mark,
            compared,
            lambda case: grouping.mark(grouping.of(case)),
            figures.is_agreed,
            since=since,
            until=until,
            step=step,
        )
        return Course(moments, chart.over_time(moments))

    tables = {one: _table(one, compared) for one in _groupings(task, compared)}
    chosen = _chosen(mark, tables)
    return Watch(
        task=task,
        case_count=len(cases),
        is_capped=len(cases) == past.CASES_MAX,
        drift=drifted_since(task, since),
        agreement=figures.share(compared, figures.is_agreed),
        agreement_course=course_of(chosen[0]) if chosen else course(compared, figures.is_agreed),
        group=chosen[1] if chosen else None,
        agreement_tables=list(tables.values()),
        abstention=figures.share(read, figures.has_abstained),
        abstention_course=course(read, figures.has_abstained),
        reasons=[
            (reason, count if count >= figures.SMALLEST else None)
            for reason, count in past.abstention_reasons(since=since, reading_task=task)
        ],
        calibration=calibration,
        reliability=chart.reliability(calibration),
        to_result=figures.times(cases, lambda case: case.first_read_at),
        to_signature=figures.times(cases, lambda case: case.first_signed_at),
    )


def drifted_since(task: ReadingTask, since: dt.datetime) -> Drift | None:
    """What cases since then look like beside those that the version which serves was tuned on; None
    where none serves."""
    version = champion(task.id)
    if version is None:
        return None
    reference = past.reference(version)
    recent = past.recent(version, since=since, after_id=reference.last_id if reference else 0)
    if reference is None:
        return Drift(version, recent.count, True, ())
    moved = compare(reference.sample, recent)
    return Drift(version, recent.count, reference.is_of_house, moved)


def _chosen(mark: str, tables: Mapping[Grouping, Table]) -> tuple[Grouping, Group] | None:
    """The group of a mark, unless it is kept back."""
    for grouping, table in tables.items():
        for group in table.rows:
            if group.mark == mark and group.share:
                return grouping, group
    return None


def _table(grouping: Grouping, compared: Sequence[PastCase]) -> Table:
    names = {grouping.of(case): grouping.name(case) for case in compared}
    told = figures.shares(compared, grouping.of, figures.is_agreed)
    ordered = sorted(told, key=lambda key: (key is None, str(key)))
    return Table(
        grouping.title, [Group(grouping.mark(key), names[key], told[key]) for key in ordered]
    )


def _groupings(task: ReadingTask, compared: Sequence[PastCase]) -> list[Grouping]:
    findings = {finding.id: translated(finding.name) for finding in task.findings}
    versions = past.versions(compared)
    unknown = _("unknown")
    return [
        Grouping(
            "finding",
            _("Finding that the model named"),
            lambda case: case.shown_id,
            lambda case: findings.get(case.shown_id or 0, unknown),
        ),
        Grouping("age", _("Age"), lambda case: case.age_band, lambda case: _age(case) or unknown),
        Grouping("sex", _("Sex"), lambda case: case.sex, lambda case: str(case.sex.label)),
        Grouping(
            "site",
            _("Body site"),
            lambda case: case.body_site,
            lambda case: case.body_site or unknown,
        ),
        Grouping(
            "version",
            _("Model version"),
            lambda case: case.model_version_id,
            lambda case: versions[case.model_version_id],
        ),
    ]


def _age(case: PastCase) -> str | None:
    if case.age_band is None:
        return None
    low, high = case.age_band
    if (low, high) == figures.AGE_BANDS[-1]:
        return _("%(age)s and older", age=low)
    return _("%(low)s to %(high)s", low=low, high=high)
