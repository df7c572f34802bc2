"""Settings: read once, refused all at once, and each in the README's table."""

import dataclasses
from pathlib import Path

import pytest

from webapp.config import REPOSITORY, InvalidSettings, Settings


def test_nothing_set_is_a_laptop(tmp_path: Path) -> None:
    settings = Settings.from_environment({"INSTANCE_DIR": str(tmp_path)})
    assert not settings.production
    assert settings.embedded_broker
    assert settings.sqlalchemy_url == f"sqlite:///{tmp_path}/firstlook.db"
    assert (
        settings.celery_broker_url == f"redis+socket://{tmp_path}/broker/valkey.sock?virtual_host=0"
    )


def test_one_message_names_every_bad_variable() -> None:
    bad = {"PORT": "http", "WEB_THREADS": "0", "DEBUG": "maybe", "DATABASE_URL": "mysql://x"}
    with pytest.raises(InvalidSettings) as refused:
        Settings.from_environment(bad)
    assert set(refused.value.problems) == set(bad)
    assert all(name in str(refused.value) for name in bad)


def test_what_does_not_go_together_is_named_beside_what_is_wrong_by_itself() -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings.from_environment({"HOST": "0.0.0.0", "PORT": "http", "DEBUG": "1"})
    assert set(refused.value.problems) == {"PORT", "SECRET_KEY", "DEBUG"}


@pytest.mark.parametrize("exposed", [{"HOST": "0.0.0.0"}, {"TRUSTED_PROXIES": "1"}])
def test_production_needs_a_secret_key_and_no_debugging(exposed: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings.from_environment(exposed | {"DEBUG": "1"})
    assert set(refused.value.problems) == {"SECRET_KEY", "DEBUG"}
    assert Settings.from_environment(exposed | {"SECRET_KEY": "s" * 32}).production


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_not_production(host: str) -> None:
    assert not Settings.from_environment({"HOST": host}).production


def test_a_short_secret_key_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="SECRET_KEY"):
        Settings.from_environment({"SECRET_KEY": "short"})


def test_postgresql_is_spoken_to_by_the_driver_that_is_installed() -> None:
    url = "postgresql://firstlook@db/firstlook"
    settings = Settings.from_environment({"DATABASE_URL": url, "AUDIT_KEY": "a" * 32})
    assert settings.sqlalchemy_url == "postgresql+psycopg://firstlook@db/firstlook"


def test_a_database_server_needs_one_audit_key_for_all_machines() -> None:
    with pytest.raises(InvalidSettings, match="AUDIT_KEY"):
        Settings.from_environment({"DATABASE_URL": "postgresql://firstlook@db/firstlook"})


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_the_readme_lists_every_setting(field: dataclasses.Field[object]) -> None:
    assert f"| `{field.name.upper()}` |" in (REPOSITORY / "README.md").read_text()
