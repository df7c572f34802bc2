"""Forms of the account and user pages, and the filters of the record."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    DateField,
    Field,
    Form,
    HiddenField,
    PasswordField,
    SelectField,
    SelectMultipleField,
    StringField,
)
from wtforms.fields import SelectChoice
from wtforms.validators import EqualTo, InputRequired, Length

from webapp.accounts import passwords, queries, services
from webapp.accounts.models import ApiToken, Language, User
from webapp.accounts.queries import RecordFilters
from webapp.accounts.reasons import Reason
from webapp.accounts.record import ACTIONS
from webapp.errors import Conflict, Invalid
from webapp.permissions import Role, Scope

_FIELD_OF = {
    Reason.WRONG_PRESENT_PASSWORD: "current_password",
    Reason.PASSWORD_TOO_SHORT: "new_password",
    Reason.PASSWORD_TOO_LONG: "new_password",
    Reason.PASSWORD_TOO_COMMON: "new_password",
    Reason.PASSWORD_IS_USERNAME: "new_password",
    Reason.PASSWORD_UNCHANGED: "new_password",
    Reason.USERNAME_FORM: "username",
    Reason.USERNAME_TAKEN: "username",
    Reason.NAME_NEEDED: "full_name",
    Reason.ROLE_NEEDED: "roles",
    Reason.OWN_ROLES: "roles",
    Reason.LAST_ADMINISTRATOR: "roles",
    Reason.SITE_NEEDED: "site_ids",
    Reason.SITE_TAKEN: "name",
    Reason.SCOPE_NEEDED: "scopes",
    Reason.LIFETIME: "days",
}
TOKEN_DAYS = (7, 30, 90, 365)


class AccountsForm(FlaskForm):
    """A form that can show why a service refused it."""

    def refuse(self, error: Invalid) -> None:
        """Put the sentence for a refusal beside the field that it is about."""
        reason = Reason(error.reason)
        name = _FIELD_OF.get(reason)
        if name in self._fields:
            self[name].errors = [*self[name].errors, reason.label]
        else:
            self.form_errors.append(reason.label)


def _required() -> InputRequired:
    return InputRequired(_l("This is needed."))


class SignInForm(AccountsForm):
    """A name and a password."""

    username = StringField(_l("User name"), [_required(), Length(max=80)])
    password = PasswordField(_l("Password"), [_required(), Length(max=passwords.LENGTH_MAX)])


class PasswordForm(AccountsForm):
    """Changing one's own password; says of a new one at once every rule that it breaks."""

    current_password = PasswordField(_l("Present password"), [_required()])
    new_password = PasswordField(
        _l("New password"),
        [_required()],
        description=_l("At least 12 characters; not your user name, nor what many people use."),
    )
    repeated_password = PasswordField(
        _l("New password again"),
        [_required(), EqualTo("new_password", _l("The two new passwords differ."))],
    )

    def __init__(self, *, username: str) -> None:
        super().__init__()
        self._username = username

    def validate_new_password(self, field: Field) -> None:
        """All rules, as the service holds them, which stops at the first."""
        broken = passwords.broken_rules(field.data, username=self._username)
        if field.data == self.current_password.data:
            broken.append(Reason.PASSWORD_UNCHANGED)
        field.errors = [*field.errors, *(reason.label for reason in broken)]


class TokenForm(AccountsForm):
    """A new access token: what for, and for how long."""

    name = StringField(
        _l("Name"),
        [_required(), Length(max=ApiToken.name.type.length)],
        description=_l("What it is for, so that you know it again."),
    )
    scopes = SelectMultipleField(
        _l("It allows"), [InputRequired(Reason.SCOPE_NEEDED.label)], coerce=Scope
    )
    days = SelectField(
        _l("It lasts"),
        coerce=int,
        choices=[SelectChoice(days, _l("%(days)s days", days=days)) for days in TOKEN_DAYS],
        default=90,
    )
    current_password = PasswordField(
        _l("Your password"),
        [_required()],
        description=_l("A token outlives this session, so it takes your password to make one."),
    )

    def __init__(self, *, user: User) -> None:
        super().__init__()
        allowed = (scope for scope in Scope if user.can(scope.permission))
        self.scopes.choices = [SelectChoice(scope, scope.label) for scope in allowed]

    def lifetime(self) -> dt.timedelta:
        """How long the token is to last, once the form is valid."""
        return dt.timedelta(days=self.days.data)

    def explain(self, conflict: Conflict) -> None:
        """Say what stands against one more."""
        self.form_errors.append(
            _(
                "You have %(limit)s access tokens already. Revoke one first.",
                limit=conflict.facts["limit"],
            )
        )


