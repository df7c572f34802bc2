"""GET /users."""

from collections.abc import Callable

from flask import Flask

from tests.conftest import Browser, People
from webapp.accounts import services
from webapp.permissions import Role

Browse = Callable[[], Browser]


def test_it_lists_users_and_sites(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        admin = people.administrator()
        people.clinician(people.site("North wing"))
        gone = people.clinician(people.site("South wing"))
        services.disable_user(actor=admin, user=gone)
        new, password = services.create_user(
            actor=admin, username="new.one", full_name="New One", roles=admin.roles, sites=[]
        )
    page = browse().sign_in(admin).get("/users").text
    for text in ("user1", "North wing", "South wing", "Disabled", "new.one", "One-time password"):
        assert text in page
    assert password not in page
    assert new.password_hash not in page


def test_it_says_who_sees_no_patients(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        site = people.site("North wing")
        admin = people.user(Role.ADMINISTRATOR, sites=[site])
        people.clinician(site)
    page = browse().sign_in(admin).get("/users").text
    assert page.count('data-label="Sites">North wing</td>') == 1
    assert page.count('data-label="Sites">North wing <span class="quiet">(sees no patients)') == 1


def test_nobody_is_sent_to_sign_in(nobody: Browser) -> None:
    assert nobody.get("/users").location == "/sign-in?next=/users"


def test_a_clinician_may_not(app: Flask, people: People, browse: Browse) -> None:
    with app.app_context():
        user = people.clinician()
    assert browse().sign_in(user).get("/users").status_code == 403
