"""From a claimed data set to its checked copy, or to what stands against it."""

import csv
import io
import logging
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from ml.datasets import packed
from ml.datasets.copying import Copied, copy
from ml.datasets.manifest import Manifest
from webapp import storage
from webapp.assessments import leases
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.catalogue.models import ReadingTask
from webapp.config import current_settings
from webapp.datasets import services
from webapp.datasets.models import Problem
from webapp.datasets.queries import locked_test
from webapp.datasets.services import Checked, Claim, Found, Upload
from webapp.errors import NotFound
from webapp.imaging import MAX_BYTES
from webapp.registry.queries import champion
from webapp.worker import inference, lease, sharing
from webapp.worker.materialising import sides_of

log = logging.getLogger(__name__)

KEPT_SECONDS = 6 * 60 * 60
"""Large sets take their time, and the process that has hung is ended by its job's limit."""


class Refused(Exception):
    """A data set cannot be learnt from at all."""

    def __init__(self, problem: Problem, example: str = "") -> None:
        self.found = Found(problem, examples=(example,) if example else ())
        super().__init__(problem.value)


def step() -> bool:
    """Check the data set that has waited longest; False if none waits.

    Raises what nobody foresaw, once it is on record.
    """
    claim = services.claim(worker=leases.own_name(), lease_seconds=current_settings().lease_seconds)
    if claim is None:
        return False
    with lease.Heartbeat(services.KIND.extend_lease, kept_seconds=KEPT_SECONDS) as heartbeat:
        heartbeat.keep(claim.lease_token)
        try:
            _check(claim)
        except Refused as refused:
            _end(claim, None, [refused.found])
        except Exception as error:
            attempt = FailedAttempt(inference.described(error), Failure.UNEXPECTED)
            services.KIND.fail_attempt(claim.dataset_id, claim.lease_token, attempt)
            raise
    return True


def _check(claim: Claim) -> None:
    home = current_settings().datasets_dir
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    task = claim.reading_task
    with tempfile.TemporaryDirectory(dir=home, prefix=".") as draft:
        folder = Path(draft) / "copy"
        copied = copy(
            opened(claim.files),
            folder,
            codes=[finding.code for finding in task.findings],
            multi_label=_shows_several(task),
        )
        found = [Found(Problem(one.kind), one.count, one.examples) for one in copied.troubles]
        if not copied.records:
            _end(claim, None, [Found(Problem.NO_PICTURES), *found])
            return
        pictures_sha256 = sharing.keep(folder, copied.content_sha256)
        _end(claim, _checked(copied, pictures_sha256, task), found)


def opened(files: Path | Upload) -> Manifest:
    """The records of a data set, and a way to read their pictures.

    Raises:
        Refused: the table or the archive is not there, or cannot be read.
    """
    try:
        if isinstance(files, Path):
            return packed.read(files)
        return _uploaded(files)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, NotFound) as error:
        raise Refused(Problem.MISSING_FILES, str(error)) from error
    except (KeyError, UnicodeDecodeError, csv.Error, zipfile.BadZipFile) as error:
        raise Refused(Problem.UNREADABLE_TABLE, f"{type(error).__name__}: {error}") from error


def _uploaded(files: Upload) -> Manifest:
    """What was uploaded: its archive leads to no file, and no picture may be larger than one that
    clinicians send."""
    table = io.StringIO(storage.get(files.table_sha256).decode("utf-8-sig"), newline="")
    records = packed.records(table)
    archive = zipfile.ZipFile(io.BytesIO(storage.get(files.archive_sha256)))

    def read(file: str) -> bytes:
        if archive.getinfo(file).file_size > MAX_BYTES:
            raise OSError(f"{file} is larger than {MAX_BYTES} bytes")
        return archive.read(file)

    return Manifest(records, read)


def _shows_several(task: ReadingTask) -> bool:
    """Whether a picture may show several findings at once, as the model that serves has it."""
    version = champion(task.id)
    return version is not None and version.facts.multi_label


def _checked(copied: Copied, pictures_sha256: str, task: ReadingTask) -> Checked:
    sides = sides_of(copied.records, locked_test(task))
    return Checked(
        content_sha256=copied.content_sha256,
        pictures_sha256=pictures_sha256,
        image_count=len(copied.records),
        subject_count=copied.subject_count,
        counts=copied.counts,
        sides=dict(Counter(sides.values())),
        duplicates={"near": copied.near_count, "disagree": copied.disagree_count},
    )


def _end(claim: Claim, checked: Checked | None, found: list[Found]) -> None:
    if not services.complete(claim=claim, checked=checked, found=found):
        log.warning("data set %s was lost meanwhile", claim.dataset_id)
