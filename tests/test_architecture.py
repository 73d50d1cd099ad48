"""Who may import whom, which library has which door, and what the pure part may not touch.

The rules are read from the source with `ast`, so that an import inside a function or behind TYPE_CHECKING counts like
any other. Each rule says why it is there; a rule that has become wrong is changed here, with its reason.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Module:
    """One source file of ours: its import name, its path from the root, and what it imports."""

    name: str
    path: str
    tree: ast.Module
    lines: int

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@functools.cache
def modules() -> dict[str, Module]:
    """Every module of the library and the services, by import name."""
    found = {}
    packages = [ROOT / "kpmsg", *sorted(path for path in (ROOT / "services").iterdir() if path.is_dir())]
    for package in packages:
        for file in sorted(package.rglob("*.py")):
            parts = list(file.relative_to(package.parent).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = file.read_text()
            path = file.relative_to(ROOT).as_posix()
            found[name] = Module(name, path, ast.parse(text, path), len(text.splitlines()))
    return found


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """Each dotted name the module imports, wherever the statement stands, with its line.

    `from a import b` is given as `a.b`; whether that is a module or a name in one is for `target` to find out.
    """
    package = module.name if module.path.endswith("/__init__.py") else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                origin = ".".join([*base, origin]) if origin else ".".join(base)
            for alias in node.names:
                yield f"{origin}.{alias.name}", node.lineno


def target(name: str) -> str | None:
    """The module of ours that this import reaches, or None if it leads elsewhere."""
    while name:
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return None


def _report(because: str, offences: list[str]) -> None:
    assert not offences, f"{because}\n" + "\n".join(f"  {offence}" for offence in offences)


# --- who may import whom ---------------------------------------------------------------------------------------------

MAY_IMPORT = {
    "kpmsg": {"kpmsg"},
    "kpnode": {"kpnode", "kpmsg"},
    "kpconsole": {"kpconsole", "kpmsg"},
    "kpbridge": {"kpbridge", "kpmsg"},
}


def test_each_package_imports_only_what_it_may() -> None:
    because = "the library serves programs that have no node, and services meet in the API, not in each other's code"
    offences = [
        f"{module.path}:{line} imports {name}"
        for module in modules().values()
        for name, line in imports(module)
        if name.partition(".")[0] in MAY_IMPORT and name.partition(".")[0] not in MAY_IMPORT[module.top]
    ]
    _report(because, offences)


def test_every_package_has_its_rule() -> None:
    assert {module.top for module in modules().values()} <= set(MAY_IMPORT), (
        "a new package needs a line in MAY_IMPORT"
    )


def test_nobody_imports_the_folders() -> None:
    because = (
        "`services`, `protocol` and `deploy` are folders of this repository; installed, they do not exist"
    )
    sources = [(module.path, module.tree) for module in modules().values()]
    sources += [(path, ast.parse((ROOT / path).read_text())) for path in text_files() if path.endswith(".py")]
    offences = [
        f"{path} imports {name}"
        for path, tree in sources
        for name, _ in imports(Module("", path, tree, 0))
        if name.partition(".")[0] in {"services", "protocol", "deploy"}
    ]
    _report(because, offences)


def test_there_are_no_cycles() -> None:
    because = (
        "modules that import each other are one module in two files, and only one order of imports works"
    )
    edges = {
        module.name: sorted(
            {reached for name, _ in imports(module) if (reached := target(name)) and reached != module.name}
        )
        for module in modules().values()
    }
    _report(because, [" -> ".join(cycle) for cycle in _cycles(edges)])


def _cycles(edges: dict[str, list[str]]) -> list[list[str]]:
    """One cycle for each module that closes one, found by walking depth first."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for following in edges[name]:
                walk(following, [*trail, name])
            done.add(name)

    for name in edges:
        walk(name, [])
    return found


def test_the_search_for_cycles_finds_one() -> None:
    assert _cycles({"a": ["b"], "b": ["c"], "c": ["b"]}) == [["b", "c", "b"]]
    assert _cycles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


# --- one library, one door -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Door:
    libraries: tuple[str, ...]
    places: tuple[str, ...]
    because: str


