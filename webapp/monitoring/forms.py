"""Of which reading task, and of how long a time, figures are wanted."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from flask_babel import lazy_gettext as _l
from wtforms import Form, SelectField
from wtforms.fields import SelectChoice

from webapp.catalogue.models import ReadingTask
from webapp.catalogue.wording import translated

PERIODS = {
    "30": (_l("The last 30 days"), dt.timedelta(days=5)),
    "90": (_l("The last 90 days"), dt.timedelta(days=10)),
    "365": (_l("The last 365 days"), dt.timedelta(days=30)),
}
"""By days: their name, and the steps in which figures are drawn."""


class PeriodForm(Form):
    """What cannot be used is as if nothing was said."""

    reading_task = SelectField(_l("Reading task"))
    days = SelectField(
        _l("Period"), choices=[SelectChoice(days, name) for days, (name, _step) in PERIODS.items()]
    )

    def __init__(self, arguments: Any, tasks: Sequence[ReadingTask]) -> None:
        super().__init__(arguments)
        self._tasks = {str(task.id): task for task in tasks}
        self.reading_task.choices = [
            SelectChoice(number, translated(task.name)) for number, task in self._tasks.items()
        ]
        if self.reading_task.data not in self._tasks:
            self.reading_task.data = next(iter(self._tasks), "")
        if self.days.data not in PERIODS:
            self.days.data = "90"

    def chosen_task(self) -> ReadingTask:
        """Of which figures are wanted."""
        return self._tasks[self.reading_task.data]

    def period(self) -> dt.timedelta:
        """How far back they reach."""
        return dt.timedelta(days=int(self.days.data))

    def step(self) -> dt.timedelta:
        """How long a time each point of a drawing stands for."""
        return PERIODS[self.days.data][1]
