"""From a snapshot to the folder that a training reads."""

import csv
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml.datasets import packed
from ml.datasets.copying import sha256_of
from ml.datasets.manifest import SEPARATOR, Record
from ml.jsonfile import write_json
from webapp import storage
from webapp.datasets.house import TUNE_SHARE
from webapp.datasets.models import Dataset, Side, Snapshot
from webapp.datasets.queries import (
    LEFT_OUT,
    LockedTest,
    get_snapshot,
    locked_test,
    withdrawn_pseudonyms,
)
from webapp.worker.testing import registered_manifest, registered_test

SPLITS = {Side.TRAIN: "train", Side.TUNE: "val", Side.TEST: "test"}
"""What a recipe whose `data.split` is `published` calls the sides."""
HOUSE = "house"
"""The source of the house's own pictures."""
OWN_TERMS = "the house's own pictures by the consent of its patients, not to be passed on"
METADATA = ("age", "sex", "localization")


def materialise(snapshot_id: int, folder: Path) -> Path:
    """Write what a training learns from to a folder, as `ml.train --data` reads it: the base data
    set and the house's own pictures. Returns the folder; the table is written last.

    Nothing of the locked test is in `train` or `val`: it is the `test`, as far as it is registered
    and within reach. Of the house's test patients nothing is there at all, since pictures of a test
    may be carried along in a bundle, and neither is anything of who has withdrawn consent since.

    Raises:
        NotFound: there is no such snapshot, or a picture of the house, or the base, is not in the
            store.
        storage.CorruptBlob, storage.Away, OSError: as `sharing.fetched`.
    """
    snapshot = get_snapshot(snapshot_id)
    folder.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    written: set[str] = set()
    with zipfile.ZipFile(folder / packed.ARCHIVE, "w", zipfile.ZIP_STORED) as archive:
        for record, data in _lessons(snapshot):
            if sha256_of(record) not in written:
                written.add(sha256_of(record))
                archive.writestr(record.file, data)
                records.append(record)
    write_json(folder / packed.FACTS, _facts(snapshot, records))
    packed.write_manifest(folder / packed.MANIFEST, records)
    return folder


def _facts(snapshot: Snapshot, records: Sequence[Record]) -> dict[str, Any]:
    """What the bundle, its card and its licence are to say of the data, in the words of cards."""
    base, sides = snapshot.dataset, Counter(record.split for record in records)
    own = [record for record in records if record.source == HOUSE]
    patients = len({record.subject for record in own})
    test_count = sides[SPLITS[Side.TEST]]
    frozen = f"snapshot {snapshot.id} (table {snapshot.manifest_sha256})"
    return {
        "name": f"snapshot-{snapshot.id}",
        "title": base.name if base else f"Own cases alone, frozen as {frozen}",
        "source": base.source if base else "",
        "licence": "; ".join([*([base.licence] if base else []), *([OWN_TERMS] if own else [])]),
        "own_pictures": f"{len(own)} pictures of {patients} patients of the house that trained it, "
        f"frozen as {frozen}"
        if base and own
        else "",
        "snapshot": snapshot.id,
        "manifest_sha256": snapshot.manifest_sha256,
        "base_content_sha256": base.content_sha256 if base else None,
        "own_image_count": len(own),
        "own_patient_count": patients,
        "locked_test": {
            "image_count": test_count,
            "missing_count": len(locked_test(snapshot.reading_task).hashes) - test_count,
        },
        "count": len(records),
    }


def sides_of(records: Sequence[Record], locked: LockedTest) -> dict[str, str]:
    """Where each picture of a data set must be, by file: a `Side`, or `LEFT_OUT`.

    Where the locked test says which pictures tune, all others that are free train. Else what is
    published as `val` tunes, what is published as `test` is left out, and without either a tenth
    of the subjects tunes.
    """
    fixed = {record.file: locked.side(sha256_of(record), record.subject) for record in records}
    tunes = Side.TUNE in fixed.values()
    return {
        record.file: fixed[record.file] or (Side.TRAIN if tunes else _free_side(record))
        for record in records
    }


def _free_side(record: Record) -> str:
    published = {"train": Side.TRAIN, "val": Side.TUNE, "test": LEFT_OUT}
    if record.split in published:
        return published[record.split]
    digest = hashlib.sha256((record.subject or record.file).encode()).digest()
    return Side.TUNE if digest[0] < 256 * TUNE_SHARE else Side.TRAIN


def _lessons(snapshot: Snapshot) -> Iterator[tuple[Record, bytes]]:
    """Everything with its bytes: first the test, so that nothing of it comes again."""
    test = registered_test(snapshot.reading_task)
    for record in test.records:
        yield replace(record, split=SPLITS[Side.TEST]), test.read(record.file)
    rows = _house_rows(snapshot)
    tested = {row["sha256"] for row in rows if row["side"] == Side.TEST}
    if snapshot.dataset is not None:
        yield from _of_base(snapshot.dataset, locked_test(snapshot.reading_task), tested)
    yield from _of_house(rows, withdrawn_pseudonyms(snapshot))


def _of_base(
    dataset: Dataset, locked: LockedTest, tested: set[str]
) -> Iterator[tuple[Record, bytes]]:
    manifest = registered_manifest(dataset)
    sides = sides_of(manifest.records, locked)
    for record in manifest.records:
        side = sides[record.file]
        if side in (Side.TRAIN, Side.TUNE) and sha256_of(record) not in tested:
            yield replace(record, split=SPLITS[Side(side)]), manifest.read(record.file)


def _of_house(
    rows: Sequence[Mapping[str, str]], withdrawn: frozenset[str]
) -> Iterator[tuple[Record, bytes]]:
    for row in rows:
        if row["side"] == Side.TEST or row["subject"] in withdrawn:
            continue
        record = Record(
            file=f"{HOUSE}/{row['sha256']}",
            labels=tuple(row["labels"].split(SEPARATOR)),
            subject=row["subject"],
            split=SPLITS[Side(row["side"])],
            source=HOUSE,
            metadata={name: row[name] for name in METADATA if row[name]},
        )
        yield record, storage.get(row["sha256"])


def _house_rows(snapshot: Snapshot) -> list[dict[str, str]]:
    text = storage.get(snapshot.manifest_sha256).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))
