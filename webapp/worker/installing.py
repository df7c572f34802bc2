"""From a claimed installation to a registered model version, or to the reasons against it."""

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml import bundle as bundles
from ml.bundle import BundleError
from ml.decode import Unreadable
from ml.engines import EngineError
from webapp import storage
from webapp.assessments import leases
from webapp.assessments.leases import FailedAttempt
from webapp.assessments.models import Failure
from webapp.bundles import services
from webapp.bundles.archive import BundleArchive
from webapp.bundles.services import Claim
from webapp.catalogue.models import Malignancy, Priority
from webapp.config import current_settings
from webapp.errors import Conflict, Invalid, NotFound
from webapp.registry.models import ModelVersion
from webapp.registry.queries import installed
from webapp.worker import install, lease
from webapp.worker.fetching import SelfTestFailed
from webapp.worker.inference import described

log = logging.getLogger(__name__)

KEPT_SECONDS = 900
"""So long the export of a large network may take, on a machine that is busy."""
SHORT_SIDE_PX_MAX = 2048
"""Of the pictures that a network is shown: more would take the memory of a whole worker."""

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_NAME_LENGTH_MAX = 120
_AWAY = (storage.CorruptBlob, NotFound, OSError)
"""What the store raises: no fault of the bundle's."""
_UNFIT = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What a description that no bundle has makes of the code that reads it."""


class Refused(Exception):
    """A bundle cannot be installed; `problems` says why, a `reason` each and what it names."""

    def __init__(self, *problems: Mapping[str, Any]) -> None:
        self.problems = problems
        super().__init__(problems)


def step() -> bool:
    """Do the installation that has waited longest; False if none waits.

    Raises what nobody foresaw, once it is on record.
    """
    claim = services.claim(
        worker=leases.own_name(),
        lease_seconds=current_settings().lease_seconds,
    )
    if claim is None:
        return False
    with lease.Heartbeat(services.KIND.extend_lease, kept_seconds=KEPT_SECONDS) as heartbeat:
        heartbeat.keep(claim.lease_token)
        _do(claim)
    return True


def _do(claim: Claim) -> None:
    try:
        version = _install(claim)
    except Refused as refusal:
        is_written = services.refuse(claim=claim, problems=refusal.problems)
    except Exception as error:
        attempt = FailedAttempt(described(error), Failure.UNEXPECTED)
        services.KIND.fail_attempt(claim.installation_id, claim.lease_token, attempt)
        if not isinstance(error, _AWAY):
            raise
        return
    else:
        is_written = services.complete(claim=claim, version=version)
    if not is_written:
        log.warning("installation %s was lost meanwhile", claim.installation_id)


def _install(claim: Claim) -> ModelVersion:
    """
    Raises:
        Refused: it is no bundle that can be installed here.
    """
    data = storage.get(claim.archive_sha256)
    with tempfile.TemporaryDirectory(dir=current_settings().instance_dir, prefix=".") as folder:
        path = Path(folder) / "bundle"
        try:
            BundleArchive(data).unpack(path)
            bundle = bundles.load(path)
            if claim.expected_sha256 not in (None, bundle.sha256):
                raise Refused({"reason": "other_bundle", "sha256": bundle.sha256})
            unstated = list(not_stated(bundle.facts))
            if unstated:
                raise Refused(*({"reason": "not_stated", "name": name} for name in unstated))
            sender = claim.requested_by  # None at the command line, by whoever runs all of this
            install.install(path, actor=sender, waits=sender is not None)
        except (Invalid, Conflict) as error:
            raise Refused({"reason": error.reason, **error.facts}) from error
        except BundleError as error:
            problems = ({"reason": "not_a_bundle", "sentence": one} for one in error.problems)
            raise Refused(*problems) from error
        except EngineError as error:
            sentence = str(error).strip().rpartition("\n")[2]
            raise Refused({"reason": "engine", "sentence": sentence}) from error
        except (SelfTestFailed, Unreadable) as error:
            raise Refused({"reason": "self_test"}) from error
        except _UNFIT as error:
            log.warning("a bundle is refused for what it says of itself", exc_info=True)
            raise Refused({"reason": "not_a_bundle", "sentence": described(error)}) from error
    version = installed(bundle.sha256)
    if version is None:
        raise RuntimeError(f"{bundle.sha256} is installed and not registered")
    return version


def not_stated(facts: Mapping[str, Any]) -> Iterator[str]:
    """What pages tell of every model and this description does not say, or not as text."""
    task = facts["reading_task"]
    for name, value in (
        ("version", facts.get("version")),
        ("licence", facts.get("licence")),
        ("intended_use", facts.get("intended_use")),
        ("reading_task.name", task.get("name")),
        ("reading_task.description", task.get("description")),
    ):
        if not (isinstance(value, str) and value.strip()):
            yield name
    if len(facts["version"]) > 40:
        yield "version"
    if len(task["name"]) > _NAME_LENGTH_MAX:
        yield "reading_task.name"
    if not _CODE.fullmatch(task["code"]):
        yield "reading_task.code"
    if not facts["self_test"]:
        yield "self_test"
    if not 0 < facts["preprocess"]["native_short_side_px"] <= SHORT_SIDE_PX_MAX:
        yield "preprocess.native_short_side_px"
    for number, finding in enumerate(facts["findings"]):
        yield from (f"findings[{number}].{name}" for name in _unsaid(finding))


def _unsaid(finding: Mapping[str, Any]) -> Iterator[str]:
    for name in ("name", "description", "recommendation"):
        if not isinstance(finding.get(name), str):
            yield name
    if not _CODE.fullmatch(finding["code"]):
        yield "code"
    if finding.get("malignancy") not in list(Malignancy):
        yield "malignancy"
    if finding.get("urgency") not in list(Priority):
        yield "urgency"
    if len(finding["name"]) > _NAME_LENGTH_MAX:
        yield "name"
    if not isinstance(finding.get("severity"), int):
        yield "severity"
