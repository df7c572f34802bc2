"""What docs/deploy.md and the files beside it say is what there is."""

import re
from dataclasses import fields

from tests.stack import procfile
from webapp.config import REPOSITORY, Settings

DEPLOY = (REPOSITORY / "docs" / "deploy.md").read_text()
COMPOSE = (REPOSITORY / "docs" / "compose.yaml").read_text()
STARTED = re.compile(r"honcho --env /dev/null start (\w+)")


def test_every_process_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", DEPLOY, re.MULTILINE))
    assert set(procfile()) <= described
    assert set(STARTED.findall(DEPLOY)) <= described


def test_the_containers_run_every_process_but_the_embedded_broker() -> None:
    assert set(procfile()) - {"broker"} <= set(STARTED.findall(COMPOSE))


def test_every_setting_that_is_named_exists() -> None:
    known = {field.name.upper() for field in fields(Settings)}
    shared = COMPOSE.partition("&environment")[2].partition("volumes:")[0]
    in_compose = set(re.findall(r"^    ([A-Z_]+): ", shared, re.MULTILINE))
    in_deploy = set(re.findall(r"^(?:# )?([A-Z]+(?:_[A-Z]+)+)=", DEPLOY, re.MULTILINE))
    assert len(in_compose) >= 5
    assert len(in_deploy) >= 5
    assert in_compose | in_deploy <= known
