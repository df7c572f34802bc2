"""The form of a new case as programs fill it in, held to the rules of the page."""

import enum
import hashlib
from collections.abc import Mapping
from typing import Any

from flask_babel import gettext as _
from werkzeug.datastructures import MultiDict
from wtforms import Field

from webapp.accounts.models import User
from webapp.api.schemas import NewCase
from webapp.errors import Invalid
from webapp.triage import queries
from webapp.triage.new_case_forms import NewCaseForm

PAGE_NAMES = {"site": "site_id"}
"""What the form of the page calls a field otherwise."""
_API_NAMES = {page_name: name for name, page_name in PAGE_NAMES.items()}


class CaseForm(NewCaseForm):
    """A new case as it was sent by a program, which names reading tasks and sites by their names
    and not by the numbers of their rows."""

    class Meta:
        csrf = False  # a request is let in by its access token, which no other site can have sent

        def wrap_formdata(self, form: "CaseForm", _formdata: Any) -> MultiDict[str, Any]:
            """What was checked and translated, in place of what the request brought."""
            return form.sent

    def __init__(self, said: NewCase, *, actor: User, form_token: str) -> None:
        reading_tasks = queries.offered_reading_tasks()
        numbers = {
            "reading_task": {task.code: task.id for task in reading_tasks},
            "site": {site.name: site.id for site in actor.sites},
        }
        self.sent = _as_form(said, numbers)
        self.sent["form_token"] = form_token
        super().__init__(actor=actor, reading_tasks=reading_tasks, body_sites=queries.body_sites())

    def validate_form_token(self, field: Field) -> None:
        """It names the request, and was handed out with no page."""

    def check(self) -> None:
        """
        Raises:
            Invalid: `bad_input`, with every reason by its field.
        """
        if not self.validate():
            raise Invalid(
                "bad_input",
                errors=[
                    {"field": _API_NAMES.get(name, name) if name else "", "detail": str(sentence)}
                    for name, sentences in [*self.errors.items(), ("", self.taken_over)]
                    for sentence in sentences
                ],
            )


def request_token(actor: User, key: str) -> str:
    """What names a request as a form's token names the form; each user's keys are their own."""
    return hashlib.sha256(f"api {actor.id} {key}".encode()).hexdigest()


def _as_form(said: NewCase, numbers: Mapping[str, Mapping[str, int]]) -> MultiDict[str, Any]:
    sent: MultiDict[str, Any] = MultiDict()
    for name, value in said.model_dump(exclude_defaults=True).items():
        if name in numbers:
            value = _number(name, value, numbers[name])
        values = value if isinstance(value, list) else [_text(value)]
        sent.setlist(PAGE_NAMES.get(name, name), values)
    return sent


def _number(name: str, value: str, numbers: Mapping[str, int]) -> int:
    if value not in numbers:
        known = _("One of these: %(known)s.", known=", ".join(sorted(numbers)))
        raise Invalid("bad_input", errors=[{"field": name, "detail": known}])
    return numbers[value]


def _text(value: Any) -> Any:
    """As a browser would send it."""
    if isinstance(value, bool):
        return "y" if value else ""
    return value.value if isinstance(value, enum.Enum) else str(value)
