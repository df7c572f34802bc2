"""Signing in and out, one's own account, and the users and the record that administrators keep."""

from typing import Any

from flask import (
    Blueprint,
    flash,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext, refresh
from flask_login import current_user

from webapp.accounts import queries, services, tokens
from webapp.accounts.forms import (
    AccountsForm,
    LanguageForm,
    NewUserForm,
    PasswordForm,
    RecordForm,
    SignInForm,
    SiteForm,
    SiteSettingsForm,
    TokenForm,
    UserForm,
)
from webapp.accounts.reasons import Reason
from webapp.accounts.record import action_words, actor_words, shown_detail, subject_words
from webapp.audit import last_anchored_at, record_look
from webapp.errors import Conflict, Invalid, Throttled
from webapp.permissions import Permission, poll, public, require, signed_in, signed_in_user
from webapp.security import begin_session, own_path

blueprint = Blueprint("accounts", __name__)
for words in (action_words, actor_words, subject_words, shown_detail):
    blueprint.add_app_template_filter(words)

GREATEST_ROW = 2**63 - 1


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> ResponseReturnValue:
    """Check a password, and lead on to where the person wanted to go."""
    target = own_path(request.args.get("next")) or url_for("triage.home")
    if current_user.is_authenticated:
        return redirect(target, 303)
    form = SignInForm()
    if not form.validate_on_submit():
        return _page("accounts/sign_in.html", form=form)
    try:
        token = services.sign_in(
            username=form.username.data,
            password=form.password.data,
            remote_address=request.remote_addr or "",
        )
    except Throttled as error:
        return _throttled("accounts/sign_in.html", form, error)
    except Invalid as error:
        form.refuse(error)
        return _page("accounts/sign_in.html", form=form)
    begin_session(token)
    return redirect(target, 303)


@blueprint.post("/sign-out")
@signed_in
def sign_out() -> ResponseReturnValue:
    """End this session; a link cannot do it."""
    services.sign_out(actor=current_user, token=session["token"])
    session.clear()
    flash(_("You are signed out."), "good")
    return redirect(url_for("accounts.sign_in"), 303)


@blueprint.route("/account", methods=["GET", "POST"])
@signed_in
def account() -> ResponseReturnValue:
    """Who one is, changing one's password, and the access tokens of one's programs."""
    form = PasswordForm(username=current_user.username)
    if not form.is_submitted():
        return _account_page(form)
    was_one_time = current_user.password_is_one_time
    remote_address = request.remote_addr or ""
    try:
        if not form.validate():
            if form.current_password.data:  # all that is wrong is told at once, this as well
                services.check_own_password(
                    actor=current_user,
                    password=form.current_password.data,
                    remote_address=remote_address,
                )
            return _account_page(form)
        token = services.change_password(
            actor=current_user,
            current_password=form.current_password.data,
            new_password=form.new_password.data,
            remote_address=remote_address,
        )
    except Throttled as error:
        return _throttled("accounts/account.html", form, error, **_account_facts())
    except Invalid as error:
        form.refuse(error)
        return _account_page(form)
    begin_session(token)
    flash(_("Your password was changed."), "good")
    return redirect(url_for("triage.home" if was_one_time else "accounts.account"), 303)


@blueprint.post("/account/language")
@signed_in
def choose_language() -> ResponseReturnValue:
    """Have one's pages in another language."""
    form = LanguageForm()
    if not form.validate() or not form.language.raw_data:
        raise Invalid("language")
    services.choose_language(actor=current_user, language=form.language.data)
    refresh()  # what is said of it is said in that language
    flash(_("Saved."), "good")
    return redirect(url_for("accounts.account"), 303)


@blueprint.route("/account/tokens/new", methods=["GET", "POST"])
@require(Permission.VIEW_CASES)
def new_token() -> ResponseReturnValue:
    """Make an access token; answers with its secret, this once."""
    form = TokenForm(user=signed_in_user())
    if not form.validate_on_submit():
        return _page("accounts/token_form.html", form=form)
    try:
        secret = tokens.create_token(
            actor=signed_in_user(),
            name=form.name.data,
            scopes=form.scopes.data,
            lifetime=form.lifetime(),
            password=form.current_password.data,
            remote_address=request.remote_addr or "",
        )
    except Throttled as error:
        return _throttled("accounts/token_form.html", form, error)
    except Invalid as error:
        form.refuse(error)
        return _page("accounts/token_form.html", form=form)
    except Conflict as conflict:
        form.explain(conflict)
        return _page("accounts/token_form.html", form=form)
    return render_template("accounts/token.html", name=form.name.data, secret=secret)


@blueprint.post("/account/tokens/<int:token_id>/revoke")
@signed_in
def revoke_token(token_id: int) -> ResponseReturnValue:
    """End an access token."""
    tokens.revoke_token(actor=signed_in_user(), token_id=token_id)
    flash(_("The access token is revoked. What uses it is refused from now on."), "good")
    return redirect(url_for("accounts.account"), 303)


@blueprint.get("/session")
@poll
@signed_in
def session_status() -> ResponseReturnValue:
    """How long the session lasts; asking does not renew it."""
    return jsonify(seconds_left=queries.seconds_left(g.user_session))


@blueprint.post("/session")
@signed_in
def stay() -> ResponseReturnValue:
    """Renew the session, as every request of a person does."""
    return jsonify(seconds_left=queries.seconds_left(g.user_session))


@blueprint.get("/users")
@require(Permission.MANAGE_USERS)
def users() -> ResponseReturnValue:
    """All users and sites."""
    return _users_page(SiteForm())


@blueprint.route("/users/new", methods=["GET", "POST"])
@require(Permission.MANAGE_USERS)
def new_user() -> ResponseReturnValue:
    """Add a user; answers with their one-time password, this once."""
    form = NewUserForm()
    form.offer_sites()
    if not form.validate_on_submit():
        return _page("accounts/user_form.html", form=form, user=None)
    try:
        user, password = services.create_user(
            actor=current_user,
            username=form.username.data,
            full_name=form.full_name.data,
            roles=form.roles.data,
            sites=queries.sites_by_id(form.site_ids.data),
        )
    except Invalid as error:
        form.refuse(error)
        return _page("accounts/user_form.html", form=form, user=None)
    return render_template("accounts/one_time_password.html", user=user, password=password)


@blueprint.route("/users/<int:user_id>", methods=["GET", "POST"])
@require(Permission.MANAGE_USERS)
def user(user_id: int) -> ResponseReturnValue:
    """Change a user's name, roles and sites."""
    user = queries.get_user(user_id)
    form = UserForm()
    form.offer_sites()
    if request.method == "GET":
        form.show(user)
    if not form.validate_on_submit():
        return _page("accounts/user_form.html", form=form, user=user)
    try:
        services.update_user(
            actor=current_user,
            user=user,
            full_name=form.full_name.data,
            roles=form.roles.data,
            sites=queries.sites_by_id(form.site_ids.data),
        )
    except Invalid as error:
        form.refuse(error)
        return _page("accounts/user_form.html", form=form, user=user)
    flash(_("Saved."), "good")
    return redirect(url_for("accounts.users"), 303)


@blueprint.post("/users/<int:user_id>/disable")
@require(Permission.MANAGE_USERS)
def disable(user_id: int) -> ResponseReturnValue:
    """Let a user no longer sign in."""
    user = queries.get_user(user_id)
    try:
        services.disable_user(actor=current_user, user=user)
        flash(_("%(name)s can no longer sign in.", name=user.full_name), "good")
    except Invalid as error:
        flash(str(Reason(error.reason).label), "danger")
    return redirect(url_for("accounts.user", user_id=user_id), 303)


@blueprint.post("/users/<int:user_id>/enable")
@require(Permission.MANAGE_USERS)
def enable(user_id: int) -> ResponseReturnValue:
    """Let a disabled user sign in again."""
    user = queries.get_user(user_id)
    services.enable_user(actor=current_user, user=user)
    flash(_("%(name)s can sign in again.", name=user.full_name), "good")
    return redirect(url_for("accounts.user", user_id=user_id), 303)


@blueprint.post("/users/<int:user_id>/reset-password")
@require(Permission.MANAGE_USERS)
def reset_password(user_id: int) -> ResponseReturnValue:
    """Make a one-time password; it is shown this once."""
    user = queries.get_user(user_id)
    password = services.reset_password(actor=current_user, user=user)
    return render_template("accounts/one_time_password.html", user=user, password=password)


@blueprint.post("/sites")
@require(Permission.MANAGE_USERS)
def new_site() -> ResponseReturnValue:
    """Add a site."""
    form = SiteForm()
    if not form.validate_on_submit():
        return _users_page(form)
    try:
        services.create_site(actor=current_user, name=form.name.data)
    except Invalid as error:
        form.refuse(error)
        return _users_page(form)
    flash(_("The site was added."), "good")
    return redirect(url_for("accounts.users"), 303)


@blueprint.post("/sites/<int:site_id>")
@require(Permission.MANAGE_USERS)
def site(site_id: int) -> ResponseReturnValue:
    """Change how a site works."""
    site = queries.get_site(site_id)
    form = SiteSettingsForm()
    is_asked = form.is_asked()
    services.ask_own_impression_first(actor=current_user, site=site, is_asked=is_asked)
    if is_asked:
        flash(_("%(name)s now asks for an own impression first.", name=site.name), "good")
    else:
        flash(_("%(name)s now shows the model's answer at once.", name=site.name), "good")
    return redirect(url_for("accounts.users"), 303)


@blueprint.get("/audit")
@require(Permission.READ_AUDIT)
def audit() -> ResponseReturnValue:
    """The record of who did and saw what; reading it is on record as well."""
    form = RecordForm(request.args, users=queries.names_of_users())
    before = request.args.get("before", type=int)
    page = queries.record_page(
        filters=form.filters(),
        before=before if before is not None and 0 < before <= GREATEST_ROW else None,
    )
    length = queries.record_length()
    record_look(
        actor=current_user,
        action="audit.searched",
        filters=sorted(form.arguments()),
        count=page.total,
        count_is_capped=page.total_is_capped,
    )
    return render_template(
        "accounts/audit.html",
        page=page,
        filters=form,
        filter_arguments=form.arguments(),
        is_newest=before is None,
        length=length,
        anchored_at=last_anchored_at(),
    )


def _account_page(form: PasswordForm) -> ResponseReturnValue:
    return _page("accounts/account.html", form=form, **_account_facts())


def _account_facts() -> dict[str, Any]:
    """What the account page shows beside its form."""
    user = signed_in_user()
    return {
        "tokens": queries.api_tokens(user),
        "language_form": LanguageForm(formdata=None, obj=user),
    }


def _users_page(new_site_form: SiteForm) -> ResponseReturnValue:
    return _page(
        "accounts/users.html",
        users=queries.all_users(),
        sites=queries.all_sites(),
        form=new_site_form,
        new_site_form=new_site_form,
    )


def _page(template: str, *, form: AccountsForm, **context: object) -> ResponseReturnValue:
    """A page with a form; 422 where the form was sent and has errors."""
    return render_template(template, form=form, **context), 422 if form.errors else 200


def _throttled(
    template: str, form: AccountsForm, error: Throttled, **context: object
) -> ResponseReturnValue:
    seconds = error.facts["retry_after_seconds"]
    minutes = -(-seconds // 60)
    form.form_errors.append(
        ngettext(
            "Too many attempts. Try again in %(num)s minute.",
            "Too many attempts. Try again in %(num)s minutes.",
            minutes,
        )
    )
    response = make_response(render_template(template, form=form, **context), error.status)
    response.headers["Retry-After"] = str(seconds)
    return response
