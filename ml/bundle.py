"""A bundle: a folder that holds all a model needs to serve, and to be held to account.

``bundle.json`` states what the model reads, finds, is for and is not for; how pictures are
prepared and answers calibrated; where it came from; and the SHA-256 of every other file. The hash
of ``bundle.json`` itself names the bundle. Weights are safetensors: nothing here runs code.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from ml.calibration import Calibration
from ml.gates import Abstention
from ml.jsonfile import write_json
from ml.metadata import MetadataSpec, encoding
from ml.preprocess import PreprocessSpec
from ml.recipe import typed_from_dict

SCHEMA_VERSION = 1
FACTS = "bundle.json"
COMPUTED = ("schema_version", "files")
"""What ``save`` adds to the facts that it is given."""
WEIGHTS = "model.safetensors"
INSTALLED = "FIRSTLOOK_BUNDLES"
"""Names, in the environment, a folder of further bundles, each in a folder called by its hash."""

Array = npt.NDArray[np.float32]


class BundleError(Exception):
    """A bundle cannot be used; ``problems`` says why, one sentence each."""

    def __init__(self, path: Path, problems: list[str]):
        self.path, self.problems = path, problems
        super().__init__(f"{path}: {'; '.join(problems)}")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. ``facts`` is the whole of ``bundle.json``."""

    path: Path
    sha256: str
    facts: Mapping[str, Any]
    preprocess: PreprocessSpec
    abstention: Abstention

    @property
    def reading_task(self) -> str:
        """Code of the reading task."""
        return str(self.facts["reading_task"]["code"])

    @property
    def version(self) -> str:
        """Version of the model, unique within its reading task."""
        return str(self.facts["version"])

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the findings, in the order of the network's outputs."""
        return tuple(finding["code"] for finding in self.facts["findings"])

    @property
    def name(self) -> str:
        """Name of the model, by default its reading task's code."""
        return str(self.facts.get("name") or self.reading_task)

    @property
    def multi_label(self) -> bool:
        """Whether one picture may show several findings."""
        return bool(self.facts["reading_task"].get("multi_label", False))

    @property
    def calibration(self) -> Calibration:
        """How logits become probabilities."""
        stated = self.facts["calibration"]
        offsets = tuple(float(value) for value in stated.get("offsets", ()))
        return Calibration(float(stated["temperature"]), offsets, self.multi_label)

    @property
    def metadata(self) -> MetadataSpec:
        """What is used of a patient's particulars. Raises ValueError for an unknown encoding."""
        return encoding(self.facts["metadata"]["encoding_version"])

    @property
    def thresholds(self) -> npt.NDArray[np.float64]:
        """Operating points (c,): the probability from which on a finding is supported."""
        return self._by_code("operating_points", default=1.0)

    @property
    def conformal_thresholds(self) -> npt.NDArray[np.float64]:
        """The probability (c,) from which on a finding is in the set that holds the truth."""
        return self._by_code("conformal", default=0.0)

    @property
    def decision_weights(self) -> npt.NDArray[np.float64]:
        """What each finding's probability is multiplied by when one is named (c,)."""
        weights = self.facts.get("decision", {}).get("weights", {})
        return np.array([float(weights.get(code, 1.0)) for code in self.codes])

    def _by_code(self, part: str, default: float) -> npt.NDArray[np.float64]:
        stated = self.facts.get(part, {})
        points = [stated.get(code, {}).get("threshold", default) for code in self.codes]
        return np.array([default if point is None else float(point) for point in points])

    def tensors(self) -> dict[str, Array]:
        """The weight file's arrays, stored in half precision, as float32."""
        stored = load_file(self.path / WEIGHTS)
        return {
            name: value.astype(np.float32) if value.dtype == np.float16 else value
            for name, value in stored.items()
        }


