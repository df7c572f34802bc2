"""Figures for Prometheus, asked of the database at each scrape.

Nothing is counted in memory: the web server is several processes, and most of what there is to know
happens in others. Drift, which takes hundreds of readings and moves in days, is asked of it anew
every ten minutes only.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterable

from flask import current_app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from webapp.catalogue.queries import reading_tasks
from webapp.db import now
from webapp.monitoring import figures, past, queries
from webapp.monitoring.drift import Verdict
from webapp.monitoring.overview import drifted_since
from webapp.monitoring.readiness import Check, checks

DRIFT_PERIOD = dt.timedelta(days=30)
"""The shortest that the page knows: an alarm is to come early."""
DRIFT_KEPT_SECONDS = 600
DRIFT = "drift_figures"
"""Under which name each process of the web server keeps them."""


def exposition() -> bytes:
    """Everything in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Installation())
    return generate_latest(registry)


class _Installation(Collector):
    """All figures, as they are now."""

    def collect(self) -> Iterable[Metric]:
        found = checks()
        yield from _readiness(found)
        if found[0].problem:  # no database, and no more to be told
            return
        yield from _work()
        yield _workers()
        yield from _last_day()
        yield from _drift()


def _readiness(found: list[Check]) -> Iterable[Metric]:
    ready = not any(check.problem for check in found)
    yield GaugeMetricFamily(
        "firstlook_ready", "1 if the installation does its work", value=float(ready)
    )
    by_check = GaugeMetricFamily(
        "firstlook_check_ok", "1 if this is as it has to be", labels=["check"]
    )
    for check in found:
        by_check.add_metric([check.name], float(not check.problem))
    yield by_check


def _work() -> Iterable[Metric]:
    rows = GaugeMetricFamily(
        "firstlook_work_rows", "Rows of work that are not done", labels=["kind", "state"]
    )
    oldest = GaugeMetricFamily(
        "firstlook_work_oldest_waiting_seconds",
        "How long the row waits that waits longest; 0 if none does",
        labels=["kind"],
    )
    for kind in queries.kinds():
        backlog = queries.backlog(kind, shown=0)
        rows.add_metric([kind.word, "waiting"], backlog.waiting_count)
        rows.add_metric([kind.word, "claimed"], backlog.claimed_count)
        rows.add_metric([kind.word, "failed"], backlog.failed_count)
        since = backlog.oldest_waiting_at
        oldest.add_metric([kind.word], (now() - since).total_seconds() if since else 0)
    yield rows
    yield oldest


def _workers() -> Metric:
    silent = GaugeMetricFamily(
        "firstlook_worker_silent_seconds",
        "Since a process gave its latest sign of life",
        labels=["part", "worker"],
    )
    for worker in queries.workers():
        silent.add_metric([worker.part, worker.name], (now() - worker.seen_at).total_seconds())
    return silent


def _last_day() -> Iterable[Metric]:
    cases = past.cases(since=now() - dt.timedelta(days=1))
    by_state = GaugeMetricFamily(
        "firstlook_day_cases",
        "Cases sent within 24 hours, by the state of their reading; 10,000 at most",
        labels=["state"],
    )
    for state, count in sorted(Counter(case.state for case in cases).items()):
        by_state.add_metric([state], count)
    yield by_state
    seconds = GaugeMetricFamily(
        "firstlook_day_seconds",
        "From upload to the first result or signature, of cases sent within 24 hours",
        labels=["until", "priority", "quantile"],
    )
    for until, times in (
        ("result", figures.times(cases, lambda case: case.first_read_at)),
        ("signature", figures.times(cases, lambda case: case.first_signed_at)),
    ):
        for priority, took in times.items():
            if took is not None:
                seconds.add_metric([until, priority, "0.5"], took.median_seconds)
                seconds.add_metric([until, priority, "0.95"], took.p95_seconds)
    yield seconds


def _drift() -> Iterable[Metric]:
    made_at, metrics = current_app.extensions.get(DRIFT, (-DRIFT_KEPT_SECONDS, ()))
    if time.monotonic() - made_at >= DRIFT_KEPT_SECONDS:
        made_at, metrics = time.monotonic(), _drift_today()
        current_app.extensions[DRIFT] = made_at, metrics
    yield from metrics


def _drift_today() -> list[Metric]:
    """As the page tells it of the last 30 days, of each reading task that a model serves."""
    apart = GaugeMetricFamily(
        "firstlook_drift_ratio",
        "The part of recent cases that lies elsewhere than those that the model was tuned on",
        labels=["reading_task", "figure"],
    )
    verdicts = GaugeMetricFamily(
        "firstlook_drift_verdict",
        "1 for what there is to say of all figures together: drifted, steady or too_few cases",
        labels=["reading_task", "verdict"],
    )
    cases = GaugeMetricFamily(
        "firstlook_drift_cases",
        "Recent cases that it was told from; of the newest 500 within 30 days",
        labels=["reading_task"],
    )
    for task in reading_tasks():
        drift = drifted_since(task, now() - DRIFT_PERIOD)
        if drift is None:
            continue
        cases.add_metric([task.code], drift.recent_count)
        for verdict in Verdict:
            verdicts.add_metric([task.code, verdict], float(drift.verdict is verdict))
        for moved in drift.moved:
            if moved.verdict is not Verdict.TOO_FEW:
                apart.add_metric([task.code, moved.name], moved.distance)
    told_at = GaugeMetricFamily(
        "firstlook_drift_timestamp_seconds", "When drift was told", value=time.time()
    )
    return [apart, verdicts, cases, told_at]
