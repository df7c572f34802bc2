"""What a clinician sends for an import, and what stands against it, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from wtforms import Field, SelectField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, ValidationError

from webapp import imaging
from webapp.accounts.models import User
from webapp.errors import Invalid
from webapp.imports.reading import MAX_TABLE_BYTES, Archive, TableRow, read_table

_SENTENCES = {
    "table_size": _l("The table is larger than %(limit_mb)d MB."),
    "table_encoding": _l(
        "The table is not in UTF-8. In Excel, save it as “CSV UTF-8 (comma delimited)”."
    ),
    "table_format": _l("This is not a table in CSV: a quotation mark is open or misplaced."),
    "table_empty": _l("The table has no rows."),
    "table_rows": _l("The table has %(count)d rows; at most %(limit)d can be sent at once."),
    "table_cells": _l("Row %(number)d has more cells than there are columns."),
    "archive_size": _l("The archive is larger than %(limit_mb)d MB: send it in parts."),
    "archive_format": _l("This is not a ZIP archive, or it is damaged."),
    "archive_encrypted": _l("The archive has a password. Send one without."),
    "archive_method": _l("The archive is packed in an unusual way. Pack it as an ordinary ZIP."),
    "archive_entries": _l("The archive has more than %(limit)d files."),
}


class ImportForm(FlaskForm):
    """A table, the archive with its images, and the site whose patients they are."""

    site_id = SelectField(
        _l("Site"),
        [InputRequired(_l("Choose the patients' site."))],
        coerce=lambda text: int(text) if text else None,
    )
    table = FileField(_l("Table (CSV)"), [FileRequired(_l("Choose the table."))])
    archive = FileField(_l("Images (ZIP)"), [FileRequired(_l("Choose the archive."))])

    def __init__(self, *, actor: User) -> None:
        super().__init__()
        self._sites = sorted(actor.sites, key=lambda site: site.name)
        self.rows: Sequence[TableRow] = ()
        self.archive_bytes = b""
        prompt = [SelectChoice("", _l("Choose"))]
        self.site_id.choices = prompt + [SelectChoice(str(s.id), s.name) for s in self._sites]
        if len(self._sites) == 1:
            del self.site_id

    def validate_table(self, field: Field) -> None:
        """It can be read, and has no columns that would be passed over."""
        try:
            self.rows = read_table(field.data.read(MAX_TABLE_BYTES + 1))
        except Invalid as error:
            raise ValidationError(_explain(error.reason, error.facts)) from error

    def validate_archive(self, field: Field) -> None:
        """It can be opened."""
        self.archive_bytes = field.data.read(imaging.MAX_ARCHIVE_BYTES + 1)
        try:
            Archive(self.archive_bytes)
        except Invalid as error:
            raise ValidationError(_explain(error.reason, error.facts)) from error

    @property
    def chosen_site_id(self) -> int:
        """The site, once the form is valid."""
        site_id: int = self.site_id.data if self.site_id else self._sites[0].id
        return site_id


def _explain(reason: str, facts: Mapping[str, Any]) -> str:
    if reason != "table_columns":
        return str(_SENTENCES[reason] % facts)
    if facts["unknown"]:
        return _("The table has unknown columns: %(names)s.", names=", ".join(facts["unknown"]))
    if facts["repeated"]:
        return _("The table has columns twice: %(names)s.", names=", ".join(facts["repeated"]))
    return _("The table has no column “file”.")
