"""What is delivered: one wheel that holds everything the programs need and nothing that is only ours."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree without network and without isolation."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the wheel is installed, without its dependencies (they are in our environment)."""
    directory = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps"]
    subprocess.run(
        [*command, "--python", sys.executable, "--target", str(directory), str(wheel)],
        check=True,
        capture_output=True,
        env={**os.environ, "UV_NO_CACHE": "1"},
    )
    return directory


def test_the_wheel_brings_our_packages_and_no_folder_of_the_repository(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kpmsg", "kpnode"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    expected = {
        path.relative_to(package.parent).as_posix()
        for package in (ROOT / "kpmsg", ROOT / "services" / "kpnode")
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"kpmsg/py.typed", "kpnode/py.typed"} <= expected
    assert expected - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_installed_packages_import_without_the_repository(installed: Path, tmp_path: Path) -> None:
    program = (
        "import importlib, json, pkgutil, sys, kpmsg, kpnode\n"
        "for package in (kpmsg, kpnode):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if '.migrations' not in module.name and not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
        "ours = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('kpmsg', 'kpnode')]\n"
        "print(json.dumps(ours))\n"
    )
    done = _run([sys.executable, "-P", "-c", program], installed, tmp_path)
    files = [file for file in json.loads(done) if file is not None]
    assert files
    assert [file for file in files if not Path(file).is_relative_to(installed)] == []


@pytest.mark.parametrize("command", sorted(_project()["project"]["scripts"]))
def test_the_commands_are_installed_and_explain_themselves(
    command: str, installed: Path, tmp_path: Path
) -> None:
    assert "Usage" in _run([str(installed / "bin" / command), "--help"], installed, tmp_path)


def test_the_changelog_opens_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == _project()["project"]["version"]


def test_every_requirement_is_locked_with_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements-dev.lock").read_text().strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    locked = {re.split(r"[=\[ ;]", entry)[0] for entry in entries}
    project = _project()
    wanted = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
    ]
    assert _names(wanted) - locked == set(), "compile the lock again; the command stands in pyproject.toml"


LOADED_BY_NAME = {"httptools", "uvloop", "psycopg"}
"""Uvicorn and SQLAlchemy load these themselves, if they are there."""

BRINGS_ITS_OWN = {
    "aiormq": "aio-pika",
    "pamqp": "aio-pika",
    "pydantic-core": "pydantic",
    "starlette": "fastapi",
}
"""Libraries we import that are the lower half of one we name; naming both would let them drift apart."""


def test_requirements_are_what_the_packages_import() -> None:
    extras = _project()["project"]["optional-dependencies"]
    plain = _names(_project()["project"]["dependencies"])
    node = _names(extras["node"])
    library, service = _imported(ROOT / "kpmsg"), _imported(ROOT / "services" / "kpnode")
    assert library - plain == set(), "the library imports what a plain installation does not bring"
    assert service - plain - node == set(), "the node imports what [node] does not bring"
    unused = (plain | node) - (library | service) - LOADED_BY_NAME
    assert unused == set(), "a requirement nobody imports is somebody else's code for nothing"


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ;]", requirement)[0] for requirement in requirements}


def _imported(package: Path) -> set[str]:
    """The distributions, other than ours and the standard library, whose modules this package imports."""
    tops: set[str] = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                tops |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                tops.add(node.module.partition(".")[0])
    providers = metadata.packages_distributions()
    foreign = tops - set(sys.stdlib_module_names) - {"kpmsg", "kpnode"}
    named = {providers.get(top, [top])[0].lower().replace("_", "-") for top in foreign}
    return {BRINGS_ITS_OWN.get(name, name) for name in named}


def _run(command: list[str], installed: Path, directory: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "TERM": "dumb"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
