"""What is measured: upload to result, heat map, drain, memory, list page."""

import datetime as dt
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from tests.bench.rows import Archive, let_wait, store
from tests.datasets import drawn_snapshot
from tests.stack import Client, Stack, wait_until
from webapp.accounts.queries import user_named
from webapp.assessments.models import AssessedImage, Assessment, State
from webapp.cases.models import Case
from webapp.cases.services import NewImage
from webapp.config import REPOSITORY
from webapp.db import db
from webapp.explanations import services as explanations
from webapp.explanations.models import Explanation
from webapp.registry.models import ModelVersion
from webapp.training import services as training
from webapp.training.models import Stage
from webapp.training.queries import get_recipe, get_run, recipes

PAGES_A_SECOND = 5
TRAINED_ON = 200
"""Pictures of each of two findings."""
HEAT_MAP_SECONDS = 180
"""The first one loads torch."""
TRAINING_SECONDS = 300
"""A trainer begins at idle priority."""
MEBIBYTE = 2**20
LIST_PAGES = {
    "/cases": 30,
    "/cases?page=2": 8,
    "/cases?page=40": 4,
    "/cases?sort=newest": 12,
    "/cases?sort=oldest": 4,
    "/cases?state=failed": 8,
    "/cases?state=completed&priority=stat": 6,
    "/cases?priority=asap&sort=oldest": 6,
    "/cases?finding=blood-cell/basophil": 3,
    "/cases?show=all&first_day=2020-01-01": 3,
    "/cases?identifier=00": 6,
    "/cases?identifier=0123": 10,
    "/cases?identifier=0123456&sort=newest": 6,
}
"""What people look at, and how often of a hundred times."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value."""

    name: str
    value: float
    unit: str
    goal: str = ""


