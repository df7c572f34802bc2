"""A storm over the whole house: processes are killed while work is in progress, nothing is lost.

Clients send cases over HTTP, and send the same form again for as long as it is not answered, as a
person would. Meanwhile workers, broker and web server get kill -9, one at a time, each while a row
is in progress: the inference processes are stopped first (SIGSTOP), the row is looked at, and then
the blow falls. In the end every case must have exactly one answer.
"""

import contextlib
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ParamSpec, TypeVar

import psutil
import requests
from sqlalchemy import func, select

from tests.stack import Client, Refused, Stack, Stuck, wait_until
from tests.unit.ml.factories import picture_bytes
from webapp import audit
from webapp.assessments.models import AssessedImage, Assessment, Prediction, State
from webapp.audit import AuditEvent
from webapp.cases.models import Case, Patient
from webapp.catalogue.models import Finding
from webapp.db import db

P = ParamSpec("P")
T = TypeVar("T")

IMAGES_A_CASE = 4
PICTURE_SIDE_PX = 1024
"""Side to which the bundle scales a picture: large, so that a case takes a while."""
SENDERS = 2
HEAD_START = 12
"""How many cases may be sent beyond the share of the kills that are done."""
RESUME_SECONDS_MAX = 10
SHARE_SECONDS = 120
"""The kills are spread over the cases; the next share of these is answered within this time."""


class Target(StrEnum):
    """What is killed."""

    PARENT = "worker parent"
    CHILD = "worker child"
    BROKER = "broker"
    WEB_CHILD = "web process"
    WEB = "web server"


@dataclass(frozen=True)
class Goals:
    """What a storm must at least have been: a mild one proves nothing."""

    case_count: int
    kill_count: int
    mid_inference_count: int
    outage_seconds: float = 0.0


@dataclass
class Report:
    """What happened, and what is wrong with what is left."""

    goals: Goals
    sent_count: int = 0
    seconds: float = 0.0
    kills: Counter[Target] = field(default_factory=Counter)
    mid_inference_count: int = 0
    resent_count: int = 0
    accepted_in_outage_count: int = 0
    outage_seconds: float = 0.0
    resumed_after_seconds: float | None = None
    second_attempt_count: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """The goals that were not reached."""
        goals = self.goals
        reached = {
            "cases sent": (self.sent_count, goals.case_count),
            "kills": (self.kills.total(), goals.kill_count),
            "kills in mid-inference": (self.mid_inference_count, goals.mid_inference_count),
            "seconds of broker outage": (self.outage_seconds, goals.outage_seconds),
        }
        return [
            f"only {count:.0f} {name}, not {goal:.0f}"
            for name, (count, goal) in reached.items()
            if count < goal
        ]

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        return [*self.lost, *self.twice, *self.stuck, *self.other, *self.missed]

    @property
    def is_clean(self) -> bool:
        """The storm was as strong as it had to be, and nothing was lost, done twice or stuck."""
        return not self.problems

    def table(self) -> str:
        """The report as lines of a table."""
        rows = [
            ("cases sent", f"{self.sent_count} in {self.seconds:.0f} s"),
            *((f"kill -9 of a {target}", f"{count}") for target, count in self.kills.items()),
            ("kills, each with a row in progress", f"{self.kills.total()}"),
            ("of them in mid-inference", f"{self.mid_inference_count}"),
            ("forms sent again", f"{self.resent_count}"),
            ("rows that needed another attempt", f"{self.second_attempt_count}"),
        ]
        if self.outage_seconds:
            resumed = self.resumed_after_seconds
            rows += [
                ("broker outage", f"{self.outage_seconds:.0f} s"),
                ("cases accepted meanwhile", f"{self.accepted_in_outage_count}"),
                ("work resumed after", "never" if resumed is None else f"{resumed:.1f} s"),
            ]
        rows += [
            ("lost", f"{len(self.lost)}"),
            ("done twice", f"{len(self.twice)}"),
            ("stuck", f"{len(self.stuck)}"),
        ]
        return "\n".join([*(f"{name:<38}{value}" for name, value in rows), *self.problems])


