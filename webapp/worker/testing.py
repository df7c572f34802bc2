"""The pictures that models are compared on, out of the data sets that are registered."""

from collections.abc import Sequence
from dataclasses import replace

from ml.datasets import packed
from ml.datasets.copying import sha256_of
from ml.datasets.manifest import Manifest, Record
from ml.reading_task import ReadingTask as TaskFacts
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.queries import reading_task_by_code
from webapp.datasets.models import Dataset
from webapp.datasets.queries import locked_test, registered
from webapp.errors import NotFound
from webapp.worker import sharing


class TestSetMissing(Exception):
    """Pictures of a locked test are not registered, or out of reach."""

    __test__ = False  # no test of pytest's

    def __init__(self, reading_task: str, missing_count: int, datasets: Sequence[str]) -> None:
        self.reading_task = reading_task
        self.missing_count = missing_count
        self.datasets = tuple(datasets)
        """What has them, as far as that is known."""
        super().__init__(
            f"{missing_count} pictures of the locked test of {reading_task} are not here; "
            f"register: {'; '.join(self.datasets) or 'a data set that has them'}"
        )


def locked_manifest(reading_task_code: str) -> Manifest:
    """Exactly the pictures of the locked test of a reading task, in the order of their hashes.

    Raises:
        NotFound: there is no such reading task.
        storage.CorruptBlob, OSError: as `sharing.fetched`.
        TestSetMissing: not all of them are here, or the reading task has no locked test; then the
            count is 0.
    """
    task = reading_task_by_code(reading_task_code)
    if task is None:
        raise NotFound("reading_task", code=reading_task_code)
    manifest = registered_test(task)
    missing_count = len(locked_test(task).hashes) - len(manifest.records)
    if missing_count or not manifest.records:
        raise TestSetMissing(task.code, missing_count, _known_sources(task))
    return manifest


def registered_test(reading_task: ReadingTask) -> Manifest:
    """What is within reach of the locked test of a reading task, in the order of the hashes.

    Raises:
        storage.CorruptBlob, OSError: as `sharing.fetched`.
    """
    hashes = locked_test(reading_task).hashes
    found: dict[str, tuple[Record, Manifest]] = {}
    for dataset in registered(reading_task.id) if hashes else ():
        if not sharing.is_within_reach(dataset):
            continue
        wanted = hashes - found.keys()
        tested = [record for record in sharing.records(dataset) if sha256_of(record) in wanted]
        if tested:  # only then are its pictures needed here
            manifest = registered_manifest(dataset)
            terms = dataset.licence
            found |= {
                sha256_of(record): (replace(record, licence=record.licence or terms), manifest)
                for record in tested
            }
    ordered = [found[sha256] for sha256 in sorted(found)]
    origin = {record.file: manifest for record, manifest in ordered}
    return Manifest(tuple(record for record, _ in ordered), lambda file: origin[file].read(file))


def registered_manifest(dataset: Dataset) -> Manifest:
    """The checked copy of a data set. Raises as `sharing.fetched`."""
    return packed.read(sharing.fetched(dataset))


def _known_sources(task: ReadingTask) -> list[str]:
    """Data sets that were registered and whose files are elsewhere, or else where the pictures are
    published."""
    elsewhere = [each.name for each in registered(task.id) if not sharing.is_within_reach(each)]
    if elsewhere:
        return elsewhere
    try:
        return [TaskFacts.named(task.code).data_source]
    except FileNotFoundError:
        return []
