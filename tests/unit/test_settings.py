"""Settings: three sources in their order, everything wrong named at once, nothing secret shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from kpnode.settings import Settings, SettingsError, load

TOML = """
address = "BW"
name = "Botswana"
roles = ["export"]
home = "/var/lib/kpnode"
passphrase = "from the file"
[api]
port = 8443
[broker]
host = "rabbitmq"
[broker.management]
url = "http://127.0.0.1:15672"
user = "admin"
password = "file"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kpnode.toml"
    path.write_text(TOML)
    return path


def problems(config: Path | None, environment: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(config, environment)
    return caught.value.problems


def test_the_environment_is_stronger_than_secrets_and_they_than_the_file(file: Path, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "kpnode_passphrase").write_text("from a secret\n")
    (secrets / "kpnode_broker__management__password").write_text("secret")
    (secrets / "somebody_elses").write_text("x")
    environment = {"KPNODE_SECRETS_DIR": str(secrets), "KPNODE_API__PORT": "99", "KPNODE_NAME": ""}
    settings = load(file, environment)
    assert settings.passphrase.get_secret_value() == "from a secret"
    assert settings.broker is not None
    assert settings.broker.management is not None
    assert settings.broker.management.password.get_secret_value() == "secret"
    assert (settings.api.port, settings.broker.host, settings.name) == (99, "rabbitmq", "Botswana")
    assert load(file, environment | {"KPNODE_PASSPHRASE": "from outside"}).passphrase == SecretStr(
        "from outside"
    )


def test_the_file_is_named_by_the_environment_too(file: Path) -> None:
    assert load(None, {"KPNODE_CONFIG": str(file)}).address == "BW"
    assert "does not exist" in problems(None, {"KPNODE_CONFIG": "/nowhere.toml"})[0]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KPNODE_PASPHRASE": "x"}, "KPNODE_PASPHRASE: there is no such setting"),
        ({"KPNODE_API__PROT": "1"}, "api.prot: there is no such setting"),
        ({"KPNODE_ADDRESS": "bw"}, "address: String should match"),
        ({"KPNODE_API__PORT": "0"}, "api.port: Input should be greater"),
        ({"KPNODE_PUBLIC__AMQPS": "broker.example:70000"}, "public.amqps: the port must be 1 to 65535"),
        ({"KPNODE_PUBLIC__HTTPS": "http://example.com"}, "public.https: String should match"),
        ({"KPNODE_PASSPHRASE": "short"}, "passphrase: must have at least 8 characters"),
        ({"KPNODE_BROKER__USER": "x"}, "broker: user and password are for plaintext_on_loopback_only"),
        (
            {"KPNODE_BROKER__PLAINTEXT_ON_LOOPBACK_ONLY": "true"},
            "broker: plaintext_on_loopback_only is set, but host",
        ),
        ({"KPNODE_API__KEY": "/x"}, "api: certificate and key belong together"),
        ({"KPNODE_ROLES": "export"}, "a source of settings cannot be read"),
        ({"KPNODE_SECRETS_DIR": "/nowhere"}, "a source of settings cannot be read"),
    ],
)
def test_what_is_wrong_is_said(file: Path, environment: dict[str, str], said: str) -> None:
    assert any(problem.startswith(said) for problem in problems(file, environment)), problems(
        file, environment
    )


def test_a_mistyped_table_and_key_in_the_file(file: Path) -> None:
    file.write_text(TOML.replace("[api]", "[apo]").replace("host =", "hots ="))
    assert {
        "apo: there is no such setting",
        "broker.host: must be set",
        "broker.hots: there is no such setting",
    } <= set(problems(file, {}))


def test_a_mistyped_secret(file: Path, tmp_path: Path) -> None:
    (tmp_path / "kpnode_pasphrase").write_text("x")
    assert problems(file, {"KPNODE_SECRETS_DIR": str(tmp_path)}) == [
        "kpnode_pasphrase: there is no such setting"
    ]


def test_nothing_about_identity_and_secrets_has_a_default() -> None:
    wanted = {"address", "name", "roles", "home", "passphrase"}
    assert {name for name, field in Settings.model_fields.items() if field.is_required()} == wanted
    first, *others = problems(None, {})
    assert first.startswith("no settings file")
    assert {problem.partition(":")[0] for problem in others} == wanted


def test_secrets_are_shown_nowhere(file: Path) -> None:
    settings = load(file, {"KPNODE_DATABASE": "postgresql://kp:topsecret@db/kp"})
    assert "from the file" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "topsecret" not in repr(settings)
    assert settings.database_url == "postgresql://kp:topsecret@db/kp"
    assert "hushed" not in str(problems(file, {"KPNODE_PASSPHRASE": "hushed"}))


def test_the_arguments_alone_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPNODE_ADDRESS", "ZA")
    settings = Settings(
        address="BW", name="B", roles=("export",), home=Path("x"), passphrase=SecretStr("12345678")
    )
    assert settings.address == "BW"
    assert settings.home == Path.cwd() / "x"
    assert settings.database_url == f"sqlite:///{Path.cwd()}/x/kpnode.db"
    with pytest.raises(ValidationError):
        settings.address = "ZA"  # type: ignore[misc]


def _fields(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield f"{at}{name}", field
        if get_origin(field.annotation) is tuple:  # entries are explained by protocol/policy.md
            continue
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _fields(kind, f"{at}{name}.")


def test_every_setting_is_explained() -> None:
    found = dict(_fields(Settings))
    assert {"api.port", "broker.management.password", "public.amqps", "log.level"} <= set(found)
    assert [name for name, field in found.items() if not (field.description or "").endswith(".")] == []


def test_four_eyes_are_asked_for_by_type_or_for_everything(file: Path) -> None:
    assert load(file, {}).four_eyes.types == ()
    named = load(file, {"KPNODE_FOUR_EYES__TYPES": '["cancellation"]'})
    assert named.four_eyes.types == ("org.kimberley.cancellation.v1",)
    assert load(file, {"KPNODE_FOUR_EYES__TYPES": "all"}).four_eyes.types == "all"
    file.write_text(TOML + '[four_eyes]\ntypes = ["cancelation"]\n')
    [wrong] = problems(file, {})
    assert wrong.startswith("four_eyes.types")
    assert "there is no document type 'cancelation'; types are export-notification, " in wrong
