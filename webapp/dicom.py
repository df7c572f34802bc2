"""DICOM files, read in a process of their own: the picture, and what the file tells of it."""

import json
import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

READER = Path(__file__).with_name("dicom_reader.py")
TIME_LIMIT_SECONDS = 30
TEXT_LENGTH = 64

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class Unreadable(Exception):
    """The reader gave no picture; `reason` is the value of an `imaging.Reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomFacts:
    """What a file tells of its picture and its patient, as far as a case can use it; never a name,
    and of the day of birth only the year."""

    sop_instance_uid: str | None
    """Names the picture, wherever it goes."""
    study_instance_uid: str | None
    modality: str
    """A code such as CT; empty where the file does not say."""
    identifier: str
    birth_year: int | None
    age_years: int | None
    """When the picture was taken."""
    sex: str | None
    """The value of a `Sex`."""
    side: str | None
    """`left` or `right`."""
    body_part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomPicture:
    """A picture in 8 bits a channel, with what has to be known to keep it."""

    mode: str
    """Pillow's: L, RGB or YCbCr."""
    size: tuple[int, int]
    """Width and height."""
    pixels: bytes
    is_lossy: bool
    notices: tuple[str, ...]
    """Values of `imaging.Notice`."""
    facts: DicomFacts


def read(data: bytes, *, max_pixels: int) -> DicomPicture:
    """Read a file in a process that has little memory and time, and may crash.

    Raises:
        Unreadable: it gives no picture, for a `reason`.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", READER, str(max_pixels)],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders tell there what they found, names among it
            env={"OPENBLAS_NUM_THREADS": "1"},
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unreadable("unreadable") from error
    if done.returncode:
        log.info("the reader of a DICOM file ended with %s", done.returncode)
        raise Unreadable("unreadable")
    head, _, pixels = done.stdout.partition(b"\n")
    answer: dict[str, Any] = json.loads(head)
    if "refused" in answer:
        raise Unreadable(answer["refused"])
    return DicomPicture(
        mode=answer["mode"],
        size=(answer["width"], answer["height"]),
        pixels=pixels,
        is_lossy=answer["lossy"],
        notices=tuple(answer["notices"]),
        facts=_facts(answer["facts"]),
    )


def _facts(told: dict[str, Any]) -> DicomFacts:
    return DicomFacts(
        sop_instance_uid=_uid(told["sop_instance_uid"]),
        study_instance_uid=_uid(told["study_instance_uid"]),
        modality=_text(told["modality"]).upper(),
        identifier=_text(told["identifier"]),
        birth_year=told["birth_year"],
        age_years=told["age_years"],
        sex=told["sex"],
        side=told["side"],
        body_part=_text(told["body_part"]),
    )


def _text(text: str) -> str:
    """One line of what can be printed."""
    words = "".join(character if character.isprintable() else " " for character in text).split()
    return " ".join(words)[:TEXT_LENGTH]


def _uid(text: str) -> str | None:
    return text if len(text) <= TEXT_LENGTH and _UID.fullmatch(text) else None