DOORS = [
    Door(
        ("aio_pika", "aiormq", "pamqp"),
        ("services/kpnode/transports/amqp.py",),
        "every way a broker can answer or fail is classified once; elsewhere a lost message would look like success",
    ),
    Door(
        ("sqlmodel", "sqlalchemy"),
        ("services/kpnode/store/", "services/kpnode/migrations/"),
        "what is durable, and in which transaction, is decided in the store",
    ),
    Door(
        ("alembic",),
        ("services/kpnode/store/", "services/kpnode/migrations/"),
        "the store knows how its tables change",
    ),
    Door(
        ("cryptography",),
        ("kpmsg/keys.py", "services/kpnode/pki.py"),
        "signing keys have one home; X.509, which only the transport needs, has another",
    ),
    Door(
        ("joserfc",),
        ("kpmsg/keys.py",),
        "one function is bound to the JOSE library, with its list of algorithms",
    ),
    Door(
        ("httpx",),
        (
            "kpmsg/client/asking.py",
            "services/kpnode/transports/https.py",
            "services/kpnode/broker.py",
            "services/kpnode/doctor.py",
        ),
        "these modules make HTTP calls by purpose; a call from anywhere else is a surprise to whoever runs a firewall",
    ),
    Door(("psycopg",), (), "SQLAlchemy loads the driver by URL"),
    Door(
        ("fastapi", "starlette", "uvicorn"),
        ("services/",),
        "the library must verify and decide outside any web process",
    ),
]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.libraries[0])
def test_one_library_one_door(door: Door) -> None:
    offences = [
        f"{module.path}:{line} imports {name}"
        for module in modules().values()
        for name, line in imports(module)
        if name.partition(".")[0] in door.libraries and not module.path.startswith(door.places)
    ]
    _report(door.because, offences)


# --- the library is pure ---------------------------------------------------------------------------------------------

EDGES = ("kpmsg/cli/edge.py", "kpmsg/keys.py")
"""Where the library meets a person, a file and chance."""


@dataclass(frozen=True)
class Purity:
    name: str
    modules: tuple[str, ...]
    calls: tuple[str, ...]
    exempt: tuple[str, ...]
    because: str


PURITY = [
    Purity(
        "clock",
        ("time",),
        ("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
        ("kpmsg/cli/edge.py",),
        "time is an argument: a signature made years ago is judged as of then, and a simulation owns the clock",
    ),
    Purity(
        "environment",
        (),
        ("os.environ", "os.environb", "os.getenv"),
        ("kpmsg/cli/edge.py",),
        "what a function does follows from its arguments, on every machine",
    ),
    Purity(
        "files",
        ("tempfile", "shutil", "glob"),
        (
            "open",
            ".read_text",
            ".read_bytes",
            ".write_text",
            ".write_bytes",
            ".open",
            ".unlink",
            ".mkdir",
            "os.open",
        ),
        EDGES,
        "who calls decides where bytes come from and go to; data of the package itself is read by importlib.resources",
    ),
    Purity(
        "chance",
        ("random", "secrets", "uuid_utils"),
        ("os.urandom", "uuid.uuid4", "uuid.uuid1"),
        EDGES,
        "randomness is an argument too: the same run can be had again from its seed",
    ),
    Purity(
        "network and processes",
        ("socket", "subprocess", "asyncio", "threading", "multiprocessing"),
        (),
        ("kpmsg/client/asking.py",),
        "a library that starts nothing can be used anywhere",
    ),
]


@pytest.mark.parametrize("purity", PURITY, ids=lambda purity: purity.name)
def test_the_library_is_pure(purity: Purity) -> None:
    offences = [
        offence
        for module in modules().values()
        if module.top == "kpmsg" and module.path not in purity.exempt
        for offence in _impurities(module, purity)
    ]
    _report(purity.because, offences)


def _impurities(module: Module, purity: Purity) -> Iterator[str]:
    for name, line in imports(module):
        if name.partition(".")[0] in purity.modules:
            yield f"{module.path}:{line} imports {name}"
    resources = _resource_readers(module)
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and node not in resources:
            dotted = _dotted(node)
            if any(dotted == call or ("." in call and dotted.endswith(call)) for call in purity.calls):
                yield f"{module.path}:{node.lineno} uses {dotted}"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("clock", "from datetime import datetime\ndef f(): return datetime.now()"),
        ("clock", "def f():\n    import time"),
        ("environment", "import os\nHOME = os.environ['HOME']"),
        ("files", "def f(path): return open(path)"),
        ("files", "def f(path): return path.read_bytes()"),
        ("chance", "if False:\n    from secrets import token_bytes"),
        ("network and processes", "import asyncio"),
    ],
)
def test_the_search_for_impurity_finds_it(name: str, source: str) -> None:
    [purity] = [purity for purity in PURITY if purity.name == name]
    assert list(_impurities(Module("kpmsg.x", "kpmsg/x.py", ast.parse(source), 0), purity))


