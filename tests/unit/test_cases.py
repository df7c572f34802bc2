"""A patient is one person a site and identifier, seen by that site only; a case is filed whole."""

import dataclasses
import io
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image as Picture

from tests.conftest import People
from webapp import imaging, storage
from webapp.accounts.models import Site, User
from webapp.cases import queries, services
from webapp.cases.models import Case, Image, Particulars, Patient, Sex
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.permissions import Role

IDENTIFIER = "MRN 0042"


@dataclasses.dataclass(frozen=True)
class Ward:
    """A site with a clinician, and short ways to do what they do."""

    site: Site
    clinician: User
    task: ReadingTask

    def patient(self, identifier: str = IDENTIFIER, **changes: Any) -> Patient:
        asked: dict[str, Any] = {"birth_year": 1960, "sex": Sex.FEMALE}
        return services.find_or_create_patient(
            actor=self.clinician, site=self.site, identifier=identifier, **asked | changes
        )

    def case(self, patient: Patient | None = None, **changes: Any) -> Case:
        asked: dict[str, Any] = {
            "reading_task": self.task,
            "priority": Priority.ROUTINE,
            "age_at_acquisition_years": 65,
            "body_site": None,
            "note": "",
            "form_token": secrets.token_hex(16),
            "images": [stored_image()],
        }
        return services.create_case(
            actor=self.clinician, patient=patient or self.patient(), **asked | changes
        )


def stored_image(shade: int = 90, file_name: str = "cell.png") -> services.NewImage:
    file = io.BytesIO()
    Picture.new("RGB", (40, 30), (shade, 10, 20)).save(file, "PNG")
    return services.store_image(
        cleaned=imaging.clean(file.getvalue()), original_file_name=file_name
    )


@pytest.fixture
def new_ward(core: Flask, people: People) -> Callable[[], Ward]:
    task = ReadingTask(code="blood-cell", name="Blood cell", description="", created_at=now())
    db.session.add(task)
    db.session.commit()

    def make() -> Ward:
        site = people.site()
        return Ward(site=site, clinician=people.clinician(site), task=task)

    return make


@pytest.fixture
def ward(new_ward: Callable[[], Ward]) -> Ward:
    return new_ward()


def correct(ward: Ward, patient: Patient, birth_year: int | None, sex: Sex) -> Sequence[str]:
    return services.correct_patient(
        actor=ward.clinician,
        patient=patient,
        shown=Particulars.of(patient),
        corrected=Particulars(birth_year=birth_year, sex=sex),
    )


# Who a patient is


def test_the_same_identifier_at_the_same_site_is_the_same_patient(ward: Ward) -> None:
    first = ward.patient()
    again = [ward.patient(typed) for typed in ("  MRN  0042 ", "MRN\t0042", "MRN\u00a00042")]
    assert {patient.id for patient in again} == {first.id}
    assert (first.identifier, first.birth_year, first.sex) == (IDENTIFIER, 1960, Sex.FEMALE)
    assert ward.patient("mrn 0042").id != first.id


def test_the_same_identifier_at_another_site_is_another_patient(
    new_ward: Callable[[], Ward],
) -> None:
    assert new_ward().patient().id != new_ward().patient().id


@pytest.mark.parametrize("changes", [{"birth_year": 1961}, {"sex": Sex.MALE}])
def test_other_particulars_are_refused_and_change_nothing(
    ward: Ward, changes: dict[str, Any]
) -> None:
    patient = ward.patient()
    with pytest.raises(Conflict) as conflict:
        ward.patient(**changes)
    assert conflict.value.reason == "patient_differs"
    on_record = Particulars(birth_year=1960, sex=Sex.FEMALE)
    assert conflict.value.facts == {"on_record": on_record}
    db.session.expire_all()
    assert (patient.birth_year, patient.sex) == (1960, Sex.FEMALE)


def test_what_is_left_blank_says_nothing(ward: Ward) -> None:
    patient = ward.patient()
    assert ward.patient(birth_year=None, sex=Sex.UNKNOWN) is patient
    assert (patient.birth_year, patient.sex) == (1960, Sex.FEMALE)


def test_what_was_not_on_record_is_added(ward: Ward) -> None:
    patient = ward.patient(birth_year=None, sex=Sex.UNKNOWN)
    with transaction():
        ward.patient(birth_year=1960, sex=Sex.UNKNOWN)
        changed = services.complete_patient(
            actor=ward.clinician, patient=patient, birth_year=1960, sex=Sex.UNKNOWN
        )
    assert changed == ["birth_year"]
    db.session.expire_all()
    assert (patient.birth_year, patient.sex) == (1960, Sex.UNKNOWN)


@pytest.mark.parametrize("identifier", ["", "   ", "\x00\x07", "\u200b", "9" * 65])
def test_an_identifier_that_cannot_be_kept_is_refused(ward: Ward, identifier: str) -> None:
    with pytest.raises(Invalid):
        ward.patient(identifier)


def test_an_identifier_holds_no_unseen_characters(ward: Ward) -> None:
    assert ward.patient("MRN\u200b \x000042").identifier == IDENTIFIER


@pytest.mark.parametrize("birth_year", [1849, 2201, now().year + 1, -5])
def test_a_birth_year_that_cannot_be_is_refused(ward: Ward, birth_year: int) -> None:
    with pytest.raises(Invalid):
        ward.patient(birth_year=birth_year)
    patient = ward.patient()
    with pytest.raises(Invalid):
        correct(ward, patient, birth_year, Sex.FEMALE)


def test_a_patient_registered_twice_at_once_is_one(core: Flask, ward: Ward) -> None:
    site_id, actor_id = ward.site.id, ward.clinician.id
    start = threading.Barrier(4)
    found: list[int] = []

    def register() -> None:
        with core.app_context():
            actor, site = db.session.get_one(User, actor_id), db.session.get_one(Site, site_id)
            start.wait(10)
            patient = services.find_or_create_patient(
                actor=actor, site=site, identifier=IDENTIFIER, birth_year=1960, sex=Sex.FEMALE
            )
            found.append(patient.id)
            db.session.remove()

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1


# Correcting


def test_a_correction_is_kept_and_says_what_it_changed(ward: Ward) -> None:
    patient = ward.patient()
    assert correct(ward, patient, 1960, Sex.OTHER) == ["sex"]
    assert correct(ward, patient, None, Sex.OTHER) == ["birth_year"]
    assert correct(ward, patient, None, Sex.OTHER) == []
    db.session.expire_all()
    assert (patient.birth_year, patient.sex) == (None, Sex.OTHER)


def test_a_correction_of_what_has_changed_meanwhile_is_refused(ward: Ward) -> None:
    patient = ward.patient()
    with db.engine.begin() as elsewhere:
        elsewhere.execute(sa.update(Patient).values(birth_year=1955))
    with pytest.raises(Conflict) as conflict:
        correct(ward, patient, 1961, Sex.FEMALE)
    on_record = Particulars(birth_year=1955, sex=Sex.FEMALE)
    assert (conflict.value.reason, conflict.value.facts) == (
        "patient_changed",
        {"on_record": on_record},
    )
    db.session.expire_all()
    assert Particulars.of(patient) == on_record


# Filing a case


def test_a_case_is_filed_with_its_images_in_order(ward: Ward) -> None:
    images = [stored_image(shade, f"{shade}.png") for shade in (9, 3, 6)]
    case = ward.case(
        images=images,
        priority=Priority.URGENT,
        age_at_acquisition_years=64,
        body_site="  left arm ",
        note=" two\x00 lines,\nkept ",
    )
    db.session.expire_all()
    case = queries.get_case(actor=ward.clinician, case_id=case.id)
    assert [image.original_file_name for image in case.images] == ["9.png", "3.png", "6.png"]
    assert [image.position for image in case.images] == [0, 1, 2]
    assert (case.priority, case.age_at_acquisition_years) == (Priority.URGENT, 64)
    assert (case.body_site, case.note) == ("left arm", "two lines,\nkept")
    assert (case.patient.identifier, case.site_id) == (IDENTIFIER, ward.site.id)
    assert (case.submitted_by, case.reading_task) == (ward.clinician, ward.task)
    first = case.images[0]
    assert storage.get(first.sha256)[:4] == b"\x89PNG"
    assert storage.get(first.thumbnail_sha256)[:2] == b"\xff\xd8"
    assert (first.width_px, first.height_px, first.media_type) == (40, 30, "image/png")
    assert first.notices == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\cell.jpg", "cell.jpg"),
        ("a\x00b\r\n.png", "ab.png"),
        ("", ""),
        ("x" * 400, "x" * 255),
    ],
)
def test_a_file_name_is_kept_as_a_name_only(core: Flask, sent: str, kept: str) -> None:
    assert stored_image(file_name=sent).original_file_name == kept


