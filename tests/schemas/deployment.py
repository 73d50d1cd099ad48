"""Writes the files in `deploy/` that repeat what the code decides: `python -m tests.schemas.deployment`.

`kpnode.example.toml` explains every setting in the words of the settings model; `rabbitmq/` is what `kpnode.broker` asks of a
broker, at the paths of docker-compose.yml. A test fails when the committed files differ from what this writes.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kpnode.broker import enabled_plugins, rabbitmq_conf
from kpnode.home import Home
from kpnode.settings import PREFIX, Settings

FOLDER = Path(__file__).parents[2] / "deploy"
HOME: Final = Path("/var/lib/kpnode")
PORT: Final = 5671

#: In force in the example, for they must be set, or most nodes will set them.
CHOSEN: Final[dict[str, Any]] = {
    "address": "BW",
    "name": "Botswana",
    "roles": ["export", "import"],
    "contact": "+267 000 0000",
    "certificate_prefixes": ["BW"],
    "home": str(HOME),
    "public.amqps": f"broker.kp.example:{PORT}",
    "broker.host": "localhost",
}
#: For settings that have neither a default nor a value above.
EXAMPLES: Final[dict[str, Any]] = {
    "passphrase": "a sentence that nobody guesses",
    "database": "postgresql://kpnode:password@localhost/kpnode",
    "public.https": "https://node.kp.example",
    "broker.user": "kpnode",
    "broker.password": "password",
    "broker.management.url": "http://127.0.0.1:15672",
    "broker.management.user": "kpnode-admin",
    "broker.management.password": "password",
    "api.certificate": "/etc/kpnode/api.pem",
    "api.key": "/etc/kpnode/api.key",
    "api.ca": "/etc/kpnode/api-ca.pem",
    "policy.numbers": [
        {
            "letters": "BW",
            "digits": 6,
            "leading_zeros": "padding",
            "ranges": [{"first": 1, "last": 60000}],
            "valid_from": "2003-01-01",
        }
    ],
    "policy.tolerances": [
        {"carats": "0.05", "carats_percent": "0.10", "value_percent": "25", "valid_from": "2003-01-01"}
    ],
    "policy.deadlines": [{"what": "confirmation", "days": 10, "working": True, "valid_from": "2003-01-01"}],
    "policy.single_origin": [{"from_carats": "1.00", "valid_from": "2025-01-01"}],
    "policy.embargoes": [{"origins": ["CI"], "valid_from": "2005-12-15", "valid_until": "2014-04-29"}],
    "policy.regimes": [{"origins": ["XX"], "valid_from": "2015-06-01", "valid_until": "2024-11-30"}],
    "policy.standing": [
        {
            "participant": "XX",
            "standing": "suspended",
            "valid_from": "2026-01-01",
            "valid_until": "2026-06-30",
        }
    ],
    "policy.validity_days": [{"days": 60, "valid_from": "2003-01-01"}],
    "policy.price_bands": [{"hs": "7102.31", "least": "5.00", "most": "4000.00", "valid_from": "2025-01-01"}],
    "policy.confirmers": [{"role": "importing_authority", "valid_from": "2003-01-01"}],
    "policy.delays": [{"days": 7, "valid_from": "2025-01-01"}],
    "policy.calendar.weekends": [
        {"days": ["friday", "saturday"], "valid_from": "2003-01-01"},
        {"days": ["saturday", "sunday"], "valid_from": "2022-01-01"},
    ],
    "policy.calendar.holidays": ["2026-01-01", "2026-05-01", "2026-12-25", "2026-12-26"],
    "local.standing": [{"participant": "XY", "standing": "suspended", "valid_from": "2026-01-01"}],
    "local.embargoes": [{"origins": ["XX"], "zone": "Upper Basin", "valid_from": "2026-01-01"}],
    "local.regimes": [{"origins": ["XX"], "valid_from": "2026-01-01"}],
    "local.single_origin": [{"from_carats": "0.50", "valid_from": "2026-01-01"}],
    "local.price_bands": [{"least": "1.00", "most": "100000.00", "valid_from": "2025-01-01"}],
    "local.delays": [{"days": 3, "valid_from": "2025-01-01"}],
}
OPENING: Final = """\
Example configuration of one authority's node: every setting, each once. Written from the settings model by
`python -m tests.schemas.deployment`; copy it to /etc/kpnode/kpnode.toml and change the copy.

