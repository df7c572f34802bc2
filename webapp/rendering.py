"""What every page needs: translations, filters, asset addresses, and fragments for htmx."""

import datetime as dt
import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel.core import negotiate_locale
from babel.lists import format_list
from flask import (
    Flask,
    Response,
    current_app,
    has_request_context,
    make_response,
    render_template,
    request,
    url_for,
)
from flask_babel import (
    Babel,
    format_date,
    format_datetime,
    format_decimal,
    format_timedelta,
    get_locale,
    gettext,
    ngettext,
)
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from jinja2 import StrictUndefined
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError

from webapp import storage
from webapp.accounts.models import Language
from webapp.catalogue.wording import translated
from webapp.db import now
from webapp.imaging import Notice

babel = Babel()

DISCLAIMER = _l(
    "Firstlook supports a decision and never makes one. What is shown here comes from a model"
    " that can be wrong; the clinician who knows the patient decides."
)
_LICENCES = {"LicenseRef-research-only": _l("research only")}
_ABSTENTIONS = {
    "too_small": _l("The image is too small to show what the model looks for."),
    "blank": _l("The image is almost empty: it has next to no contrast."),
    "too_dark": _l("The image is too dark."),
    "too_bright": _l("The image is too bright."),
    "blurred": _l("The image is blurred."),
    "unfamiliar": _l("The image is not of the kind that the model was trained on."),
    "ambiguous": _l("Too many findings remain possible."),
    "uncertain": _l("No finding is probable enough to name one."),
}
_RETAKES = {
    "too_small": _l("Take it again from closer, or send the file in its full size."),
    "blank": _l("Check the file and the camera, and take it again."),
    "too_dark": _l("Take it again with more light."),
    "too_bright": _l("Take it again with less light, and without glare."),
    "blurred": _l("Take it again: hold still, and wait for the focus."),
}
"""What would help where the image is at fault."""
_ADVICE = _RETAKES | {
    "unfamiliar": _l(
        "Check that it is what this reading task is for. If it is, the model has not learnt its"
        " kind, and taking it again will not help."
    ),
    "ambiguous": _l("The image may be good: taking it again seldom helps."),
    "uncertain": _l("If the image is good already, taking it again seldom helps."),
}
_METADATA = {"age": _l("Age, years"), "sex": _l("Sex"), "localization": _l("Body site")}
_WITHOUT = {
    "age": _l("Without the age"),
    "sex": _l("Without the sex"),
    "localization": _l("Without the body site"),
}
YEAR_SECONDS = 365 * 24 * 3600
THEMES = ("light", "dark")


def init_app(app: Flask) -> None:
    """Set up translations, and what templates can use."""
    app.config.setdefault("BABEL_DEFAULT_LOCALE", "en")
    app.config.setdefault("BABEL_DEFAULT_TIMEZONE", "UTC")
    babel.init_app(app, locale_selector=chosen_language)
    # A name that a page does not know would leave a silent blank on it; better no page than that.
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        when=when, moment=moment, percent=percent, seconds=seconds, sureness=sureness
    )
    app.jinja_env.filters.update(
        abstention=abstention,
        abstention_advice=abstention_advice,
        day=day,
        day_marks=day_marks,
        day_of=day_of,
        image_numbers=image_numbers,
        licence=licence,
        metadata_name=metadata_name,
        notice=notice,
        number=format_decimal,
        points=points,
        time_left=time_left,
        translated=translated,
        without_metadata=without_metadata,
    )
    app.jinja_env.tests["retakeable"] = _RETAKES.__contains__
    app.jinja_env.globals.update(
        asset=asset,
        get_locale=get_locale,
        chosen_theme=chosen_theme,
        disclaimer=DISCLAIMER,
        poll_pace=poll_pace,
        task_picture=task_picture,
    )
    app.after_request(_keep_hashed_assets)


def chosen_language() -> str:
    """The user's own choice, else what their browser likes best of ours, else English."""
    if not has_request_context():
        return Language.ENGLISH
    liked = [language for language, _quality in request.accept_languages]
    asked = negotiate_locale(liked, list(Language), sep="-")
    return _own_language() or asked or Language.ENGLISH


def _own_language() -> Language | None:
    try:
        return current_user.language if current_user.is_authenticated else None
    except SQLAlchemyError:  # the page that tells of it needs words all the same
        return None


def when(at: dt.datetime) -> Markup:
    """A `<time>` that says how long ago it was, or how far off it is, and the exact moment on
    hover."""
    age = now() - at
    if abs(age) < dt.timedelta(seconds=10):
        words = gettext("just now")
    elif abs(age) < dt.timedelta(days=7):
        words = format_timedelta(-age, threshold=1, add_direction=True)
    else:
        words = day(at)
    return _time(at, words, kind="relative")


def day_of(at: dt.datetime) -> Markup:
    """A `<time>` that shows the day of a moment, and the exact moment on hover."""
    return _time(at, day(at), kind="day")


def day_marks(at: dt.datetime) -> dict[str, str]:
    """Attributes of what can hold no `<time>`, as an `<option>` or the text of a drawing, and names
    the day of a moment: by them a script puts the reader's own day in its place."""
    return {"data-day": day(at), "data-day-at": _in_utc(at)}


def moment(at: dt.datetime) -> Markup:
    """A `<time>` that shows the exact moment."""
    return _time(at, exact_moment(at), kind="absolute")


def day(at: dt.date | dt.datetime) -> str:
    """A day, or that of a moment in UTC: `5 Mar 2026`."""
    # In place of the English pattern, translations give that of their language.
    return format_date(at, gettext("d MMM yyyy"))


def exact_moment(at: dt.datetime) -> str:
    """A moment to the second: `5 Mar 2026, 14:07:09 UTC`."""
    return format_datetime(at, gettext("d MMM yyyy, HH:mm:ss 'UTC'"))


def _time(at: dt.datetime, words: str, *, kind: str) -> Markup:
    return Markup('<time datetime="{}" title="{}" data-time="{}">{}</time>').format(
        _in_utc(at),
        exact_moment(at),
        kind,
        words,
    )