def load(path: Path) -> Bundle:
    """Read and verify a bundle. Raises BundleError listing every problem."""
    problems = verify(path)
    if problems:
        raise BundleError(path, problems)
    content = (path / FACTS).read_bytes()
    facts = json.loads(content)
    try:
        bundle = Bundle(
            path=path,
            sha256=hashlib.sha256(content).hexdigest(),
            facts=facts,
            preprocess=typed_from_dict(PreprocessSpec, facts["preprocess"], "preprocess"),
            abstention=typed_from_dict(Abstention, facts["abstention"], "abstention"),
        )
        problems = _unusable(bundle)
        _ = bundle.metadata, bundle.thresholds, bundle.conformal_thresholds
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(path, [f"{FACTS} is incomplete: {error}"]) from error
    if problems:
        raise BundleError(path, problems)
    return bundle


def _unusable(bundle: Bundle) -> list[str]:
    """What a description states that no bundle can mean. Raises KeyError for what is left out."""
    problems = []
    if not (bundle.reading_task and bundle.version):
        problems.append("its reading task or version has no name")
    if not bundle.codes or len(set(bundle.codes)) < len(bundle.codes):
        problems.append("its findings' codes are none, or not different")
    temperature, offsets = bundle.calibration.temperature, bundle.calibration.offsets
    if not 0 < temperature < math.inf:
        problems.append(f"its temperature is {temperature}")
    if len(offsets) not in (0, len(bundle.codes)):
        problems.append(f"it has {len(offsets)} offsets for {len(bundle.codes)} findings")
    tests = {case["file"] for case in bundle.facts["self_test"]}
    strays = sorted(tests - set(bundle.facts["files"]))
    return problems + [f"its self-test reads {name}, which is not part of it" for name in strays]


def verify(path: Path) -> list[str]:
    """Every way in which the folder differs from what its ``bundle.json`` states; empty if none.

    Finds missing, extra and edited files. An edit of ``bundle.json`` itself shows as another
    bundle hash.
    """
    try:
        facts = json.loads((path / FACTS).read_bytes())
        stated: dict[str, str] = dict(facts["files"])
        schema = facts["schema_version"]
    except FileNotFoundError:
        return [f"{FACTS} is missing"]
    except (KeyError, TypeError, ValueError):
        return [f"{FACTS} is not a bundle description"]
    if schema != SCHEMA_VERSION:
        return [f"schema version {schema} is not {SCHEMA_VERSION}"]
    present = hash_files(path)
    return (
        [f"{name} is missing" for name in sorted(stated.keys() - present.keys())]
        + [f"{name} is not part of the bundle" for name in sorted(present.keys() - stated.keys())]
        + [
            f"{name} was edited"
            for name in sorted(stated.keys() & present.keys())
            if stated[name] != present[name]
        ]
    )


def save(path: Path, facts: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Bundle:
    """Write weights and ``bundle.json`` into ``path`` and return the verified bundle.

    ``facts`` is ``bundle.json`` without what is ``COMPUTED``; other files of the
    bundle must already lie in ``path``. Floating-point tensors are stored in half precision.
    """
    path.mkdir(parents=True, exist_ok=True)
    stored = to_bytes({name: halved(value) for name, value in tensors.items()})
    (path / WEIGHTS).write_bytes(stored)
    (path / FACTS).unlink(missing_ok=True)
    complete = {"schema_version": SCHEMA_VERSION, **facts, "files": hash_files(path)}
    write_json(path / FACTS, complete)
    return load(path)


def halved(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Floating-point values in half precision, as they are stored; others unchanged.

    Raises ValueError when a value does not fit half precision's range.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return np.asarray(values, order="C")  # ascontiguousarray gives a scalar a dimension
    with np.errstate(over="ignore"):
        half = np.asarray(values, dtype=np.float16, order="C")
    if not np.isfinite(half).all():
        raise ValueError("a weight lies beyond the range of half precision")
    return half


def hash_files(path: Path) -> dict[str, str]:
    """SHA-256 of every file below ``path`` by its relative POSIX path, ``bundle.json`` apart."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file != path / FACTS)
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }
