"""What an administrator sends to have a bundle installed."""

import re

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from wtforms import Field, StringField
from wtforms.validators import Optional, ValidationError

from webapp import imaging
from webapp.bundles.archive import BundleArchive
from webapp.bundles.refusals import sentence
from webapp.errors import Invalid

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BundleForm(FlaskForm):
    """An archive with a bundle, and the hash that it should have."""

    archive = FileField(_l("Bundle (ZIP)"), [FileRequired(_l("Choose the archive."))])
    expected_sha256 = StringField(
        _l("Hash that the bundle should have"),
        [Optional()],
        filters=[lambda text: (text or "").strip().lower()],
    )

    def __init__(self) -> None:
        super().__init__()
        self.archive_bytes = b""

    def validate_archive(self, field: Field) -> None:
        """It can be opened; whether it holds a bundle that can be used is for a worker to say."""
        self.archive_bytes = field.data.read(imaging.MAX_ARCHIVE_BYTES + 1)
        try:
            if len(self.archive_bytes) > imaging.MAX_ARCHIVE_BYTES:
                raise Invalid("archive_size", limit_mb=imaging.MAX_ARCHIVE_BYTES // 1_000_000)
            BundleArchive(self.archive_bytes)
        except Invalid as error:
            problem = {"reason": error.reason, **error.facts}
            raise ValidationError(sentence(problem)) from error

    def validate_expected_sha256(self, field: Field) -> None:
        """A SHA-256, as a sender tells it."""
        if not _SHA256.fullmatch(field.data):
            raise ValidationError(_l("A hash has 64 digits, 0 to 9 and a to f."))
