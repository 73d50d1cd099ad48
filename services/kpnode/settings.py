"""Everything an operator decides about a node, as one frozen object that explains itself.

`load` reads, the strongest first: environment variables (`KPNODE_API__PORT=8443`), a directory of secrets (one file for
each value, `kpnode_passphrase`, as containers and systemd credentials have them), a TOML file (`kpnode.toml`). A name that no setting
has is an error in each of them, for a mistyped setting is one that is not in force. Nothing about who we are, what is secret
and whom we talk to has a default. Partners are not settings: they are added while the node runs (`kpnode partner`).

`Settings(...)` itself reads nothing but its arguments, so that two nodes fit into one process. Whether the files, hosts and keys that
it names are really there is for `kpnode check`; this module looks at no file but its own sources.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as UnreadableValueError

from kpmsg.policy import Policy
from kpnode.practice import Local, strictly
from kpnode.release import FourEyes
from kpnode.reminding import Reminders
from kpnode.transports.loopback import is_loopback

PREFIX: Final = "KPNODE_"
#: Variables of that prefix that are no settings: where the sources are, and what a test of crashes needs.
NOT_SETTINGS: Final = frozenset({"KPNODE_CONFIG", "KPNODE_SECRETS_DIR", "KPNODE_CRASH_AT"})

_Port = Annotated[int, Field(ge=1, le=65535)]
_Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]


class SettingsError(Exception):
    """The settings cannot be used; `problems` has a sentence for everything that is wrong with them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Management(_Table):
    """RabbitMQ's management API of our own broker, so that partners get their places there by themselves."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?/?$")] = (
        Field(
            description="Base address, e.g. http://127.0.0.1:15672. It never leaves the host or the private network."
        )
    )
    user: str = Field(min_length=1, description="A broker user with the tag administrator.")
    password: SecretStr = Field(description="That user's password.")


class Broker(_Table):
    """Our own RabbitMQ: partners write into it, and only our node reads it."""

    host: _Host = Field(
        description="Host name or address as our node reaches it; a name in the broker's certificate."
    )
    port: _Port = Field(
        default=5671, description="AMQPS port; with plaintext_on_loopback_only the plain AMQP port."
    )
    plaintext_on_loopback_only: bool = Field(
        default=False,
        description=(
            "For a throw-away broker on this very machine (demonstration, tests, measurements): speak AMQP without TLS, to our "
            "own broker and to the partners', with user and password below. Refused for any host but loopback."
        ),
    )
    user: str | None = Field(
        default=None, description="Only with plaintext_on_loopback_only: whom to log in as."
    )
    password: SecretStr | None = Field(
        default=None, description="Only with plaintext_on_loopback_only: the password."
    )
    management: Management | None = Field(
        default=None,
        description=(
            "Management API of the broker. Without it `kpnode partner` writes a definitions file and you import it "
            "(rabbitmqctl import_definitions)."
        ),
    )

    @model_validator(mode="after")
    def _proven(self) -> Self:
        if self.plaintext_on_loopback_only:
            if not is_loopback(self.host):
                raise ValueError("plaintext_on_loopback_only is set, but host is not loopback")
            if self.user is None or self.password is None:
                raise ValueError("plaintext_on_loopback_only needs user and password")
        elif self.user is not None or self.password is not None:
            raise ValueError(
                "user and password are for plaintext_on_loopback_only; over TLS the node has a certificate"
            )
        return self


class Public(_Table):
    """Where partners reach us; published in our key record (`kpnode record --new-version` after a change)."""

    amqps: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,253}:[0-9]{1,5}$")] | None = Field(
        default=None, description="Our broker as partners reach it, host:port; the usual port is 5671."
    )
    https: (
        Annotated[
            str,
            StringConstraints(
                pattern=r"^(https://[A-Za-z0-9.-]{1,253}|http://(127\.0\.0\.1|localhost))(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?$"
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Our node as partners reach it over HTTPS, without /exchange; plain http for loopback only.",
    )

    @field_validator("amqps")
    @classmethod
    def _port(cls, value: str | None) -> str | None:
        if value is not None and not 1 <= int(value.rpartition(":")[2]) <= 65535:
            raise ValueError("the port must be 1 to 65535")
        return value

    @property
    def broker(self) -> tuple[str, int] | None:
        """`amqps` as host and port."""
        if self.amqps is None:
            return None
        host, _, port = self.amqps.rpartition(":")
        return host, int(port)


class Api(_Table):
    """The API for the authority's own systems, and (if exchange_https is on) for partners' nodes."""

    host: _Host = Field(default="127.0.0.1", description="Address to listen on.")
    port: _Port = Field(default=8080, description="TCP port to listen on.")
    certificate: Path | None = Field(
        default=None,
        description="TLS certificate chain (PEM) of the API; without it a proxy in front has to do TLS.",
    )
    key: Path | None = Field(
        default=None, description="Private key (PEM, unencrypted) that belongs to certificate."
    )
    ca: Path | None = Field(
        default=None,
        description=(
            "CA certificate (PEM) by which partners recognise certificate, if it is no public one; it travels in our grants."
        ),
    )
    requests_per_minute: int = Field(
        default=12_000, ge=0, description="Most requests a minute from one API key; 0 means no limit."
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class Log(_Table):
    """Logs go to standard error: events with ids, never trade data."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    format: Literal["json", "text"] = Field(default="json", description="json for machines, text for people.")