def _in_utc(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat(timespec="seconds")


def also_over_mark(finding: str, probability: float) -> str:
    """What an answer is not told without: a more severe finding, by its name."""
    lead = gettext("Also over its mark:")
    return f"{lead} {translated(finding)} {percent(probability)}"


def percent(probability: float) -> str:
    """A probability in whole per cent; never rounded to certainty in either direction."""
    if 0.995 <= probability < 1:
        return "> 99\N{NO-BREAK SPACE}%"
    if 0 < probability < 0.005:
        return "< 1\N{NO-BREAK SPACE}%"
    return f"{probability * 100:.0f}\N{NO-BREAK SPACE}%"


def points(difference: float) -> str:
    """A difference of probabilities in percentage points; never rounded to none."""
    if 0 < difference < 0.00005:
        return f"< {format_decimal(0.01)}"
    return format_decimal(difference * 100, "0.00")


def seconds(milliseconds: float) -> str:
    """A duration in the unit that reads best."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f}\N{NO-BREAK SPACE}ms"
    return f"{format_decimal(milliseconds / 1000, '0.0')}\N{NO-BREAK SPACE}s"


def time_left(seconds: float) -> str:
    """How long something will take yet, roughly: `3 minutes`."""
    return format_timedelta(dt.timedelta(seconds=seconds), threshold=2)


def sureness(probability: float) -> str:
    """How sure a model is, in words."""
    if probability >= 0.95:
        return gettext("The model is very sure.")
    if probability >= 0.8:
        return gettext("The model is fairly sure.")
    if probability >= 0.6:
        return gettext("The model is not very sure.")
    return gettext("The model is unsure.")


def licence(code: str) -> str:
    """A licence as a bundle states it, by its SPDX name; in words where it has none of these."""
    return str(_LICENCES.get(code, code))


def abstention(reason: str, expected: str) -> str:
    """Why a model gave no answer, in words. Bundles define the reasons, and may bring new ones.

    `expected` says what kind of image the model reads; it is told where another kind was sent.
    """
    known = _ABSTENTIONS.get(reason)
    if known is None:
        return gettext("The model held its answer back (%(code)s).", code=reason)
    if reason != "unfamiliar" or not expected:
        return str(known)
    told = gettext("Expected: %(kind)s.", kind=translated(expected).removesuffix("."))
    return f"{known} {told}"


def abstention_advice(reason: str) -> str:
    """What to do about it; empty for a reason that only its bundle knows."""
    return str(_ADVICE.get(reason, ""))


def image_numbers(positions: Iterable[int]) -> str:
    """Images of a case by their positions, 0 for the first, as pages number them: `1 and 3`."""
    return format_list([str(position + 1) for position in positions], locale=get_locale())


def metadata_name(name: str) -> str:
    """What a metadata value that models are fed is called on a page."""
    return str(_METADATA.get(name, name))


def without_metadata(name: str, finding: str, effect: float) -> str:
    """What a metadata value changed: `effect` is a probability less that without the value."""
    without = _WITHOUT.get(name) or gettext("Without %(name)s", name=name)
    points = round(abs(effect) * 100)
    said = {"without": without, "finding": finding}
    if not points:
        return gettext("%(without)s, %(finding)s would be as probable.", **said)
    if effect > 0:
        return ngettext(
            "%(without)s, %(finding)s would be %(num)s point lower.",
            "%(without)s, %(finding)s would be %(num)s points lower.",
            points,
            **said,
        )
    return ngettext(
        "%(without)s, %(finding)s would be %(num)s point higher.",
        "%(without)s, %(finding)s would be %(num)s points higher.",
        points,
        **said,
    )


def notice(code: str) -> str:
    """What was changed of an image on its way in."""
    return str(Notice(code).label)


def poll_pace(since: dt.datetime) -> str:
    """How often a page asks about work that waits since then, as an htmx interval.

    Quick while a person watches for it, slower the longer it takes.
    """
    age = now() - since
    if age < dt.timedelta(seconds=30):
        return "1s"
    if age < dt.timedelta(minutes=5):
        return "3s"
    return "15s"


def fragment(template: str, **context: Any) -> Response:
    """Render a part of a page for htmx to swap in; never kept by any cache."""
    response = make_response(render_template(template, **context))
    response.headers["Cache-Control"] = "no-store"
    return response


def stored_picture(sha256: str, media_type: str, name: str) -> Response:
    """Stored bytes, which a browser may keep but has to ask about each time it shows them."""
    is_kept = request.if_none_match.contains(sha256)
    response = Response(
        b"" if is_kept else storage.get(sha256), 304 if is_kept else 200, mimetype=media_type
    )
    response.set_etag(sha256)
    response.cache_control.private = True
    response.cache_control.no_cache = True
    response.headers["X-Content-Type-Options"] = "nosniff"
    extension = media_type.rpartition("/")[2]
    response.headers["Content-Disposition"] = f'inline; filename="{name}.{extension}"'
    return response


def asset(path: str) -> str:
    """The address of a file of static/, which changes when the file does."""
    file = Path(current_app.static_folder or "") / path
    return url_for("static", filename=path, v=_content_hash(file, file.stat().st_mtime_ns))


def task_picture(code: str) -> str | None:
    """The address of a small picture of what a reading task reads; None where there is none."""
    path = f"img/tasks/{code}.jpg"
    known = Path(current_app.static_folder or "") / "img" / "tasks"
    return asset(path) if f"{code}.jpg" in os.listdir(known) else None


@lru_cache(maxsize=256)
def _content_hash(file: Path, _changed_ns: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _keep_hashed_assets(response: Response) -> Response:
    """Let browsers keep a file whose address names its content; others they ask about each time."""
    if request.endpoint == "static" and response.status_code in (200, 304):
        hashed = "v" in request.args
        response.headers["Cache-Control"] = (
            f"public, max-age={YEAR_SECONDS}, immutable" if hashed else "no-cache"
        )
    return response


def chosen_theme() -> str:
    """`light` or `dark` if this browser chose one; empty where it follows the device."""
    theme = request.cookies.get("theme", "")
    return theme if theme in THEMES else ""
