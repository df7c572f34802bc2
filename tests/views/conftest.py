"""People at their browsers, and their programs."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import clinic, promotions
from tests.changes import unrecorded_changes
from tests.conftest import Application, Browser, People
from webapp import queue
from webapp.accounts.models import User
from webapp.app import create_app
from webapp.assessments.models import AssessedImage
from webapp.cases.models import Case, CaseParticulars, Laterality
from webapp.catalogue.models import Priority
from webapp.config import Settings
from webapp.db import db, now
from webapp.explanations import services as explanations
from webapp.explanations.models import Explanation
from webapp.permissions import Role, Scope
from webapp.registry.models import ModelVersion

KINDS = ["sqlite", "postgresql"]


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """That an endpoint works, which the first test of its file says, is tried on both kinds of
    database. The rest is about the page, and one kind will do, unless a test names them itself."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "database_url" not in metafunc.fixturenames or any("database_url" in m.args for m in marks):
        return
    first = next(name for name in vars(metafunc.module) if name.startswith("test_"))
    kinds = KINDS if metafunc.function.__name__ == first else KINDS[:1]
    mark = pytest.mark.parametrize("database_url", kinds, indirect=True)
    metafunc.definition.add_marker(mark)


@pytest.fixture
def app(database_url: str, place: Path, application: Application) -> Iterator[Flask]:
    """The web application on a database of the test's own. No request changes anything in it
    without a row in the record."""
    app = application(
        create_app, Settings(instance_dir=place / "instance", database_url=database_url)
    )
    app.config["TESTING"] = True
    with app.app_context():
        engine = db.engine
    with unrecorded_changes(engine) as changes:
        yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
    assert changes == []


@pytest.fixture
def clinician(app: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> User:
    """Someone who may send cases, with a model that reads them; nobody hears the doorbell."""
    monkeypatch.setattr(queue, "ring", lambda *_: False)
    with app.app_context():
        clinic.serve()
        return people.clinician()


@pytest.fixture
def desk(browse: Callable[[], Browser], clinician: User) -> Browser:
    """The clinician's browser."""
    return browse().sign_in(clinician)


@pytest.fixture
def stranger(app: Flask, browse: Callable[[], Browser], people: People) -> Browser:
    """The browser of a clinician of another site."""
    with app.app_context():
        return browse().sign_in(people.clinician())


@pytest.fixture
def office(app: Flask, browse: Callable[[], Browser], people: People) -> Browser:
    """The browser of an administrator, who sees no patients."""
    with app.app_context():
        return browse().sign_in(people.administrator())


@pytest.fixture
def nobody(browse: Callable[[], Browser]) -> Browser:
    """A browser in which nobody is signed in."""
    return browse()


@pytest.fixture(params=["nobody", "a clinician", "an administrator without the CSRF token"])
def turned_away(
    request: pytest.FixtureRequest, app: Flask, people: People, nobody: Browser, office: Browser
) -> Callable[[str], None]:
    """Post to a path as one of those who may not, who must be told so."""

    def post(path: str) -> None:
        match request.param:
            case "nobody":
                assert nobody.post(path).location == "/sign-in"
            case "a clinician":
                with app.app_context():
                    nobody.sign_in(people.clinician())
                assert nobody.post(path).status_code == 403
            case _:
                assert office.client.post(path).status_code == 400

    return post


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that acts with an access token, or without any."""

    client: FlaskClient
    secret: str

    def get(self, path: str, **kwargs: Any) -> Any:
        return self.client.get(path, headers=self._headers(), **kwargs)

    def post(self, path: str, *, key: str = "key-1", **kwargs: Any) -> Any:
        headers = self._headers() | {"Idempotency-Key": key}
        return self.client.post(path, headers=headers, **kwargs)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}


@pytest.fixture
def program(app: Flask, clinician: User) -> Program:
    """A program of the clinician's that may do everything they may."""
    with app.app_context():
        return Program(app.test_client(), clinic.token(clinician))


@pytest.fixture
def programs_refused(
    app: Flask, clinician: User, people: People, desk: Browser
) -> Callable[[str, str, Scope], None]:
    """Asks for something of the API as each of those who may not, who must be told so."""

    def ask(method: str, path: str, scope: Scope) -> None:
        others = [other for other in Scope if other is not scope]
        hour = dt.timedelta(hours=1)
        with app.app_context():
            disabled = people.user(Role.CLINICIAN, sites=[people.site()], disabled_at=now())
            clients = {
                "no token": ("", 401),
                "no such token": ("firstlook_wrong", 401),
                "an expired token": (clinic.token(clinician, expires_at=now() - hour), 401),
                "a revoked token": (clinic.token(clinician, revoked_at=now() - hour), 401),
                "of a disabled user": (clinic.token(disabled), 401),
                "without the scope": (clinic.token(clinician, *others), 403),
                "of one without the role": (clinic.token(people.administrator()), 403),
            }
        for name, (secret, status) in clients.items():
            # The client has the session cookie of someone who may: it must not count.
            answer = getattr(Program(desk.client, secret), method)(path)
            assert (name, answer.status_code) == (name, status)
            assert answer.content_type == "application/problem+json"
            assert answer.json["status"] == status
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)

    return ask