@pytest.mark.parametrize("count", [0, 21])
def test_a_case_has_1_to_20_images(ward: Ward, count: int) -> None:
    with pytest.raises(Invalid):
        ward.case(images=[stored_image()] * count)


def test_a_case_that_fails_leaves_neither_case_nor_image(ward: Ward) -> None:
    patient = ward.patient()

    def fail_after_filing() -> None:
        with transaction():
            ward.case(patient)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_filing()
    assert db.session.scalar(sa.select(sa.func.count(Case.id))) == 0
    assert db.session.scalar(sa.select(sa.func.count(Image.id))) == 0


# Who sees what


def attempts(actor: User, ward: Ward, case: Case) -> list[Callable[[], object]]:
    """All that needs the right to see, or to change, what is at a ward."""
    image = case.images[0]
    particulars = Particulars(birth_year=1960, sex=Sex.FEMALE)
    stranger = Ward(site=ward.site, clinician=actor, task=ward.task)
    return [
        lambda: queries.get_case(actor=actor, case_id=case.id),
        lambda: queries.get_patient(actor=actor, patient_id=case.patient_id),
        lambda: queries.get_image(actor=actor, image_id=image.id),
        lambda: services.correct_patient(
            actor=actor, patient=case.patient, shown=particulars, corrected=particulars
        ),
        lambda: stranger.patient(),
        lambda: stranger.patient("NEW"),
        lambda: stranger.case(case.patient),
    ]


def test_a_clinician_sees_their_own_site(ward: Ward) -> None:
    case = ward.case()
    found = [attempt() for attempt in attempts(ward.clinician, ward, case)]
    assert found[:3] == [case, case.patient, case.images[0]]
    assert queries.get_patient(actor=ward.clinician, patient_id=case.patient_id).cases[-1] == case


def test_strangers_and_administrators_find_nothing(
    new_ward: Callable[[], Ward], people: People
) -> None:
    ward = new_ward()
    case = ward.case()
    administrator_here = people.user(Role.ADMINISTRATOR, sites=[ward.site])
    for actor in (new_ward().clinician, people.administrator(), administrator_here):
        for attempt in attempts(actor, ward, case):
            with pytest.raises(NotFound):
                attempt()
    assert db.session.scalar(sa.select(sa.func.count(Patient.id))) == 1
    assert db.session.scalar(sa.select(sa.func.count(Case.id))) == 1


def test_what_is_not_there_is_not_found(ward: Ward) -> None:
    for look in (
        lambda: queries.get_case(actor=ward.clinician, case_id=12345),
        lambda: queries.get_patient(actor=ward.clinician, patient_id=12345),
        lambda: queries.get_image(actor=ward.clinician, image_id=12345),
    ):
        with pytest.raises(NotFound):
            look()


def filed_elsewhere(
    ward: Ward, image: services.NewImage, identifier: str, *, by: str = "original"
) -> list[str]:
    hashes = (
        {"original_sha256s": [image.original_sha256]}
        if by == "original"
        else {"original_sha256s": [], "stored_sha256s": [image.sha256]}
    )
    found = queries.images_filed_elsewhere(
        actor=ward.clinician, site_id=ward.site.id, identifier=identifier, **hashes
    )
    return [image.case.patient.identifier for image in found]


@pytest.mark.parametrize("by", ["original", "stored"])
def test_an_image_that_is_filed_for_another_patient_is_found(
    new_ward: Callable[[], Ward], by: str
) -> None:
    ward, other_ward = new_ward(), new_ward()
    image = stored_image()
    ward.case(ward.patient("A"), images=[image, stored_image(77)])
    ward.case(ward.patient("B"), images=[image])
    other_ward.case(other_ward.patient("C"), images=[image])
    assert filed_elsewhere(ward, image, "NEW", by=by) == ["A", "B"]
    assert filed_elsewhere(ward, image, " A ", by=by) == ["B"]
    assert filed_elsewhere(other_ward, image, "C", by=by) == []
    assert filed_elsewhere(other_ward, image, "A", by=by) == ["C"]
    assert filed_elsewhere(ward, stored_image(78), "NEW", by=by) == []


def test_an_image_of_a_demonstration_is_nobody_elses(new_ward: Callable[[], Ward]) -> None:
    ward = new_ward()
    image = stored_image()
    case = ward.case(ward.patient("DEMO"), images=[image])
    assert filed_elsewhere(ward, image, "NEW") == ["DEMO"]
    with transaction():
        case.is_demonstration = True
    assert filed_elsewhere(ward, image, "NEW") == []