A setting behind a # is not in force. It shows the default, or an example where it says so.

Environment variables are stronger than this file: KPNODE_API__PORT for port in [api]. So are secret files in the directory that \
KPNODE_SECRETS_DIR (or systemd's CREDENTIALS_DIRECTORY) names; what is secret belongs there and not here.

`kpnode check` names everything that is wrong at once."""


def example_toml() -> str:
    lines = _comment(OPENING)
    for table, model in tables(Settings):
        if table:
            # An empty table is in force where it may be: else the first setting uncommented would fall into the one before.
            idle = any(f.is_required() for f in model.model_fields.values()) and not _chosen(table)
            lines += ["", "", *_comment(str(model.__doc__)), f"#[{table}]" if idle else f"[{table}]"]
        for name, field in model.model_fields.items():
            if _model_in(field) is None:
                lines += ["", *_setting(f"{table}.{name}" if table else name, field)]
    return "\n".join(lines) + "\n"


def tables(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Each table with its dotted name, outer ones first."""
    yield path, model
    for name, field in model.model_fields.items():
        inner = _model_in(field)
        if inner is not None:
            yield from tables(inner, f"{path}.{name}" if path else name)


def names() -> list[str]:
    """The dotted name of every setting."""
    return [
        f"{table}.{name}" if table else name
        for table, model in tables(Settings)
        for name, field in model.model_fields.items()
        if _model_in(field) is None
    ]


def _chosen(table: str) -> bool:
    return any(name.startswith(f"{table}.") for name in CHOSEN)


def _setting(path: str, field: FieldInfo) -> list[str]:
    text, name = str(field.description), path.rpartition(".")[2]
    if path in CHOSEN:
        return [*_comment(text), f"{name} = {json.dumps(CHOSEN[path])}"]
    if SecretStr in (field.annotation, *get_args(field.annotation)):
        text += f" Secret file: {PREFIX.lower()}{path.replace('.', '__')}."
    if path in EXAMPLES:
        return [*_comment(text), f"#{name} = {_toml(EXAMPLES[path])} # example"]
    if field.default in (None, PydanticUndefined):
        raise ValueError(f"{path} has no default; give it a value in CHOSEN or EXAMPLES")
    return [*_comment(text), f"#{name} = {json.dumps(field.default)}"]


def _comment(text: str) -> list[str]:
    wrapped = [part for line in text.split("\n") for part in textwrap.wrap(line, 118) or [""]]
    return [f"# {line}".rstrip() for line in wrapped]


def _toml(value: Any) -> str:
    """As an inline value of TOML: what JSON and TOML write alike, lists and tables."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)


def _model_in(field: FieldInfo) -> type[BaseModel] | None:
    if get_origin(field.annotation) is tuple:  # a list of entries is one setting
        return None
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def broker_files() -> dict[str, str]:
    """No management API: less to attack, and what it would do is done by `rabbitmqctl` in the broker's container."""
    home = Home(HOME)
    conf = rabbitmq_conf(
        ca=home.broker("ca.pem"),
        certificate=home.broker("server.pem"),
        key=home.broker("server.key"),
        definitions=home.broker("definitions.json"),
        port=PORT,
        management_port=None,
    )
    return {"rabbitmq.conf": conf, "enabled_plugins": enabled_plugins(management=False)}


def written() -> dict[PurePosixPath, str]:
    """Every file, by its path in `deploy/`."""
    files = {PurePosixPath("kpnode.example.toml"): example_toml()}
    return files | {PurePosixPath("rabbitmq", name): text for name, text in broker_files().items()}


if __name__ == "__main__":
    for file, content in written().items():
        (FOLDER / file).write_text(content, encoding="utf-8")
