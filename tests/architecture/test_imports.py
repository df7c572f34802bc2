"""Who may import whom: the contracts are in pyproject.toml."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_is_in_the_contracts() -> None:
    importlinter = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]
    by_name = {contract["name"]: contract for contract in importlinter["contracts"]}
    modules = {f"webapp.{path.stem}" for path in (REPOSITORY / "webapp").glob("[!_]*.py")}
    rooms = {f"webapp.{path.parent.name}" for path in (REPOSITORY / "webapp").glob("*/__init__.py")}
    features = rooms - {"webapp.worker"}
    assert len(features) > 15
    assert set(by_name["The web knows no models"]["source_modules"]) == modules | features
    layers = by_name["Features use only what lies below them"]["layers"]
    assert features <= {room for layer in layers for room in layer.split(" | ")}
    inside = by_name["Inside a feature: views, forms, services, queries, models"]["containers"]
    assert features <= set(inside)


def test_the_web_loads_no_model_code(tmp_path: Path) -> None:
    """torch in a web process costs 200 MB and hangs forked children; decoders of DICOM can crash,
    and have a process of their own."""
    program = "import sys, wsgi; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"INSTANCE_DIR": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "webapp.triage.views" in loaded
    assert not loaded & {"torch", "onnxruntime", "ml", "pydicom", "webapp.worker"}


@pytest.mark.parametrize(
    "path",
    sorted(p for room in ("webapp", "ml") for p in (REPOSITORY / room).rglob("__init__.py")),
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_a_package_file_holds_a_docstring_and_nothing_else(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert ast.get_docstring(ast.parse(path.read_text()))