SAID = CaseParticulars(
    priority=Priority.ROUTINE,
    age_at_acquisition_years=None,
    body_site=None,
    laterality=Laterality.UNKNOWN,
    note="a note",
)
ON_RECORD = f"1980 unknown {SAID.mark}"
"""What a decision on `case` is made on, beside what was read and signed."""


@pytest.fixture
def case(app: Flask, clinician: User) -> Case:
    """A case of the clinician's, that waits."""
    with app.app_context():
        case = clinic.send(clinician, identifier="A-1", birth_year=1980, note="a note")
        assert case.images
        assert case.patient
        return case


@pytest.fixture
def record(app: Flask) -> Callable[..., list[dict[str, Any]]]:
    """What is on record of these actions, as plain values."""

    def look(*actions: str) -> list[dict[str, Any]]:
        with app.app_context():
            return [
                {
                    "actor_id": event.actor_id,
                    "action": event.action,
                    "subject": (event.subject_type, event.subject_id),
                    "detail": event.detail,
                }
                for event in clinic.recorded(*actions)
            ]

    return look


@pytest.fixture
def read(app: Flask, case: Case) -> AssessedImage:
    """What was said of the case's image: that it is grave."""
    with app.app_context():
        read = clinic.read(case, "grave").images[0]
        assert read.predictions
        assert read.assessment
        return read


@pytest.fixture
def explain(app: Flask, clinician: User, read: AssessedImage) -> Callable[..., Explanation]:
    """Has that explained, by a heat map unless told that there is none to be shown."""

    def explain(*, is_made: bool = True, heat_map: bytes | None = None) -> Explanation:
        with app.app_context():
            explanation = explanations.request(actor=clinician, read=read)
            if is_made:
                clinic.explain(clinic.picture() if heat_map is None else heat_map)
            return explanation

    return explain


@pytest.fixture
def candidate(app: Flask, clinician: User) -> ModelVersion:
    """A version beside the one that serves."""
    with app.app_context():
        version = promotions.candidate()
        assert version.reading_task
        return version


@pytest.fixture
def administrator(app: Flask, people: People) -> User:
    """Someone who asks that models serve."""
    with app.app_context():
        return people.administrator()


@pytest.fixture
def approver(app: Flask, people: People) -> User:
    """Someone who lets models serve."""
    with app.app_context():
        return people.user(Role.APPROVER)


@pytest.fixture
def approval(browse: Callable[[], Browser], approver: User) -> Browser:
    """Their browser."""
    return browse().sign_in(approver)
