"""The filters of the worklist, and the name under which they are kept."""

import enum
from collections.abc import Sequence
from typing import Any, TypeVar

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import DateField, Field, Form, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, Optional, ValidationError

from webapp.accounts.models import User
from webapp.assessments.models import State
from webapp.cases.queries import normal_identifier
from webapp.cases.services import plain_text
from webapp.catalogue.models import Priority, ReadingTask
from webapp.catalogue.wording import translated
from webapp.errors import Conflict
from webapp.reviews.models import ReportStatus
from webapp.triage.filters import Filters, Scope, Sort
from webapp.triage.forms import IDENTIFIER_LENGTH, choices
from webapp.triage.models import SavedFilter

SAVED_NAME_LENGTH = SavedFilter.name.type.length

_ANY = SelectChoice("", _l("Any"))

Member = TypeVar("Member", bound=enum.StrEnum)


class WorklistForm(Form):
    """The filters of the worklist, from a query string; what cannot be used is left out."""

    identifier = StringField(
        _l("Patient identifier begins with"),
        filters=[lambda text: normal_identifier(text or "")[:IDENTIFIER_LENGTH]],
    )
    state = SelectField(
        _l("State"),
        choices=[_ANY, *choices(state for state in State if state is not State.CANCELLED)],
    )
    priority = SelectField(_l("Priority"), choices=[_ANY, *choices(reversed(Priority))])
    reading_task = SelectField(_l("Reading task"))
    finding = SelectField(_l("Finding"))
    status = SelectField(_l("Report"), choices=[_ANY, *choices(ReportStatus)])
    reviewer = SelectField(_l("Decided by"))
    first_day = DateField(_l("Submitted from, by UTC"), [Optional()])
    last_day = DateField(_l("Submitted to, by UTC"), [Optional()])
    show = SelectField(_l("Show"), choices=choices(Scope), default=Scope.OPEN.value)
    sort = SelectField(
        _l("Order"),
        choices=choices(Sort),
        default=Sort.DUE.value,
    )

    MORE = ("finding", "status", "reviewer", "first_day", "last_day")
    """Fields that are folded away until one is used."""

    def __init__(
        self,
        arguments: Any,
        *,
        reading_tasks: Sequence[ReadingTask],
        reviewers: Sequence[User],
    ) -> None:
        super().__init__(arguments)
        self._finding_ids = {
            f"{task.code}/{finding.code}": finding.id
            for task in reading_tasks
            for finding in task.findings
        }
        self.finding.choices = [
            _ANY,
            *(
                SelectChoice(
                    f"{task.code}/{finding.code}",
                    translated(finding.name),
                    optgroup=translated(task.name),
                )
                for task in reading_tasks
                for finding in task.findings
            ),
        ]
        self._reviewer_ids = {user.username: user.id for user in reviewers}
        self.reviewer.choices = [
            _ANY,
            *(SelectChoice(user.username, user.full_name) for user in reviewers),
        ]
        self._reading_task_ids = {task.code: task.id for task in reading_tasks}
        self.reading_task.choices = [
            _ANY,
            *(SelectChoice(task.code, translated(task.name)) for task in reading_tasks),
        ]
        asked = self.filters()
        if asked.wants_decided and asked.scope is Scope.OPEN:
            self.show.data = Scope.ALL.value  # nothing undecided can fit
        self.sort.data = self.filters().order.value

    def filters(self) -> Filters:
        """The filters that were asked for."""
        return Filters(
            scope=_member(Scope, self.show.data) or Scope.OPEN,
            identifier=self.identifier.data or "",
            state=_member(State, self.state.data),
            priority=_member(Priority, self.priority.data),
            reading_task_id=self._reading_task_ids.get(self.reading_task.data),
            finding_id=self._finding_ids.get(self.finding.data),
            status=_member(ReportStatus, self.status.data),
            reviewer_id=self._reviewer_ids.get(self.reviewer.data),
            first_day=self.first_day.data,
            last_day=self.last_day.data,
            sort=_member(Sort, self.sort.data) or Sort.DUE,
        )

    @property
    def uses_more(self) -> bool:
        """One of the fields that are folded away is used."""
        return any(self[name].data for name in self.MORE)

    def arguments(self) -> dict[str, str]:
        """The part of the query string that says the same again."""
        return {name: str(value) for name, value in self.data.items() if value}

    def lasting_arguments(self) -> dict[str, str]:
        """What of it can be kept under a name: no patient, and nothing that cannot be used."""
        self.validate()
        lasting = (field for field in self if field.data and not field.errors)
        return {field.name: str(field.data) for field in lasting if field is not self.identifier}


class SaveFilterForm(FlaskForm):
    """The name under which filters of the worklist are kept."""

    name = StringField(
        _l("Name"),
        [
            InputRequired(_l("Give the filters a name.")),
            Length(max=SAVED_NAME_LENGTH, message=_l("At most %(max)d characters.")),
        ],
        filters=[lambda text: plain_text(text or "")],
    )

    def validate_name(self, field: Field) -> None:
        """Spaces alone are no name."""
        if not field.data:
            raise ValidationError(_("Give the filters a name."))

    def explain(self, conflict: Conflict) -> None:
        """Say what stands against one more."""
        sentence = _(
            "You have saved %(limit)s filters already. Remove one first.",
            limit=conflict.facts["limit"],
        )
        self.name.errors = [*self.name.errors, sentence]


def _member(kind: type[Member], value: str | None) -> Member | None:
    return kind(value) if value in list(kind) else None
