"""Accounts: passwords, sessions, throttling, and the rules that administrators are held to."""

import datetime as dt
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, Type, extract_parameters
from flask import Flask

from tests import clinic
from tests.conftest import PASSWORD, People
from webapp.accounts import passwords, queries, services, throttling, tokens
from webapp.accounts.models import SignInFailure, User, UserSession
from webapp.accounts.passwords import hash_password, verify_password
from webapp.accounts.reasons import Reason
from webapp.audit import AuditEvent
from webapp.db import db, now
from webapp.errors import Invalid, NotFound, Throttled
from webapp.permissions import Permission, Role

ADDRESS = "192.0.2.1"


def sign_in(username: str, password: str = PASSWORD, address: str = ADDRESS) -> str:
    return services.sign_in(username=username, password=password, remote_address=address)


def fail(username: str, address: str = ADDRESS) -> None:
    with pytest.raises(Invalid, match=Reason.WRONG_PASSWORD):
        sign_in(username, "not the password", address)


def age(column: sa.orm.InstrumentedAttribute, by: dt.timedelta) -> None:
    """Let time pass for what a column holds."""
    db.session.execute(sa.update(column.class_).values({column: now() - by}))
    db.session.commit()
    db.session.expire_all()


def actions() -> list[str]:
    return list(db.session.scalars(sa.select(AuditEvent.action).order_by(AuditEvent.id)))


def session_count(user: User) -> int:
    count = sa.select(sa.func.count()).where(UserSession.user_id == user.id)
    return db.session.scalar(count) or 0


# Passwords


@pytest.mark.usefixtures("passwords_as_decided")
def test_passwords_are_hashed_as_decided() -> None:
    parameters = extract_parameters(hash_password(PASSWORD))
    assert parameters.type is Type.ID
    assert parameters.memory_cost == 19 * 1024
    assert (parameters.time_cost, parameters.parallelism) == (2, 1)


@pytest.mark.usefixtures("passwords_as_decided")
def test_a_password_is_recognised() -> None:
    password_hash = hash_password(PASSWORD)
    assert verify_password(PASSWORD, password_hash)
    assert not verify_password(PASSWORD + "x", password_hash)
    assert not verify_password(PASSWORD, None)
    assert not verify_password(PASSWORD, "no hash at all")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short pass1", Reason.PASSWORD_TOO_SHORT),
        ("x y" * 67, Reason.PASSWORD_TOO_LONG),
        ("Somebody.Known", Reason.PASSWORD_IS_USERNAME),
        ("Password1234", Reason.PASSWORD_TOO_COMMON),
        ("abababababab", Reason.PASSWORD_TOO_COMMON),
    ],
)
def test_bad_passwords_are_refused(password: str, reason: Reason) -> None:
    with pytest.raises(Invalid, match=reason):
        passwords.check_rules(password, username="somebody.known")


def test_a_good_password_is_accepted() -> None:
    passwords.check_rules(PASSWORD, username="somebody.known")


def test_one_time_passwords_are_long_and_differ() -> None:
    made = {passwords.new_one_time_password() for _ in range(50)}
    assert len(made) == 50
    assert all(len(password.replace("-", "")) == 16 for password in made)


# Signing in


def test_signing_in_starts_a_session(core: Flask, people: People) -> None:
    user = people.clinician()
    token = sign_in(user.username.upper())
    session = queries.live_session(token)
    assert session is not None
    assert session.user is user
    assert token not in session.token_sha256
    assert actions() == ["account.signed_in"]


@pytest.mark.parametrize("token", ["", "made up"])
def test_another_token_is_no_session(core: Flask, people: People, token: str) -> None:
    sign_in(people.clinician().username)
    assert queries.live_session(token) is None