class Bench:
    """The measurements on one running instance; `pictures` are cycled through."""

    def __init__(self, stack: Stack, pictures: Sequence[bytes]) -> None:
        self.stack = stack
        self.pictures = pictures
        self.username = stack.add_user()

    def fill(self, case_count: int) -> None:
        """Give the worklist its past."""
        with self.stack.rows():
            actor = user_named(self.username)
            assert actor is not None
            Archive(actor=actor, case_count=case_count).write()

    def upload_to_result(self, count: int) -> list[Figure]:
        """One case after another, from opening the form to its result in the database."""
        return self._upload_to_result(count, "upload to result")

    def upload_during_training(
        self, count: int, at_rest: Sequence[Figure], *, recipe: str, folder: Path
    ) -> list[Figure]:
        """The same while a trainer trains; `at_rest` is what it was before, `recipe` what is
        trained, and `folder` takes the pictures."""
        run_id = self._begin_training(recipe, folder)
        before = self._epochs(run_id)
        figures = self._upload_to_result(count, "upload to result during a training")
        learnt = self._epochs(run_id) - before
        with self.stack.rows():
            training.cancel(actor=None, run=get_run(run_id))
        wait_until(lambda: not self._stage(run_id), "the end of the training", TRAINING_SECONDS)
        self.stack.kill("trainer")
        against = figures[-1].value / at_rest[-1].value
        return [
            *figures,
            Figure(
                "95th percentile during a training against at rest", against, "times", "at most 2"
            ),
            Figure("epochs that were trained meanwhile", learnt, ""),
        ]

    def _begin_training(self, recipe: str, folder: Path) -> int:
        """The number of a run that is in the middle of its training."""
        self.stack.start("trainer")

        def is_known() -> bool:
            with self.stack.rows():
                return any(entry.name == recipe for entry in recipes())

        wait_until(is_known, "the trainer's start", TRAINING_SECONDS)
        with self.stack.rows():
            run_id = training.request_run(
                actor=None,
                snapshot=drawn_snapshot(folder, ("basophil", "eosinophil"), TRAINED_ON),
                recipe=get_recipe(recipe),
                overrides={"training.epochs": 10_000, "training.patience_epochs": 10_000},
            ).id
        wait_until(lambda: self._stage(run_id) is Stage.TRAINING, "a training", TRAINING_SECONDS)
        return run_id

    def _stage(self, run_id: int) -> Stage | None:
        with self.stack.rows():
            return get_run(run_id).stage

    def _epochs(self, run_id: int) -> float:
        """How many were trained, the part of the one that goes on included."""
        with self.stack.rows():
            run = get_run(run_id)
            assert run.progress, run.state
            return run.share_done * float(run.progress["epochs"])

    def _upload_to_result(self, count: int, name: str) -> list[Figure]:
        client = self.stack.sign_in()
        pictures = itertools.cycle(self.pictures)
        took_ms = []
        for _ in range(count):
            began = dt.datetime.now(dt.UTC)
            case_id = client.submit([next(pictures)])
            self.stack.wait_for(case_id)
            with self.stack.rows():
                ended = db.session.scalars(
                    select(Assessment.completed_at).where(Assessment.case_id == case_id)
                ).one()
            took_ms.append((ended - began).total_seconds() * 1000)
        return [
            Figure(f"{name}, median", statistics.median(took_ms), "ms"),
            Figure(f"{name}, 95th percentile", percentile(took_ms, 95), "ms"),
        ]

    def heat_maps(self, count: int) -> list[Figure]:
        """From asking where the model looked to the map, one after another, of so many of the
        images that were read last. The first of a process, which loads the network, counts apart.
        """
        with self.stack.rows():
            answered = db.session.scalars(
                select(AssessedImage.id)
                .where(AssessedImage.abstained.is_(False))
                .order_by(AssessedImage.id.desc())
                .limit(count)
            ).all()
        first_ms: dict[str | None, float] = {}
        warm_ms = []
        for read_id in answered:
            process, took_ms = self._heat_map(read_id)
            if process in first_ms:
                warm_ms.append(took_ms)
            else:
                first_ms[process] = took_ms
        figures = [Figure("heat map, the first of a process", max(first_ms.values()), "ms")]
        if warm_ms:
            figures += [
                Figure("heat map, median", statistics.median(warm_ms), "ms"),
                Figure("heat map, 95th percentile", percentile(warm_ms, 95), "ms", "under 2000"),
            ]
        return figures

    def _heat_map(self, read_id: int) -> tuple[str | None, float]:
        """Which process made the map of an image, and how many milliseconds after it was asked."""
        with self.stack.rows():
            actor = user_named(self.username)
            assert actor is not None
            read = db.session.get_one(AssessedImage, read_id)
            asked_id = explanations.request(actor=actor, read=read).id

        def made() -> tuple[str | None, float] | None:
            with self.stack.rows():
                asked = db.session.get_one(Explanation, asked_id)
                assert asked.state is not State.FAILED, asked.last_error
                if asked.completed_at is None:
                    return None
                took = asked.completed_at - asked.scheduled_at
                return asked.claimed_by, took.total_seconds() * 1000

        return wait_until(made, "a heat map", HEAT_MAP_SECONDS)

    def drain(self, count: int) -> list[Figure]:
        """Waiting cases through the worker, and through a bare loop on the same blobs."""
        images = self._stored(count)
        self.stack.kill("worker")
        waiting = self._let_wait(images)
        self.stack.start("worker")
        self.stack.wait_ready()
        with _resident_sizes(self.stack) as sizes:
            self._wait_until_read(waiting)
        with self.stack.rows():
            begun, ended = db.session.execute(
                select(func.min(Assessment.started_at), func.max(Assessment.completed_at)).where(
                    Assessment.id >= waiting[0], Assessment.id <= waiting[-1]
                )
            ).one()
        took = (ended - begun).total_seconds()
        self.stack.kill("worker")  # the bare loop has the machine to itself
        bare = self._bare_loop([image.sha256 for image in images])
        self.stack.start("worker")
        self.stack.wait_ready()
        early, late = sizes[len(sizes) // 4], sizes[-1]
        return [
            Figure("drain by two children", count / took, "cases/s"),
            Figure("bare loop in two processes", count / bare, "images/s"),
            Figure("drain against bare loop", 100 * bare / took, "%", "at least 75"),
            Figure("memory of a child, a quarter through", early / MEBIBYTE, "MiB"),
            Figure("memory of a child, at the end", late / MEBIBYTE, "MiB"),
            Figure("growth meanwhile", (late - early) / MEBIBYTE, "MiB", "flat"),
        ]

    def list_page(self, seconds: int) -> list[Figure]:
        """The worklist at rest."""
        return self._list_page("at rest", seconds, "under 200")

    def list_page_while_busy(self, seconds: int, cases_a_second: float) -> list[Figure]:
        """The worklist while every child reads case after case."""
        images = self._stored(max(1, int(cases_a_second * (seconds + 30))))
        self._let_wait(images)
        wait_until(lambda: self._count(State.IN_PROGRESS), "work began")
        figures = self._list_page("workers busy", seconds, "under 400")
        waiting = self._count(State.SCHEDULED)
        return [*figures, Figure("cases that still waited at its end", waiting, "", "above 0")]

    def _list_page(self, situation: str, seconds: int, goal: str) -> list[Figure]:
        """Pages asked for at an even pace, whether or not the ones before have come."""
        clients = [self.stack.sign_in() for _ in range(8)]
        chance = random.Random(1)
        paths = chance.choices([*LIST_PAGES], [*LIST_PAGES.values()], k=PAGES_A_SECOND * seconds)
        began = time.perf_counter() + 1

        def open_page(number: int, client: Client, path: str) -> float:
            due = began + number / PAGES_A_SECOND
            time.sleep(max(0, due - time.perf_counter()))
            client.get(path).raise_for_status()
            return (time.perf_counter() - due) * 1000

        with ThreadPoolExecutor(len(clients)) as pool:
            took_ms = list(pool.map(open_page, itertools.count(), itertools.cycle(clients), paths))
        with self.stack.rows():
            case_count = db.session.scalars(select(func.count()).select_from(Case)).one()
        name = f"list page of {case_count:,} cases, {situation}"
        return [
            Figure(f"{name}, median", statistics.median(took_ms), "ms"),
            Figure(f"{name}, 95th percentile", percentile(took_ms, 95), "ms", goal),
        ]

    def _stored(self, count: int) -> list[NewImage]:
        with self.stack.rows():
            images = store(self.pictures[:count])
        return list(itertools.islice(itertools.cycle(images), count))

    def _let_wait(self, images: Sequence[NewImage]) -> list[int]:
        with self.stack.rows():
            actor = user_named(self.username)
            assert actor is not None
            return let_wait(actor=actor, images=images)

    def _count(self, state: State) -> int:
        return self.stack.state_counts().get(state, 0)

    def _wait_until_read(self, waiting: Sequence[int]) -> None:
        still_open = select(Assessment.id).where(
            Assessment.id.in_(waiting),
            Assessment.state.in_([State.SCHEDULED, State.IN_PROGRESS]),
        )

        def all_read() -> bool:
            time.sleep(0.5)
            with self.stack.rows():
                return db.session.scalars(still_open.limit(1)).first() is None

        wait_until(all_read, f"the end of {len(waiting)} cases", seconds=5 * len(waiting))

    def _bare_loop(self, hashes: Sequence[str]) -> float:
        """Seconds that two processes take together."""
        with self.stack.rows():
            bundle_sha256 = db.session.scalars(select(ModelVersion.bundle_sha256)).one()
        with tempfile.TemporaryDirectory() as folder:
            processes = []
            for half in (0, 1):
                file = Path(folder) / str(half)
                file.write_text("\n".join(hashes[half::2]))
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "tests.bench.bare_loop", bundle_sha256, file],
                        cwd=REPOSITORY,
                        env=self.stack.environment,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
            for process in processes:
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                process.stdin.write("begin\n")
                process.stdin.flush()
            return max(float(process.communicate()[0]) for process in processes)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many per cent of the others do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@contextmanager
def _resident_sizes(stack: Stack) -> Iterator[list[int]]:
    """The resident memory of the largest child, in bytes, twice a second."""
    children = wait_until(stack.worker_children, "the worker forked")
    done = threading.Event()

    def size() -> int:
        return max(child.memory_info().rss for child in children)

    sizes = [size()]

    def sample() -> None:
        while not done.wait(0.5):
            sizes.append(size())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield sizes
    finally:
        done.set()
        thread.join()