def test_data_of_the_package_itself_may_be_read() -> None:
    source = "from importlib import resources\nTABLE = resources.files('kpmsg').joinpath('t.csv').read_text()"
    [files] = [purity for purity in PURITY if purity.name == "files"]
    assert not list(_impurities(Module("kpmsg.x", "kpmsg/x.py", ast.parse(source), 0), files))


def _dotted(node: ast.expr) -> str:
    """`a.b.c` as it is written; whatever is not a name becomes nothing, so that `f().open` is `.open`."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _resource_readers(module: Module) -> set[ast.expr]:
    """The `.read_text` in `resources.files(...).joinpath(...).read_text()`: data of the package, not of the machine."""
    return {
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and re.search(r"\bfiles\(", ast.unparse(node.value))
    }


# --- names and sizes -------------------------------------------------------------------------------------------------

MAX_LINES = 400

LONGER: dict[str, tuple[int, str]] = {
    # path: (its own cap, why it is one thing all the same)
    "services/kpnode/store/submissions.py": (
        425,
        "one submission from its facts to its rows; the dry run shares the halves of it",
    ),
    "kpmsg/register.py": (480, "one decision each for every frame; its halves would only call one another"),
}


def test_modules_are_short() -> None:
    because = f"a module of more than {MAX_LINES} lines usually holds two things; find the second and name it"
    offences = [
        f"{module.path} has {module.lines} lines"
        for module in modules().values()
        if module.lines > LONGER.get(module.path, (MAX_LINES, ""))[0]
    ]
    _report(because, offences)


def test_exceptions_from_the_length_are_still_needed() -> None:
    lengths = {module.path: module.lines for module in modules().values()}
    _report(
        "an exception nobody needs invites the next",
        [path for path in LONGER if lengths.get(path, 0) <= MAX_LINES],
    )


MEANINGLESS = {
    "base",
    "common",
    "core",
    "handler",
    "handlers",
    "helper",
    "helpers",
    "manager",
    "misc",
    "shared",
    "util",
    "utils",
}


def test_modules_and_classes_are_named_for_what_they_decide() -> None:
    because = "a name that fits everything attracts everything"
    offences = [
        module.path
        for module in modules().values()
        if MEANINGLESS & set(module.name.split(".")[-1].split("_"))
    ]
    offences += [
        f"{module.path}:{node.lineno} {node.name}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Handler|Helper|Utils?)\Z", node.name)
    ]
    _report(because, offences)


def test_every_module_says_what_it_is() -> None:
    because = "a reader who opens the file is owed one sentence before the imports"
    offences = [
        module.path
        for module in modules().values()
        if module.lines and ast.get_docstring(module.tree) is None
    ]
    _report(because, offences)


# --- every committed file --------------------------------------------------------------------------------------------


@functools.cache
def text_files() -> tuple[str, ...]:
    """Every file git knows or would add, that is text; without git (an unpacked archive), every file."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        names = [name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        skip = {
            ".git",
            ".venv",
            "__pycache__",
            "dist",
            ".mypy_cache",
            ".ruff_cache",
            ".pytest_cache",
            ".hypothesis",
        }
        paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        names = [path.as_posix() for path in paths if not skip & set(path.parts)]
    ours = [
        name for name in names if not name.startswith("services/kpnode/api/viewer/")
    ]  # as its makers publish it
    return tuple(sorted(name for name in ours if b"\0" not in (ROOT / name).read_bytes()[:8000]))


# Written in pieces, or this file would find itself.
UNWANTED = {
    "an absolute path is true on one machine only": re.compile(
        r"(?<![\w.}/-])/(?:ho" r"me|Us" r"ers|ro" r"ot|wo" r"rk|works" r"paces?)/[\w.-]|[A-Z]:\\\\?Us" r"ers"
    ),
    "where packages come from is the machine's business (pip.conf); the lock holds names and hashes": re.compile(
        r"py" r"pi\.org|python" r"hosted\.org|registry\.n" r"pmjs\.org|npm\.pkg\.github\.com|index-" r"url"
    ),
    "what is to be done stands in an issue, where somebody looks": re.compile(
        r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b"
    ),
}


@pytest.mark.parametrize("because", UNWANTED)
def test_committed_text_is_free_of(because: str) -> None:
    pattern = UNWANTED[because]
    offences = [
        f"{name}:{number} {match.group()}"
        for name in text_files()
        if name != "LICENSE"
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), 1)
        if (match := pattern.search(line))
    ]
    _report(because, offences)
