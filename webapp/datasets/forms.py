"""What administrators fill in to register a data set, and to freeze a snapshot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from wtforms import BooleanField, Field, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, ValidationError

from webapp import imaging
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.wording import translated
from webapp.config import current_settings
from webapp.datasets.models import Dataset
from webapp.datasets.services import NAME_LENGTH_MAX, TEXT_LENGTH_MAX

MAX_TABLE_BYTES = 20_000_000

_NEEDED = _l("This is needed.")
_TOO_LONG = _l("At most %(max)d characters.")


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def _text(text: str | None) -> str:
    return (text or "").replace("\r\n", "\n").strip()


def _task_choices(tasks: Sequence[ReadingTask]) -> list[SelectChoice]:
    prompt = SelectChoice("", _l("Choose"))
    return [prompt, *(SelectChoice(str(task.id), translated(task.name)) for task in tasks)]


class DatasetForm(FlaskForm):
    """A data set: what it is, on what terms, and its files."""

    reading_task_id = SelectField(
        _l("Reading task"), [InputRequired(_l("Choose the reading task."))], coerce=_number
    )
    name = StringField(
        _l("Name"),
        [DataRequired(_NEEDED), Length(max=NAME_LENGTH_MAX, message=_TOO_LONG)],
        [_text],
    )
    source = StringField(
        _l("Publisher and address"),
        [Length(max=1000, message=_TOO_LONG)],
        [_text],
        description=_l("So that others can find it."),
    )
    licence = StringField(
        _l("Licence"),
        [DataRequired(_NEEDED), Length(max=1000, message=_TOO_LONG)],
        [_text],
        description=_l(
            "The terms that its publisher states. They count for what is trained on it."
        ),
    )
    folder = SelectField(_l("Folder on the server"))
    table = FileField(_l("Table (manifest.csv)"))
    archive = FileField(_l("Images (ZIP)"))

    def __init__(self, tasks: Sequence[ReadingTask], folders: Sequence[str]) -> None:
        super().__init__()
        self.reading_task_id.choices = _task_choices(tasks)
        prompt = SelectChoice("", _l("None: I send the files"))
        self.folder.choices = [prompt, *(SelectChoice(name, name) for name in folders)]
        self.table_bytes = self.archive_bytes = b""
        if not folders:
            del self.folder
            self.table.flags.required = self.archive.flags.required = True

    def validate_table(self, field: Field) -> None:
        """It is there, unless a folder has it."""
        self.table_bytes = self._sent(field, MAX_TABLE_BYTES, _("Choose the table."))

    def validate_archive(self, field: Field) -> None:
        """It is there, unless a folder has it."""
        limit = imaging.MAX_ARCHIVE_BYTES
        self.archive_bytes = self._sent(field, limit, _("Choose the archive."))

    @property
    def chosen_folder(self) -> Path | None:
        """Where the files are on the server; None where they are sent."""
        root = current_settings().datasets_root
        return root / self.folder.data if root and self.folder and self.folder.data else None

    def _sent(self, field: Field, limit: int, missing: str) -> bytes:
        if self.chosen_folder is not None:
            return b""
        data: bytes = field.data.read(limit + 1) if field.data else b""
        if not data:
            raise ValidationError(missing)
        if len(data) > limit:
            raise ValidationError(
                _(
                    "The file is larger than %(limit)d MB: register it on the command line.",
                    limit=limit // 1_000_000,
                )
            )
        return data


class SnapshotForm(FlaskForm):
    """What is to be frozen."""

    reading_task_id = SelectField(
        _l("Reading task"), [InputRequired(_l("Choose the reading task."))], coerce=_number
    )
    dataset_id = SelectField(_l("Base data set"), coerce=_number)
    includes_agreement = BooleanField(
        _l("Also learn from agreement alone"),
        description=_l(
            "Cases on which a clinician only agreed with what the model had said. They teach the"
            " model its own opinion; left out unless you have a reason."
        ),
    )
    note = TextAreaField(
        _l("Note"),
        [Length(max=TEXT_LENGTH_MAX, message=_TOO_LONG)],
        [_text],
        description=_l("What it is for."),
    )

    def __init__(self, tasks: Sequence[ReadingTask], datasets: Sequence[Dataset]) -> None:
        super().__init__()
        self._datasets = {dataset.id: dataset for dataset in datasets}
        self.reading_task_id.choices = _task_choices(tasks)
        self.dataset_id.choices = [
            SelectChoice("", _l("None: the house's own cases alone")),
            *(
                SelectChoice(str(each.id), f"{each.name} ({translated(each.reading_task.name)})")
                for each in datasets
            ),
        ]

    def validate_dataset_id(self, field: Field) -> None:
        """It is of the reading task."""
        dataset = self.dataset
        if dataset and dataset.reading_task_id != self.reading_task_id.data:
            raise ValidationError(_("This data set is for another reading task."))

    @property
    def dataset(self) -> Dataset | None:
        """The base that was chosen."""
        chosen: Any = self.dataset_id.data
        return self._datasets.get(chosen)