def _language(value: str | None) -> Language | None:
    return Language(value) if value else None


class LanguageForm(FlaskForm):
    """The language of one's pages."""

    language = SelectField(
        _l("Language"),
        coerce=_language,
        choices=[
            SelectChoice("", _l("As the browser asks")),
            *(SelectChoice(language.value, language.label) for language in Language),
        ],
    )


class NewUserForm(AccountsForm):
    """Who a user is, and what they may do where."""

    full_name = StringField(_l("Name"), [_required(), Length(max=services.NAME_LENGTH_MAX)])
    username = StringField(
        _l("User name"),
        [_required(), Length(max=80)],
        description=_l("For signing in. It cannot be changed later."),
    )
    roles = SelectMultipleField(
        _l("Roles"),
        coerce=Role,
        choices=[SelectChoice(role, role.label) for role in Role],
        description=_l(
            "Clinicians see the patients of their sites. Second readers see them as well, and read"
            " signed cases again. Administrators keep users and sites, and see no patient."
            " Approvers say which models may serve, and see none either."
        ),
    )
    site_ids = SelectMultipleField(
        _l("Sites"),
        coerce=int,
        description=_l("Whose patients clinicians and second readers see."),
    )

    def offer_sites(self) -> None:
        """Let the sites that there are be chosen; the only one there is, is chosen already."""
        sites = queries.all_sites()
        self.site_ids.choices = [SelectChoice(site.id, site.name) for site in sites]
        if len(sites) == 1 and not self.is_submitted():
            self.site_ids.data = [sites[0].id]


class UserForm(NewUserForm):
    """The same of a user who is there."""

    username = None

    def show(self, user: User) -> None:
        """Start from what a user has."""
        self.process(
            data={
                "full_name": user.full_name,
                "roles": sorted(user.roles),
                "site_ids": sorted(user.site_ids),
            }
        )


class SiteForm(AccountsForm):
    """A new site."""

    name = StringField(_l("Name of the new site"), [_required(), Length(max=120)])


class SiteSettingsForm(FlaskForm):
    """How a site works."""

    own_impression_first = HiddenField()

    def is_asked(self) -> bool:
        """Whether clinicians are to say first what they see.

        Raises:
            Invalid: the form does not say.
        """
        if self.own_impression_first.data not in ("on", "off"):
            raise Invalid("own_impression_first")
        return self.own_impression_first.data == "on"


class RecordForm(Form):
    """The filters of the record, from a query string; what cannot be used is left out."""

    user = SelectField(_l("User"))
    action = SelectField(_l("What"))
    day = DateField(_l("Day, by UTC"))

    NO_USER = "none"

    def __init__(self, arguments: Any, *, users: Sequence[tuple[int, str, str]]) -> None:
        super().__init__(arguments)
        actions = sorted((str(words), action) for action, words in ACTIONS.items())
        self.user.choices = [
            SelectChoice("", _l("Anyone")),
            *(
                SelectChoice(str(number), f"{full_name} ({username})")
                for number, full_name, username in users
            ),
            SelectChoice(self.NO_USER, _l("Nobody signed in, or the system")),
        ]
        self.action.choices = [
            SelectChoice("", _l("Anything")),
            *(SelectChoice(action, words) for words, action in actions),
        ]

    def filters(self) -> RecordFilters:
        """The filters that were asked for."""
        asked = self.arguments()
        user = asked.get("user", "")
        return RecordFilters(
            actor_id=int(user) if user and user != self.NO_USER else None,
            is_without_actor=user == self.NO_USER,
            action=asked.get("action", ""),
            day=self.day.data,
        )

    def arguments(self) -> dict[str, str]:
        """The part of the query string that says the same again."""
        chosen = {
            field.name: field.data
            for field in (self.user, self.action)
            if field.data in [choice.value for choice in field.choices]
        }
        chosen["day"] = self.day.data.isoformat() if self.day.data else ""
        return {name: value for name, value in chosen.items() if value}