class Storm:
    """One storm over one stack; `run` gives the report."""

    def __init__(
        self,
        stack: Stack,
        *,
        goals: Goals,
        targets: Sequence[Target],
        settle_seconds: float = 120,
    ) -> None:
        self.stack = stack
        self.targets = targets
        self.outage_seconds = goals.outage_seconds
        self.settle_seconds = settle_seconds
        self.case_count = goals.case_count
        self.report = Report(goals)
        self._numbers = iter(range(self.case_count))
        self._next = threading.Lock()
        self._allowed = HEAD_START
        self._sent: dict[str, int] = {}
        self._failures: list[BaseException] = []

    def run(self) -> Report:
        began = time.monotonic()
        senders = [
            threading.Thread(target=self._send_share, args=(self.stack.sign_in(),), daemon=True)
            for _ in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        steps = len(self.targets) + 1
        for number, target in enumerate(self.targets):
            share = self.case_count * number // steps
            wait_until(
                lambda share=share: self._ended_count() >= share, f"answer {share}", SHARE_SECONDS
            )
            self._strike(target)
            self._allowed = HEAD_START + self.case_count * (number + 1) // steps
        if self.outage_seconds:
            self._outage()
        self._allowed = self.case_count
        for sender in senders:
            sender.join(timeout=self.settle_seconds)
        with contextlib.suppress(Stuck):
            wait_until(self._all_ended, "the end of all work", self.settle_seconds)
        self.report.seconds = time.monotonic() - began
        self._look_at_what_is_left()
        return self.report

    # Sending

    def _send_share(self, client: Client) -> None:
        try:
            for number in self._numbers_in_turn():
                identifier = f"storm-{number}"
                images = [
                    picture_bytes(seed=number * IMAGES_A_CASE + i) for i in range(IMAGES_A_CASE)
                ]
                form = self._insist(client.fill, images, identifier=identifier)
                self._sent[identifier] = self._insist(client.send, form)
        except BaseException as error:
            self._failures.append(error)

    def _numbers_in_turn(self) -> Iterator[int]:
        while True:
            with self._next:
                number = next(self._numbers, None)
            if number is None:
                return
            while number >= self._allowed:
                time.sleep(0.05)
            yield number

    def _insist(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a page answers, asked again until it does."""
        deadline = time.monotonic() + self.settle_seconds
        while True:
            try:
                return ask(*args, **kwargs)
            except (requests.RequestException, Refused):
                if time.monotonic() > deadline:
                    raise
                self.report.resent_count += 1
                time.sleep(0.2)

    # Killing

    def _strike(self, target: Target) -> None:
        stack = self.stack
        children = self._catch()
        if target is Target.PARENT:
            parent = stack.worker_parent()
            assert parent is not None
            parent.kill()  # its children end with it
        elif target is Target.CHILD:
            self._holder(children).kill()
        elif target is Target.WEB_CHILD:
            stack.web_children()[0].kill()
        elif target is Target.BROKER:
            stack.kill("broker")
        else:
            stack.kill("web")
        _signal(children, signal.SIGCONT)
        self.report.kills[target] += 1
        self.report.mid_inference_count += 1
        if target is Target.BROKER:
            time.sleep(1)
            stack.start("broker")
        elif target is Target.WEB:
            stack.start("web")

    def _catch(self) -> list[psutil.Process]:
        """Stop the inference processes at a moment when one of them is in mid-inference: its row
        is claimed, its answer is not being written, and no kill has hit the row before."""

        def caught() -> list[psutil.Process] | None:
            children = self.stack.worker_children()
            if not self._rows_of(children):
                return None
            _signal(children, signal.SIGSTOP)
            rows = self._rows_of(children)
            if rows and max(rows.values()) == 1 and not self._is_writing():
                return children
            _signal(children, signal.SIGCONT)
            return None

        return wait_until(caught, "a row in progress", 60)

    def _rows_of(self, children: Sequence[psutil.Process]) -> dict[int, int]:
        """Attempts by the process that holds a row now, among these processes."""
        pids = {child.pid for child in children}
        with self.stack.rows():
            held = db.session.execute(
                select(Assessment.claimed_by, Assessment.attempt_count).where(
                    Assessment.state == State.IN_PROGRESS
                )
            ).all()
        by_pid = {int(str(row.claimed_by).rpartition(":")[2]): row.attempt_count for row in held}
        return {pid: attempts for pid, attempts in by_pid.items() if pid in pids}

    def _holder(self, children: Sequence[psutil.Process]) -> psutil.Process:
        holders = self._rows_of(children)
        return next(child for child in children if child.pid in holders)

    def _is_writing(self) -> bool:
        """Whether anyone is in the middle of a transaction, be it one that was stopped."""
        file = self.stack.settings.instance_dir / "firstlook.db"
        with contextlib.closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as probe:
            try:
                probe.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            probe.execute("ROLLBACK")
            return False

    def _outage(self) -> None:
        children = self._catch()
        self.stack.kill("broker")
        _signal(children, signal.SIGCONT)
        self.report.kills[Target.BROKER] += 1
        self.report.mid_inference_count += 1
        began = time.monotonic()
        sent_before = len(self._sent)
        # The jobs that run go on while there are rows; what is sent after them has to wait.
        time.sleep(self.outage_seconds / 2)
        self._allowed += HEAD_START
        time.sleep(self.outage_seconds / 2)
        self.report.accepted_in_outage_count = len(self._sent) - sent_before
        ended = self._ended_count()
        self.report.outage_seconds = time.monotonic() - began
        self.stack.start("broker")
        wait_until(self.stack.broker_answers, "the broker's return")
        returned = time.monotonic()
        with contextlib.suppress(Stuck):
            wait_until(lambda: self._ended_count() > ended, "the next answer", 60)
            self.report.resumed_after_seconds = time.monotonic() - returned

    # What is left

    def _ended_count(self) -> int:
        counts = self.stack.state_counts()
        return sum(count for state, count in counts.items() if not state.is_open)

    def _all_ended(self) -> bool:
        counts = self.stack.state_counts()
        return len(self._sent) == self.case_count and not any(
            count for state, count in counts.items() if state.is_open
        )

    def _look_at_what_is_left(self) -> None:
        report = self.report
        report.sent_count = len(self._sent)
        report.other += [f"a sender ended with {failure!r}" for failure in self._failures]
        with self.stack.rows():
            filed = db.session.execute(
                select(Patient.identifier, Case.id, Assessment.id, Assessment.state)
                .select_from(Case)
                .join(Patient, Case.patient_id == Patient.id)
                .outerjoin(Assessment, Assessment.case_id == Case.id)
            ).all()
            report.second_attempt_count = db.session.scalar(
                select(func.count()).where(Assessment.attempt_count > 1)
            )
            completions = Counter(
                db.session.scalars(
                    select(AuditEvent.subject_id).where(AuditEvent.action == "assessment.completed")
                )
            )
            finding_count = db.session.scalar(select(func.count(Finding.id)))
            predictions = dict(
                db.session.execute(
                    select(AssessedImage.assessment_id, func.count())
                    .join(Prediction, Prediction.assessed_image_id == AssessedImage.id)
                    .group_by(AssessedImage.assessment_id)
                ).all()
            )
            report.other += [problem.sentence for problem in audit.verify()]
        case_counts = Counter(identifier for identifier, *_ in filed)
        case_ids = {identifier: case_id for identifier, case_id, *_ in filed}
        report.lost += [
            f"{identifier} was accepted as case {case_id}, which is not there"
            for identifier, case_id in self._sent.items()
            if case_ids.get(identifier) != case_id
        ]
        report.twice += [
            f"{identifier} has {count} cases or assessments"
            for identifier, count in case_counts.items()
            if count > 1
        ]
        for identifier, _, assessment_id, state in filed:
            name = f"{identifier} (assessment {assessment_id})"
            if state is None or state is State.FAILED:
                report.lost.append(f"{name} has no answer: {state}")
            elif state.is_open:
                report.stuck.append(f"{name} is {state}")
            elif completions[assessment_id] != 1:
                report.twice.append(f"{name} was completed {completions[assessment_id]} times")
            elif predictions.get(assessment_id) != IMAGES_A_CASE * finding_count:
                report.twice.append(f"{name} has {predictions.get(assessment_id)} predictions")
        if self.outage_seconds and (
            report.resumed_after_seconds is None
            or report.resumed_after_seconds > RESUME_SECONDS_MAX
        ):
            report.other.append(f"work did not resume within {RESUME_SECONDS_MAX} s")


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