class Settings(BaseSettings):
    """One authority's node."""

    # Nested names join with two underscores: KPNODE_API__PORT. An empty variable is one that is not set (compose files).
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    address: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(/[a-z0-9][a-z0-9-]{0,31})?$")] = Field(
        description="The authority's address: BW, or EU/antwerp. It never changes."
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="The authority's name for people, as published in its key record."
    )
    roles: Annotated[tuple[Literal["export", "import"], ...], Field(min_length=1, max_length=2)] = Field(
        description="What the authority writes: notifications (export), confirmations (import), or both."
    )
    testing: bool = Field(
        default=False,
        description=(
            "Everything this node says is a test, and is marked so; it exchanges with nodes alone that test, too. A home and its "
            "database are for the one or the other, for ever."
        ),
    )
    contact: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, description="A telephone number or mail address of the people on duty; published."
    )
    certificate_prefixes: tuple[Annotated[str, StringConstraints(min_length=1, max_length=20)], ...] = Field(
        default=(),
        max_length=20,
        description="How the numbers of this authority's certificates begin; published.",
    )
    home: Path = Field(
        description="Directory of the node's keys, certificates and database; for the node's user alone."
    )
    passphrase: SecretStr = Field(
        description="Opens the private keys in home. Give it as a secret file rather than in the environment."
    )
    database: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host/name, or sqlite:////path; unset means SQLite in home. It may hold a password.",
    )
    public: Public = Field(default=Public(), description="Where partners reach us.")
    broker: Broker | None = Field(
        default=None, description="Our own RabbitMQ; unset means direct HTTPS only."
    )
    exchange_https: bool = Field(
        default=False, description="Take part in direct exchange over HTTPS: POST /exchange/... is answered."
    )
    api: Api = Field(default=Api(), description="The API.")
    four_eyes: FourEyes = Field(default=FourEyes(), description="Who must agree before something is said.")
    policy: Annotated[Policy, BeforeValidator(strictly(Policy))] = Field(
        default=Policy(),
        description="Our practice, published in our key record (`kpnode record --new-version` after a change).",
    )
    local: Annotated[Local, BeforeValidator(strictly(Local))] = Field(
        default=Local(), description="Our practice that is not published."
    )
    reminders: Reminders = Field(default=Reminders(), description="Reminders of overdue confirmations.")
    log: Log = Field(default=Log(), description="Logs.")

    @field_validator("passphrase")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 8:
            raise ValueError("must have at least 8 characters")
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.public.amqps is not None and self.broker is None:
            raise ValueError(
                "public.amqps names a broker for partners, but [broker] does not say how our node reads it"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings names it
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments and nothing else: only `load` looks around."""
        return (init_settings,)

    @property
    def database_url(self) -> str:
        return (
            f"sqlite:///{self.home / 'kpnode.db'}"
            if self.database is None
            else self.database.get_secret_value()
        )


def load(config: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the three sources. Raises SettingsError that names every problem, and no secret.

    `config`: the TOML file; else `KPNODE_CONFIG`, else `kpnode.toml` here if there is one. `environment` is `os.environ` in
    service.
    """
    around = os.environ if environment is None else environment
    named = config or (Path(around["KPNODE_CONFIG"]) if around.get("KPNODE_CONFIG") else None)
    if named is not None and not named.is_file():
        raise SettingsError([f"the configuration file {named} does not exist"])
    here = Path("kpnode.toml")
    file = named or (here if here.is_file() else None)
    secrets = around.get("KPNODE_SECRETS_DIR") or around.get("CREDENTIALS_DIRECTORY")
    problems, values = list[str](), dict[str, Any]()
    try:
        if file is not None:
            values = TomlConfigSettingsSource(Settings, file)()
        for named_values in (_secrets(secrets), around):
            problems += _strange_names(named_values)
            values = _merge(values, _by_name(named_values))
    except (ValueError, OSError, UnreadableValueError) as error:
        raise SettingsError([*problems, f"a source of settings cannot be read: {error}"]) from None
    try:
        settings = Settings(**values)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            name = ".".join(str(step) for step in each["loc"]) or "settings"
            problems.append(f"{name}: {_said(name, each['type'], each['msg'])}")
    else:
        if not problems:
            return settings
    if file is None and "address" not in values:
        problems.insert(0, "no settings file: give --config or KPNODE_CONFIG, or put kpnode.toml here")
    raise SettingsError(problems)


def _said(name: str, kind: str, text: str) -> str:
    match kind:
        case "missing" if name == "passphrase":
            return (
                "must be set: put it into a file kpnode_passphrase in the directory that KPNODE_SECRETS_DIR names, "
                "or set KPNODE_PASSPHRASE"
            )
        case "missing":
            return "must be set"
        case "extra_forbidden":
            return "there is no such setting"
    return text.removeprefix("Value error, ")


def _strange_names(named: Mapping[str, str]) -> list[str]:
    # pydantic-settings looks for the names it knows and so never sees a mistyped one.
    known = {name.upper() for name in Settings.model_fields}
    return [
        f"{name}: there is no such setting"
        for name in sorted(named)
        if name.upper().startswith(PREFIX)
        and name.upper() not in NOT_SETTINGS
        and name.upper().removeprefix(PREFIX).partition("__")[0] not in known
    ]


def _by_name(named: Mapping[str, str]) -> dict[str, Any]:
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in named.items() if value != ""}
    return source()


def _secrets(directory: str | None) -> dict[str, str]:
    """The files whose names are settings; an editor's newline at the end is no part of a secret."""
    if directory is None:
        return {}
    files = [path for path in Path(directory).iterdir() if path.name.upper().startswith(PREFIX)]
    return {path.name: path.read_text().strip() for path in files if path.is_file()}


def _merge(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(weak)
    for name, value in strong.items():
        before = merged.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(before, value) if both else value  # type: ignore[arg-type]
    return merged