def test_a_wrong_password_is_refused_and_recorded(core: Flask, people: People) -> None:
    user = people.clinician()
    fail(user.username)
    event = db.session.scalars(sa.select(AuditEvent)).one()
    assert (event.action, event.subject_id) == ("account.sign_in_refused", user.id)
    assert event.detail["username"] == user.username
    assert session_count(user) == 0


def test_an_unknown_name_is_refused_alike_and_not_kept(core: Flask) -> None:
    fail("my secret password")
    event = db.session.scalars(sa.select(AuditEvent)).one()
    assert event.action == "account.sign_in_refused"
    assert event.detail["username"] is None
    kept = db.session.scalars(sa.select(SignInFailure.subject)).all()
    assert not any("secret" in subject for subject in kept)


def test_a_disabled_user_is_refused_alike(core: Flask, people: People) -> None:
    user = people.user(Role.ADMINISTRATOR, disabled_at=now())
    with pytest.raises(Invalid, match=Reason.WRONG_PASSWORD):
        sign_in(user.username)


def test_every_refusal_costs_one_hash(
    core: Flask, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = people.clinician().username
    disabled = people.user(Role.ADMINISTRATOR, disabled_at=now()).username
    checked: list[str] = []
    real = PasswordHasher.verify

    def verify(self: PasswordHasher, password_hash: str, password: str) -> bool:
        checked.append(password_hash)
        return real(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    for username in (known, disabled, "nobody"):
        fail(username)
    assert len(checked) == 3
    assert len({password_hash.rsplit("$", 2)[0] for password_hash in checked}) == 1


@pytest.mark.usefixtures("passwords_as_decided")
def test_old_parameters_are_replaced_at_signing_in(core: Flask, people: People) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    user = people.user(Role.ADMINISTRATOR, password_hash=weak)
    token = sign_in(user.username)
    db.session.refresh(user)
    assert extract_parameters(user.password_hash).memory_cost == 19 * 1024
    assert verify_password(PASSWORD, user.password_hash)
    assert queries.live_session(token)


def test_a_one_time_password_expires(core: Flask, people: People) -> None:
    user = people.user(Role.ADMINISTRATOR, password_is_one_time=True)
    assert sign_in(user.username)
    age(User.password_changed_at, queries.ONE_TIME_PASSWORD_AGE + dt.timedelta(minutes=1))
    with pytest.raises(Invalid, match=Reason.ONE_TIME_PASSWORD_EXPIRED):
        sign_in(user.username)


def test_an_expired_one_time_password_is_named_only_to_who_knows_it(
    core: Flask, people: People
) -> None:
    user = people.user(Role.ADMINISTRATOR, password_is_one_time=True)
    age(User.password_changed_at, queries.ONE_TIME_PASSWORD_AGE + dt.timedelta(minutes=1))
    fail(user.username)


# Throttling


def test_a_name_is_blocked_after_five_failures_known_or_not(core: Flask, people: People) -> None:
    for username in (people.clinician().username, "nobody"):
        for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
            fail(username)
        with pytest.raises(Throttled) as caught:
            sign_in(username)
        assert 890 < caught.value.facts["retry_after_seconds"] <= 900


def test_a_blocked_attempt_costs_no_hash(
    core: Flask, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    username = people.clinician().username
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        fail(username)
    monkeypatch.setattr(services, "verify_password", None)
    with pytest.raises(Throttled):
        sign_in(username)


def test_blocked_attempts_are_recorded_once(core: Flask, people: People) -> None:
    username = people.clinician().username
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        fail(username)
    for _ in range(3):
        with pytest.raises(Throttled):
            sign_in(username)
    details = db.session.scalars(sa.select(AuditEvent.detail)).all()
    assert [detail["throttled"] for detail in details] == [False] * 5 + [True]


def test_a_name_is_not_blocked_for_who_comes_from_elsewhere(core: Flask, people: People) -> None:
    user = people.clinician()
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        fail(user.username)
    with pytest.raises(Throttled):
        sign_in(user.username)
    assert sign_in(user.username, address="192.0.2.2")
    with pytest.raises(Throttled):
        sign_in(user.username)  # nor does that let the one who guesses go on


def test_a_name_is_blocked_after_thirty_failures_from_many_places(
    core: Flask, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = people.clinician()
    monkeypatch.setattr(services, "verify_password", lambda *_: False)
    for number in range(throttling.FAILURES_PER_USER):
        fail(user.username, f"198.51.100.{number}")
    with pytest.raises(Throttled):
        sign_in(user.username, address="192.0.2.2")


@pytest.mark.parametrize("username", ["nob\x00ody", "\x00", "a\u200bb"])
def test_a_name_with_unseen_characters_is_an_unknown_one(
    core: Flask, monkeypatch: pytest.MonkeyPatch, username: str
) -> None:
    checked: list[str | None] = []
    monkeypatch.setattr(
        services, "verify_password", lambda _, password_hash: checked.append(password_hash)
    )
    fail(username)
    assert checked == [None]
    (event,) = db.session.scalars(sa.select(AuditEvent))
    assert event.action == "account.sign_in_refused"


def test_others_are_not_blocked(core: Flask, people: People) -> None:
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        fail("nobody")
    assert sign_in(people.clinician().username)


def test_an_address_is_blocked_after_thirty_failures(core: Flask, people: People) -> None:
    db.session.add_all(
        SignInFailure(subject=f"address {ADDRESS}", failed_at=now())
        for _ in range(throttling.FAILURES_PER_ADDRESS)
    )
    db.session.commit()
    user = people.clinician()
    with pytest.raises(Throttled):
        sign_in(user.username)
    assert sign_in(user.username, address="192.0.2.2")


def test_an_ipv6_network_is_one_address(core: Flask) -> None:
    fail("a", "2001:db8::1")
    fail("b", "2001:db8::2:3")
    fail("c", "2001:db8:0:1::1")
    counts = sa.select(sa.func.count()).group_by(SignInFailure.subject)
    addresses = counts.where(SignInFailure.subject.startswith("address"))
    assert sorted(db.session.scalars(addresses)) == [1, 2]


def test_a_block_ends_and_is_forgotten(core: Flask, people: People) -> None:
    user = people.clinician()
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        fail(user.username)
    age(SignInFailure.failed_at, throttling.FAILURE_WINDOW + dt.timedelta(seconds=1))
    assert sign_in(user.username)
    assert db.session.scalar(sa.select(sa.func.count(SignInFailure.id))) == 0


def test_success_forgets_the_failures_of_the_name_only(core: Flask, people: People) -> None:
    user = people.clinician()
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS - 1):
        fail(user.username)
    sign_in(user.username)
    fail(user.username)
    left = db.session.scalars(sa.select(SignInFailure.subject)).all()
    assert sum(subject.startswith("name") for subject in left) == 2  # alone, and with the address
    assert (
        sum(subject.startswith("address") for subject in left)
        == throttling.FAILURES_PER_USER_AND_ADDRESS
    )


def test_attempts_at_once_do_not_exceed_the_limit(core: Flask) -> None:
    outcomes: list[type[Exception]] = []

    def work() -> None:
        with core.app_context():
            try:
                sign_in("nobody", "not the password")
            except (Invalid, Throttled) as error:
                outcomes.append(type(error))
            finally:
                db.session.remove()

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Invalid) == throttling.FAILURES_PER_USER_AND_ADDRESS
    assert outcomes.count(Throttled) == 5


# Sessions


def test_an_idle_session_ends(core: Flask, people: People) -> None:
    token = sign_in(people.clinician().username)
    age(UserSession.last_active_at, dt.timedelta(minutes=14, seconds=50))
    assert queries.live_session(token)
    age(UserSession.last_active_at, dt.timedelta(minutes=15))
    assert queries.live_session(token) is None


def test_activity_is_written_at_most_every_half_minute(core: Flask, people: People) -> None:
    token = sign_in(people.clinician().username)
    for seconds, is_written in ((20, False), (40, True)):
        age(UserSession.last_active_at, dt.timedelta(seconds=seconds))
        session = queries.live_session(token)
        assert session is not None
        before = session.last_active_at
        services.keep_alive(session)
        db.session.expire_all()
        after = queries.live_session(token)
        assert after is not None
        assert (after.last_active_at > before) is is_written


def test_old_sessions_are_removed_when_someone_signs_in(core: Flask, people: People) -> None:
    user = people.clinician()
    sign_in(user.username)
    age(UserSession.last_active_at, dt.timedelta(minutes=16))
    sign_in(people.clinician().username)
    assert session_count(user) == 0


def test_signing_out_ends_that_session_only(core: Flask, people: People) -> None:
    user = people.clinician()
    first, second = sign_in(user.username), sign_in(user.username)
    services.sign_out(actor=user, token=first)
    assert queries.live_session(first) is None
    assert queries.live_session(second)
    assert actions()[-1] == "account.signed_out"


# Changing passwords


def change(user: User, current: str = PASSWORD, new: str = "another good one") -> str:
    return services.change_password(
        actor=user, current_password=current, new_password=new, remote_address=ADDRESS
    )


def test_changing_the_password_ends_all_sessions_and_starts_one(
    core: Flask, people: People
) -> None:
    user = people.user(Role.ADMINISTRATOR, password_is_one_time=True)
    old = sign_in(user.username)
    new = change(user)
    assert queries.live_session(old) is None
    assert queries.live_session(new)
    assert not user.password_is_one_time
    assert actions()[-1] == "account.password_changed"
    fail(user.username)
    assert sign_in(user.username, "another good one")


@pytest.mark.parametrize(
    ("current", "new", "reason"),
    [
        ("not the password", "another good one", Reason.WRONG_PRESENT_PASSWORD),
        (PASSWORD, PASSWORD, Reason.PASSWORD_UNCHANGED),
        (PASSWORD, "too short", Reason.PASSWORD_TOO_SHORT),
    ],
)
def test_a_password_is_not_changed(
    core: Flask, people: People, current: str, new: str, reason: Reason
) -> None:
    user = people.clinician()
    token = sign_in(user.username)
    with pytest.raises(Invalid, match=reason):
        change(user, current, new)
    assert queries.live_session(token)
    assert actions() == ["account.signed_in"]


def test_guessing_the_present_password_is_throttled(core: Flask, people: People) -> None:
    user = people.clinician()
    for _ in range(throttling.FAILURES_PER_USER_AND_ADDRESS):
        with pytest.raises(Invalid):
            change(user, "not the password")
    with pytest.raises(Throttled):
        change(user)


def test_a_reset_gives_a_one_time_password_and_ends_sessions(core: Flask, people: People) -> None:
    admin, user = people.administrator(), people.clinician()
    token = sign_in(user.username)
    password = services.reset_password(actor=admin, user=user)
    assert queries.live_session(token) is None
    assert user.password_is_one_time
    assert user.password_issued_by_id == admin.id
    assert sign_in(user.username, password)
    assert "user.password_reset" in actions()


def test_setting_a_password_makes_it_a_lasting_one(core: Flask, people: People) -> None:
    user = people.user(Role.ADMINISTRATOR, password_is_one_time=True)
    services.set_password(actor=None, user=user, password="another good one")
    assert not user.password_is_one_time
    assert sign_in(user.username, "another good one")
    with pytest.raises(Invalid, match=Reason.PASSWORD_TOO_SHORT):
        services.set_password(actor=None, user=user, password="short")


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen while a password is being checked."""
    real = services.verify_password

    def verify(*arguments: str) -> bool:
        is_right = real(*arguments)
        happens()
        return is_right

    monkeypatch.setattr(services, "verify_password", verify)


def test_who_is_disabled_while_signing_in_stays_out(
    core: Flask, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = people.clinician()
    meanwhile(monkeypatch, lambda: services.disable_user(actor=None, user=user))
    with pytest.raises(Invalid):
        sign_in(user.username)
    assert session_count(user) == 0


def test_a_reset_while_one_changes_the_password_holds(
    core: Flask, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = people.clinician()
    meanwhile(monkeypatch, lambda: services.reset_password(actor=None, user=user))
    with pytest.raises(Invalid, match=Reason.WRONG_PRESENT_PASSWORD):
        change(user)
    assert user.password_is_one_time


# The first start


def test_the_first_start_makes_two_accounts(core: Flask) -> None:
    made = dict(services.create_first_accounts())
    assert set(made) == {"admin", "approver", "clinician"}
    admin, clinician = queries.user_named("admin"), queries.user_named("clinician")
    assert admin is not None
    assert clinician is not None
    assert admin.roles == {Role.ADMINISTRATOR}
    assert clinician.roles == {Role.CLINICIAN}
    assert [site.name for site in clinician.sites] == ["Main site"]
    assert not admin.can(Permission.VIEW_CASES)
    assert sign_in("admin", made["admin"])
    assert sign_in("clinician", made["clinician"])


def test_accounts_are_made_on_the_first_start_only(core: Flask, people: People) -> None:
    people.clinician()
    assert services.create_first_accounts() == []


def test_one_time_passwords_of_the_first_start_stand_until_changed(core: Flask) -> None:
    made = dict(services.create_first_accounts())
    assert services.one_time_passwords_standing() == ["admin", "approver", "clinician"]
    admin, clinician = queries.user_named("admin"), queries.user_named("clinician")
    assert admin is not None
    assert clinician is not None
    change(admin, made["admin"])
    assert services.one_time_passwords_standing() == ["approver", "clinician"]
    services.disable_user(actor=admin, user=clinician)
    assert services.one_time_passwords_standing() == ["approver"]


def test_one_time_passwords_that_expired_or_were_handed_out_do_not_stand(
    core: Flask, people: People
) -> None:
    user = people.clinician()
    services.reset_password(actor=people.administrator(), user=user)
    assert services.one_time_passwords_standing() == []
    services.reset_password(actor=None, user=user)
    assert services.one_time_passwords_standing() == [user.username]
    age(User.password_changed_at, queries.ONE_TIME_PASSWORD_AGE + dt.timedelta(minutes=1))
    assert services.one_time_passwords_standing() == []


# Users and sites


def create(people: People, **changes: object) -> tuple[User, str]:
    fields: dict[str, object] = {
        "actor": people.administrator(),
        "username": " New.One@example.org",
        "full_name": "  New   One ",
        "roles": {Role.CLINICIAN},
        "sites": [people.site()],
    }
    return services.create_user(**fields | changes)


def test_a_user_is_added_with_a_one_time_password(core: Flask, people: People) -> None:
    user, password = create(people)
    assert (user.username, user.full_name) == ("new.one@example.org", "New One")
    assert user.password_is_one_time
    assert sign_in(user.username, password)
    assert actions() == ["user.created", "account.signed_in"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"username": "x"}, Reason.USERNAME_FORM),
        ({"username": "with space"}, Reason.USERNAME_FORM),
        ({"username": "accentué"}, Reason.USERNAME_FORM),
        ({"username": "x" * 81}, Reason.USERNAME_FORM),
        ({"full_name": "  "}, Reason.NAME_NEEDED),
        ({"full_name": "\x00 \u200b"}, Reason.NAME_NEEDED),
        ({"full_name": "x" * 121}, Reason.NAME_NEEDED),
        ({"roles": set()}, Reason.ROLE_NEEDED),
        ({"sites": []}, Reason.SITE_NEEDED),
    ],
)
def test_a_user_is_not_added(
    core: Flask, people: People, changes: dict[str, object], reason: Reason
) -> None:
    with pytest.raises(Invalid, match=reason):
        create(people, **changes)
    assert actions() == []


def test_a_name_is_taken_once(core: Flask, people: People) -> None:
    create(people)
    with pytest.raises(Invalid, match=Reason.USERNAME_TAKEN):
        create(people, username="NEW.ONE@EXAMPLE.ORG")


def test_an_administrator_needs_no_site(core: Flask, people: People) -> None:
    user, _ = create(people, roles={Role.ADMINISTRATOR}, sites=[])
    assert user.sites == []


def test_other_roles_and_sites_end_sessions_and_are_recorded(core: Flask, people: People) -> None:
    old_site, new_site, admin = people.site(), people.site(), people.administrator()
    user = people.clinician(old_site)
    token = sign_in(user.username)
    services.update_user(
        actor=admin, user=user, roles={Role.CLINICIAN, Role.ADMINISTRATOR}, sites=[new_site]
    )
    db.session.expire_all()
    assert user.roles == {Role.CLINICIAN, Role.ADMINISTRATOR}
    assert user.site_ids == {new_site.id}
    assert queries.live_session(token) is None
    assert actions()[1:] == ["user.roles_changed", "user.sites_changed"]
    details = db.session.scalars(sa.select(AuditEvent.detail).order_by(AuditEvent.id)).all()
    assert details[1] == {"before": ["clinician"], "after": ["administrator", "clinician"]}
    assert details[2] == {"before": [old_site.id], "after": [new_site.id]}


def test_another_name_ends_no_session(core: Flask, people: People) -> None:
    user = people.clinician()
    token = sign_in(user.username)
    services.update_user(actor=people.administrator(), user=user, full_name="Other Name")
    assert queries.live_session(token)
    assert actions()[1:] == ["user.renamed"]


def test_nothing_changed_is_nothing_recorded(core: Flask, people: People) -> None:
    user = people.clinician()
    services.update_user(
        actor=people.administrator(), user=user, roles=user.roles, sites=user.sites
    )
    assert actions() == []


def test_nobody_changes_their_own_roles(core: Flask, people: People) -> None:
    admin, _ = people.administrator(), people.administrator()
    with pytest.raises(Invalid, match=Reason.OWN_ROLES):
        services.update_user(
            actor=admin,
            user=admin,
            roles={Role.ADMINISTRATOR, Role.CLINICIAN},
            sites=[people.site()],
        )
    services.update_user(actor=admin, user=admin, full_name="Other Name")
    assert admin.roles == {Role.ADMINISTRATOR}


def test_a_clinician_keeps_a_site(core: Flask, people: People) -> None:
    user = people.clinician()
    with pytest.raises(Invalid, match=Reason.SITE_NEEDED):
        services.update_user(actor=people.administrator(), user=user, sites=[])
    assert len(user.sites) == 1


def test_disabling_ends_sessions_and_enabling_lets_in_again(core: Flask, people: People) -> None:
    admin, user = people.administrator(), people.clinician()
    token = sign_in(user.username)
    services.disable_user(actor=admin, user=user)
    services.disable_user(actor=admin, user=user)
    assert queries.live_session(token) is None
    with pytest.raises(Invalid):
        sign_in(user.username)
    services.enable_user(actor=admin, user=user)
    services.enable_user(actor=admin, user=user)
    assert queries.live_session(token) is None
    assert sign_in(user.username)
    assert actions().count("user.disabled") == 1
    assert actions().count("user.enabled") == 1


def test_a_disabled_user_has_no_session_even_if_its_row_is_left(
    core: Flask, people: People
) -> None:
    user = people.clinician()
    token = sign_in(user.username)
    user.disabled_at = now()
    db.session.commit()
    assert queries.live_session(token) is None


def test_the_last_administrator_stays(core: Flask, people: People) -> None:
    people.user(Role.ADMINISTRATOR, disabled_at=now())
    admin = people.administrator()
    for change_it in (
        lambda: services.disable_user(actor=None, user=admin),
        lambda: services.update_user(
            actor=None, user=admin, roles={Role.CLINICIAN}, sites=[people.site()]
        ),
    ):
        with pytest.raises(Invalid, match=Reason.LAST_ADMINISTRATOR):
            change_it()
    second = people.administrator()
    services.disable_user(actor=second, user=admin)
    with pytest.raises(Invalid, match=Reason.OWN_ACCOUNT):
        services.disable_user(actor=second, user=second)


def test_two_administrators_cannot_disable_each_other_at_once(core: Flask, people: People) -> None:
    pair = [people.administrator().id, people.administrator().id]
    refused: list[str] = []
    start = threading.Barrier(2)

    def disable(actor_id: int, user_id: int) -> None:
        with core.app_context():
            actor, user = queries.get_user(actor_id), queries.get_user(user_id)
            start.wait()
            try:
                services.disable_user(actor=actor, user=user)
            except Invalid as error:
                refused.append(error.reason)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=disable, args=ids) for ids in (pair, pair[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [Reason.LAST_ADMINISTRATOR]


def test_a_site_is_added_once(core: Flask, people: People) -> None:
    site = services.create_site(actor=people.administrator(), name="  North   wing ")
    assert site.name == "North wing"
    assert services.create_site(actor=None, name="\0South \u200b").name == "South"
    with pytest.raises(Invalid, match=Reason.SITE_TAKEN):
        services.create_site(actor=None, name="North wing")
    with pytest.raises(Invalid, match=Reason.NAME_NEEDED):
        services.create_site(actor=None, name=" ")
    assert actions() == ["site.created"] * 2


def test_who_is_not_there_is_not_found(core: Flask, people: People) -> None:
    with pytest.raises(NotFound):
        queries.get_user(12345)
    with pytest.raises(NotFound):
        queries.sites_by_id([people.site().id, 12345])


def test_every_reason_has_its_sentence() -> None:
    assert all(str(reason.label).endswith(".") for reason in Reason)


# Access tokens


@pytest.mark.parametrize("ending", ["change_password", "set_password", "reset_password", "disable"])
def test_what_ends_sessions_for_good_ends_access_tokens(
    core: Flask, people: People, ending: str
) -> None:
    people.administrator()
    user = people.clinician()
    secret = clinic.token(user)
    assert tokens.use_token(secret=secret, remote_address=ADDRESS)
    match ending:
        case "change_password":
            services.change_password(
                actor=user,
                current_password=PASSWORD,
                new_password="another good one",
                remote_address=ADDRESS,
            )
        case "set_password":
            services.set_password(actor=None, user=user, password="another good one")
        case "reset_password":
            services.reset_password(actor=None, user=user)
        case "disable":
            services.disable_user(actor=None, user=user)
            services.enable_user(actor=None, user=user)
    assert tokens.use_token(secret=secret, remote_address=ADDRESS) is None
    assert queries.api_tokens(user) == []


def test_wrong_tokens_are_throttled_and_right_ones_are_not(core: Flask, people: People) -> None:
    secret = clinic.token(people.clinician())
    for _ in range(throttling.WRONG_TOKENS_PER_ADDRESS):
        assert tokens.use_token(secret="firstlook_wrong", remote_address=ADDRESS) is None
    with pytest.raises(Throttled) as caught:
        tokens.use_token(secret="firstlook_wrong", remote_address=ADDRESS)
    assert 0 < caught.value.facts["retry_after_seconds"] <= 900
    assert len(clinic.recorded("token.refused")) == throttling.WRONG_TOKENS_PER_ADDRESS
    assert tokens.use_token(secret=secret, remote_address=ADDRESS)
    assert tokens.use_token(secret="firstlook_wrong", remote_address="192.0.2.9") is None
