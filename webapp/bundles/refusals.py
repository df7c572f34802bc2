"""Why a bundle is refused, in words."""

from collections.abc import Mapping
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

SENTENCES = {
    "archive_size": _l("The archive holds more than %(limit_mb)s MB."),
    "archive_format": _l("This is not a ZIP archive, or it is damaged."),
    "archive_damaged": _l("A file of the archive is damaged."),
    "archive_encrypted": _l("The archive has a password. Send one without."),
    "archive_method": _l("The archive is packed in an unusual way. Pack it as an ordinary ZIP."),
    "archive_entries": _l("The archive has more than %(limit)s files."),
    "archive_link": _l("The archive holds something that is no plain file: %(name)s."),
    "archive_name": _l("The archive holds a name that no bundle has: %(name)s."),
    "archive_kind": _l("The archive holds a kind of file that no bundle has: %(name)s."),
    "archive_twice": _l("The archive holds a file twice: %(name)s."),
    "no_bundle": _l("The archive holds no bundle.json at its top, or in one folder."),
    "other_bundle": _l("It is another bundle than you expect: its hash is %(sha256)s."),
    "not_stated": _l("Its bundle.json does not say, or not in the right form: %(name)s."),
    "not_a_bundle": _l("It is no whole bundle: %(sentence)s."),
    "engine": _l("Its network cannot run here: %(sentence)s"),
    "self_test": _l("On its own test pictures it does not give the answers that it states."),
    "version_taken": _l("Another bundle has version %(version)s of %(reading_task)s already."),
    "other_findings": _l(
        "The reading task %(reading_task)s is here already, with other findings than it has."
    ),
}


def sentence(problem: Mapping[str, Any]) -> str:
    """A problem of an installation, or the facts of a refusal beside its reason."""
    told = SENTENCES.get(problem["reason"])
    return str(told) % problem if told else _("It cannot be used.")
