"""Why a change of an account is refused, and the sentence for it."""

import enum

from flask_babel import lazy_gettext as _l


class Reason(enum.StrEnum):
    """Why a change of an account is refused."""

    WRONG_PASSWORD = "wrong_password"
    WRONG_PRESENT_PASSWORD = "wrong_present_password"
    ONE_TIME_PASSWORD_EXPIRED = "one_time_password_expired"
    PASSWORD_TOO_SHORT = "password_too_short"
    PASSWORD_TOO_LONG = "password_too_long"
    PASSWORD_TOO_COMMON = "password_too_common"
    PASSWORD_IS_USERNAME = "password_is_username"
    PASSWORD_UNCHANGED = "password_unchanged"
    USERNAME_FORM = "username_form"
    USERNAME_TAKEN = "username_taken"
    NAME_NEEDED = "name_needed"
    ROLE_NEEDED = "role_needed"
    SITE_NEEDED = "site_needed"
    SITE_TAKEN = "site_taken"
    OWN_ROLES = "own_roles"
    OWN_ACCOUNT = "own_account"
    LAST_ADMINISTRATOR = "last_administrator"
    SCOPE_NEEDED = "scope_needed"
    LIFETIME = "lifetime"

    @property
    def label(self) -> str:
        return _REASON_LABELS[self]


_REASON_LABELS = {
    Reason.WRONG_PASSWORD: _l("The user name or the password is wrong."),
    Reason.WRONG_PRESENT_PASSWORD: _l("This is not your present password."),
    Reason.ONE_TIME_PASSWORD_EXPIRED: _l(
        "This one-time password was not used in time. Ask an administrator for a new one."
    ),
    Reason.PASSWORD_TOO_SHORT: _l("Use at least 12 characters."),
    Reason.PASSWORD_TOO_LONG: _l("Use at most 200 characters."),
    Reason.PASSWORD_TOO_COMMON: _l("Many people use this password. Choose another one."),
    Reason.PASSWORD_IS_USERNAME: _l("The password must not be the user name."),
    Reason.PASSWORD_UNCHANGED: _l("Choose another password than the present one."),
    Reason.USERNAME_FORM: _l(
        "Use 2 to 80 letters without accents, digits, dots, hyphens, underscores or @ signs."
    ),
    Reason.USERNAME_TAKEN: _l("There is a user of this name already."),
    Reason.NAME_NEEDED: _l("Give a name of at most 120 characters."),
    Reason.ROLE_NEEDED: _l("Choose at least one role."),
    Reason.SITE_NEEDED: _l("Who sees patients belongs to at least one site."),
    Reason.SITE_TAKEN: _l("There is a site of this name already."),
    Reason.OWN_ROLES: _l("You cannot change your own roles. Ask another administrator."),
    Reason.OWN_ACCOUNT: _l("You cannot disable your own account. Ask another administrator."),
    Reason.SCOPE_NEEDED: _l("Choose what the token allows, of what you may do yourself."),
    Reason.LIFETIME: _l("A token lasts for a year at most."),
    Reason.LAST_ADMINISTRATOR: _l("The last administrator cannot be disabled or lose the role."),
}
