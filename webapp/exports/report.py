"""A case's report: one A4 page with the image, the model's answer and the clinician's decision."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from flask_babel import get_locale, ngettext
from flask_babel import gettext as _
from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos
from PIL import Image

from webapp import storage
from webapp.accounts.models import User
from webapp.assessments.models import AssessedImage, Assessment, State
from webapp.cases.models import Case, Particulars, Sex
from webapp.cases.queries import particulars_at
from webapp.catalogue.models import Malignancy
from webapp.catalogue.wording import translated
from webapp.db import now
from webapp.rendering import (
    DISCLAIMER,
    abstention,
    abstention_advice,
    also_over_mark,
    exact_moment,
    image_numbers,
    licence,
    percent,
    sureness,
)
from webapp.reviews.models import Review

FONTS = Path(__file__).parents[2] / "static" / "vendor" / "dejavu-2.35"
"""DejaVu has Latin, Greek, Cyrillic and more; the fonts that readers of PDF have, only Latin."""

MARGIN_MM = 15.0
WIDTH_MM = 210.0 - 2 * MARGIN_MM
PICTURE_MM = 78.0
PICTURE_PX = 1200
LINE_MM = 5.0
PROBABILITIES_MAX = 8
FOOT_MM = 30.0
SCALES = (1.0, 0.9, 0.8, 0.7)
"""Everything is set so much smaller where a page would else run into its foot. At the smallest even
the longest texts that forms take have room, cut as they are."""
GREY, BLACK = 110, 20

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every table it subsets


def report(case: Case, assessment: Assessment, review: Review | None, *, made_by: User) -> bytes:
    """The page as PDF, of what is known now: unsigned, it says that it is preliminary."""
    for scale in SCALES:
        page = _Page(scale)
        page.title_line(case, review)
        page.picture_and_particulars(case, _meant(assessment), review)
        page.answer(case, assessment)
        page.decision(review)
        page.origin(assessment)
        if page.get_y() <= page.h - FOOT_MM:
            break
    page.close(made_by)
    return bytes(page.output())


class _Page(FPDF):
    """One page from top to bottom; what does not fit is cut with a word, never carried over."""

    def __init__(self, scale: float) -> None:
        super().__init__(format="A4")
        self._scale = scale
        self.set_auto_page_break(False)
        self.set_margins(MARGIN_MM, MARGIN_MM)
        self.c_margin = 0.0  # text stands flush with picture and lines
        for style, name in (("", "DejaVuSans"), ("B", "DejaVuSans-Bold")):
            self.add_font("DejaVu", style, FONTS / f"{name}.ttf")
        self.set_lang(str(get_locale()))
        self.add_page()

    def title_line(self, case: Case, review: Review | None) -> None:
        """Which case of whom, and how binding the page is."""
        status = review.status.label if review else _("Preliminary: signed by nobody")
        self.set_title(_("Report of case %(id)s", id=case.id))
        self._words("Firstlook", 9, grey=GREY)
        self._words(_("Report of case %(id)s", id=case.id), 17, "B")
        parts = [translated(case.reading_task.name), status]
        if case.is_demonstration:
            parts.append(_("DEMONSTRATION, no patient"))
        self._words(" · ".join(map(str, parts)), 11)
        self.ln(3)

    def picture_and_particulars(
        self, case: Case, meant: AssessedImage, review: Review | None
    ) -> None:
        """The image that the answer is of, with the patient's particulars beside it."""
        top, side = self.get_y(), PICTURE_MM * self._scale
        if case.patient.erased_at is None:
            self.image(
                _small(meant.image_sha256),
                MARGIN_MM,
                top,
                side,
                side,
                keep_aspect_ratio=True,
                alt_text=_("Image %(number)s of this case", number=meant.position + 1),
            )
        self.set_left_margin(MARGIN_MM + side + 8)
        self.set_y(top)
        for name, value in _particulars(case, review):
            self._words(name, 8, grey=GREY)
            self._words(value, 10, lines=2)
            self.ln(1)
        self.set_left_margin(MARGIN_MM)
        self.set_y(max(self.get_y(), top + side) + 4)

    def answer(self, case: Case, assessment: Assessment) -> None:
        """What the model said, or why it said nothing."""
        self._heading(_("What the model said"))
        finding, terms = assessment.finding, assessment.terms
        is_answered = assessment.state is State.COMPLETED
        if is_answered and finding and terms and assessment.probability is not None:
            said = f"{translated(finding.name)}, {percent(assessment.probability)}"
            self._words(said, 13, "B", lines=2)
            if also := assessment.also:
                self._words(also_over_mark(also.finding.name, also.probability), 10, "B")
            if terms.malignancy is not Malignancy.NONE:
                self._words(str(terms.malignancy.label), 10, "B")
            if unanswered := [image for image in assessment.images if image.abstained]:
                self._words(_unanswered(unanswered), 10, "B", lines=2)
            advice = translated(terms.recommendation)
            self._words(f"{sureness(assessment.probability)} {advice}", 10, lines=3)
            self._words(_probabilities(assessment), 8, grey=GREY, lines=3)
            if possible := _possible(assessment):
                self._words(possible, 8, grey=GREY, lines=2)
        elif assessment.state is State.ABSTAINED:
            self._words(_("No answer from the model"), 13, "B")
            expected = assessment.model_version.facts.modality or case.reading_task.description
            reasons = {image.abstention_reason or "" for image in assessment.images}
            self._words(
                " ".join(
                    f"{abstention(reason, expected)} {abstention_advice(reason)}".strip()
                    for reason in sorted(reasons)
                ),
                10,
                lines=4,
            )
        else:
            self._words(str(assessment.state.label), 13, "B")
            if assessment.failure:
                self._words(str(assessment.failure.label), 10, lines=2)

    def decision(self, review: Review | None) -> None:
        """What the clinician decided, and where they sign on paper."""
        self._heading(_("What the clinician decided"))
        if review is None:
            self._words(_("Nobody has signed yet."), 11)
        else:
            self._words(review.in_words, 13, "B", lines=2)
            if review.comment:
                self._words(review.comment, 10, lines=6)
            if review.reason:
                self._words(_("Reason: %(reason)s", reason=review.reason), 9, lines=3)
            signed = _(
                "Version %(version)s, signed by %(name)s, %(moment)s",
                version=review.version,
                name=review.reviewer.full_name,
                moment=exact_moment(review.signed_at),
            )
            self._words(signed, 9, grey=GREY, lines=2)
        self.ln(9)
        here = self.get_y()
        self.line(MARGIN_MM, here, MARGIN_MM + 80, here)
        self.line(MARGIN_MM + 100, here, MARGIN_MM + WIDTH_MM, here)
        self.set_font("DejaVu", "", 8)
        self.cell(100, LINE_MM, _("Signature"))
        self.cell(80, LINE_MM, _("Date"), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def origin(self, assessment: Assessment) -> None:
        """Which model, under which licence, and how it was run."""
        version = assessment.model_version
        self._heading(_("Where the answer is from"))
        name = translated(version.reading_task.name)
        parts = [
            _("%(task)s, version %(version)s", task=name, version=version.version),
            _("licence %(licence)s", licence=licence(version.licence)),
        ]
        parts += [part for part in (assessment.engine, assessment.code_version) if part]
        self._words(" · ".join(parts), 8, lines=2)
        bundle, given = _("Bundle"), _("All input")
        self._words(f"{bundle} SHA-256 {version.bundle_sha256}", 8)
        self._words(f"{given} SHA-256 {assessment.input_sha256}", 8)
        self._words(translated(version.intended_use), 8, lines=3)

    def close(self, made_by: User) -> None:
        """The disclaimer, and who took the page out and when, at the foot."""
        self.set_y(-FOOT_MM)
        self._words(str(DISCLAIMER), 8, "B", lines=2)
        made = _(
            "Made by %(name)s, %(moment)s. What was decided later is not on it.",
            name=made_by.full_name,
            moment=exact_moment(now()),
        )
        self._words(made, 8, grey=GREY, lines=2)

    def _heading(self, text: str) -> None:
        self.ln(3)
        self._words(text.upper(), 8, "B", grey=GREY)

    def _words(
        self, text: str, size_pt: float, style: str = "", *, grey: int = BLACK, lines: int = 1
    ) -> None:
        """A paragraph of at most so many lines."""
        size_pt *= self._scale
        self.set_font("DejaVu", style, size_pt)
        self.set_text_color(grey)
        height = size_pt * 0.45 + 0.6
        ways: dict[str, Any] = {"dry_run": True, "output": MethodReturnValue.LINES}
        fitting = cast(list[str], self.multi_cell(0, height, text, **ways))
        if len(fitting) > lines:
            fitting = [*fitting[: lines - 1], f"{fitting[lines - 1][:-2]} …"]
        for line in fitting:
            self.cell(0, height, line, new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _particulars(case: Case, review: Review | None) -> list[tuple[str, str]]:
    """What is signed was signed with what was on record then."""
    patient = case.patient
    on_record = Particulars.of(patient)
    known = particulars_at(patient, review.signed_at) if review else on_record
    unknown = _("unknown")
    age = known.age_in(case)
    said = [
        (_("Patient"), patient.identifier),
        (_("Site"), patient.site.name),
        (_("Born in"), str(known.birth_year or unknown)),
        (_("Sex"), unknown if known.sex is Sex.UNKNOWN else str(known.sex.label)),
        (_("Age at acquisition"), unknown if age is None else str(age)),
        (_("Submitted"), exact_moment(case.submitted_at)),
        (_("Images"), str(len(case.images))),
    ]
    if case.body_site:
        said.insert(5, (_("Body site"), translated(case.body_site)))
    if known != on_record:
        said.append((_("Corrected since"), on_record.in_words))
    if case.note:
        said.append((_("Note"), case.note))
    return said


def _unanswered(images: Sequence[AssessedImage]) -> str:
    return ngettext(
        "Image %(numbers)s has no answer: read it yourself.",
        "Images %(numbers)s have no answer: read them yourself.",
        len(images),
        numbers=image_numbers(image.position for image in images),
    )


def _probabilities(assessment: Assessment) -> str:
    """Of the image that the answer is of, the most probable findings."""
    return ", ".join(
        f"{translated(said.finding.name)} {percent(said.probability)}"
        for said in _meant(assessment).predictions[:PROBABILITIES_MAX]
    )


def _possible(assessment: Assessment) -> str:
    """The findings that stay possible; empty where the model states no such set."""
    coverage = assessment.model_version.facts.coverage
    if coverage is None:
        return ""
    possible = _meant(assessment).possible
    names = ", ".join(translated(finding.name) for finding in possible)
    lead = _("Stays possible:") if len(possible) == 1 else _("Stay possible:")
    held = _(
        "A finding that is there is named here in %(coverage)s of cases like those that the model"
        " was tuned on.",
        coverage=percent(coverage),
    )
    return f"{lead} {names}. {held}"


def _meant(assessment: Assessment) -> AssessedImage:
    """The image that the answer is of; the first where there is none."""
    named = [
        image
        for image in assessment.images
        if image.finding_id == assessment.finding_id and not image.abstained
    ]
    return max(named or assessment.images[:1], key=lambda image: image.probability or 0.0)


def _small(sha256: str) -> Image.Image:
    """A stored image at a size that prints well."""
    picture = Image.open(io.BytesIO(storage.get(sha256)))
    picture.draft("RGB", (PICTURE_PX, PICTURE_PX))
    picture.thumbnail((PICTURE_PX, PICTURE_PX))
    return picture.convert("RGB")
