"""docker-compose.yml and deploy/ say what the code says: every variable, port, path, secret and file, without a container engine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kpnode import broker, doctor
from kpnode.api import health
from kpnode.home import Home
from kpnode.settings import NOT_SETTINGS, PREFIX, Settings, load
from kpnode.setup import broker_names
from kpnode.store.callers import Scope
from tests.compose import (
    AUTHORITIES,
    ROOT,
    compose,
    environment,
    instructions,
    mounts,
    published,
    secrets,
    services,
)
from tests.schemas import deployment

DEPLOY = ROOT / "deploy"
SECRETS = {"KPNODE_PASSPHRASE": "long enough", "KPNODE_DATABASE": "postgresql://kpnode:x@bw-database/kpnode"}


@cache
def settings(who: str) -> Settings:
    """The settings that the node of one authority would load in its container."""
    variables = {n: v for n, v in environment(f"{who}-node").items() if n != "KPNODE_SECRETS_DIR"}
    return load(None, variables | SECRETS)


# --- what is generated -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", deployment.written(), ids=str)
def test_generated_files_are_what_the_code_would_write(file: Path) -> None:
    text = deployment.written()[file]  # type: ignore[index]
    assert (DEPLOY / file).read_text() == text, "python -m tests.schemas.deployment"


def test_the_example_configuration_loads() -> None:
    loaded = load(DEPLOY / "kpnode.example.toml", {"KPNODE_PASSPHRASE": "long enough"})
    assert loaded.address == "BW"
    assert loaded.home == Path("/var/lib/kpnode")


def test_the_example_configuration_has_every_setting_once_and_explains_it() -> None:
    lines = (DEPLOY / "kpnode.example.toml").read_text().splitlines()
    everything = "\n".join(re.sub(r"^#(?=[\[a-z])", "", line) for line in lines)
    values = tomllib.loads(everything)  # which refuses a name that occurs twice
    assert sorted(_leaves(values)) == sorted(deployment.names())
    for number, line in enumerate(lines):
        if re.match(r"#?[a-z_]+ = ", line):
            assert lines[number - 1].startswith("# "), line
    del values["broker"]["user"], values["broker"]["password"]  # for plaintext_on_loopback_only, which is off
    Settings(**values)


def test_examples_are_for_settings_that_exist() -> None:
    assert set(deployment.CHOSEN) | set(deployment.EXAMPLES) <= set(deployment.names())
    assert not set(deployment.CHOSEN) & set(deployment.EXAMPLES)


def _leaves(values: Mapping[str, Any], path: str = "") -> list[str]:
    return [
        leaf
        for name, value in values.items()
        for leaf in (_leaves(value, f"{path}{name}.") if isinstance(value, dict) else [path + name])
    ]


# --- docker-compose.yml: settings --------------------------------------------------------------------------------------------


def test_every_variable_is_a_setting_or_says_where_settings_are() -> None:
    known = {PREFIX + name.upper().replace(".", "__") for name in deployment.names()} | NOT_SETTINGS
    found = {name for service in services() for name in environment(service) if name.startswith(PREFIX)}
    assert found
    assert found <= known
    assert "KPNODE_CRASH_AT" not in found


@pytest.mark.parametrize("who", AUTHORITIES)
def test_a_node_is_given_settings_that_load(who: str) -> None:
    mine = settings(who)
    assert mine.address == AUTHORITIES[who]
    assert mine.broker is not None
    assert not mine.broker.plaintext_on_loopback_only


def test_the_two_authorities_differ_in_names_alone() -> None:
    """What is mended for one and forgotten for the other shows here."""
    one, other = ({n: s for n, s in services().items() if n.startswith(who)} for who in AUTHORITIES)
    assert len(one) == len(other) == 3
    swapped = yaml.safe_dump(one, sort_keys=True)
    for here, there in (("bw", "ae"), ("BW", "AE"), ("Botswana", "United Arab Emirates"), ("8081", "8082")):
        swapped = swapped.replace(here, there)
    assert yaml.safe_load(swapped) == other


# --- docker-compose.yml: secrets ---------------------------------------------------------------------------------------------


def test_secrets_come_in_files_that_the_node_reads() -> None:
    for node in services("-node"):
        folder = environment(node)["KPNODE_SECRETS_DIR"]
        assert {f"{folder}/kpnode_passphrase", f"{folder}/kpnode_database"} == set(secrets(node))
    for database in services("-database"):
        assert environment(database)["POSTGRES_PASSWORD_FILE"] in secrets(database)
        script = next(source for target, (source, _) in mounts(database).items() if "initdb.d" in target)
        assert set(re.findall(r"/run/secrets/\w+", (ROOT / script).read_text())) < set(secrets(database))


def test_no_secret_is_written_down() -> None:
    for service in services():
        for name, value in environment(service).items():
            assert not re.search(r"PASS|SECRET|KEY|COOKIE|TOKEN", name) or name.endswith(("_FILE", "_DIR")), (
                name,
                value,
            )
            assert "://" not in value, (name, value)
    assert not instructions("ARG")[1:]
    assert not re.search(r"(?i)passphrase|password|secret_", "".join(instructions("ENV")))


def test_every_secret_is_declared_used_and_made_by_the_introduction() -> None:
    declared = {name: each["file"] for name, each in compose()["secrets"].items()}
    used = {each["source"] for service in services().values() for each in service.get("secrets", [])}
    assert used == set(declared)
    script = (DEPLOY / "introduce.sh").read_text()
    made = {
        f"{who}-{name}"
        for who in AUTHORITIES
        for name in re.findall(r'^ +secret "\$who-([a-z-]+)"', script, re.MULTILINE)
    }
    assert made == used
    assert set(declared.values()) == {f"./deploy/secrets/{name}" for name in declared}
    assert "secrets/" in (DEPLOY / ".gitignore").read_text().splitlines()


def test_no_two_services_share_a_secret_but_a_databases_password() -> None:
    holders: dict[str, list[str]] = {}
    for name in services():
        for file in secrets(name).values():
            holders.setdefault(file, []).append(name)
    assert all(
        len(who) == 1 for who in holders.values()
    )  # the URL holds the password that the database is given


# --- docker-compose.yml: networks and ports --------------------------------------------------------------------------------------


def _networks(service: str) -> dict[str, list[str]]:
    """The networks of a service, each with the names that it has there beside its own."""
    given = compose()["services"][service]["networks"]
    if isinstance(given, list):
        return {name: [] for name in given}
    return {name: (each or {}).get("aliases", []) for name, each in given.items()}


def test_networks_volumes_and_services_that_are_named_exist_and_are_used() -> None:
    used_networks = {network for service in services() for network in _networks(service)}
    assert used_networks == set(compose()["networks"])
    sources = {source for service in services() for source, _ in mounts(service).values()}
    assert {source for source in sources if not source.startswith(".")} == set(compose()["volumes"])
    for source in sources:
        assert not source.startswith(".") or (ROOT / source).exists(), source
    for service in services().values():
        assert set(service.get("depends_on", {})) <= set(services())


def test_authorities_meet_between_their_brokers_only() -> None:
    members: dict[str, set[str]] = {}
    for service in services():
        for network in _networks(service):
            members.setdefault(network, set()).add(service)
    shared = {network for network, who in members.items() if len({name[:2] for name in who}) > 1}
    assert shared == {"between"}
    assert {name.partition("-")[2] for name in members["between"]} == {"broker", "node"}
    inside = {name for name, network in compose()["networks"].items() if (network or {}).get("internal")}
    assert inside == {"between", *AUTHORITIES}
    for network in members.keys() - inside:
        assert len(members[network]) == 1, "from the network with a way out nobody else can be reached"


@pytest.mark.parametrize("who", AUTHORITIES)
def test_a_node_listens_in_its_own_network_only(who: str) -> None:
    mine, networks = settings(who), _networks(f"{who}-node")
    assert [name for name, names in networks.items() if mine.api.host in names] == [f"{who}-api"]
    assert mine.api.host not in services()
    assert compose()["services"][f"{who}-node"]["ports"][0].endswith(f":{mine.api.port}")
    assert instructions("EXPOSE") == [str(mine.api.port)]


@pytest.mark.parametrize("who", AUTHORITIES)
def test_a_broker_is_where_the_settings_say(who: str) -> None:
    mine, networks = settings(who), _networks(f"{who}-broker")
    assert mine.broker is not None
    assert mine.broker.host == f"{who}-broker"
    assert set(networks) == {who, "between"} & set(_networks(f"{who}-node"))
    assert mine.public.broker is not None
    assert networks["between"] == [mine.public.broker[0]]
    assert broker_names(mine) == [mine.public.broker[0], mine.broker.host], "what its certificate will be for"
    listening = re.findall(
        r"^listeners\.ssl\.1 = .*:(\d+)$", (DEPLOY / "rabbitmq" / "rabbitmq.conf").read_text(), re.MULTILINE
    )
    assert listening == [str(mine.public.broker[1])] == [str(mine.broker.port)]
    assert compose()["services"][f"{who}-broker"]["healthcheck"]["test"][-1] == listening[0]


@pytest.mark.parametrize("who", AUTHORITIES)
def test_a_database_is_where_the_secret_says(who: str) -> None:
    script = (DEPLOY / "introduce.sh").read_text()
    [url] = re.findall(r'"postgresql://(\w+):.*@(\$who-database)/(\w+)"', script)
    assert url == ("kpnode", "$who-database", environment(f"{who}-database")["POSTGRES_DB"])
    assert _networks(f"{who}-database").keys() == {who}
    assert who in _networks(f"{who}-node")


def test_only_the_apis_are_published_and_on_loopback() -> None:
    """No management port, no broker, no database: what is for partners is opened by whoever deploys, knowingly."""
    assert {port.rpartition(":")[0] for port in published()} == {"127.0.0.1:8081", "127.0.0.1:8082"}
    assert not {"15672", "4369", "25672", "5672", "5432"} & {
        part for port in published() for part in port.split(":")
    }


# --- docker-compose.yml: volumes and rights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", AUTHORITIES)
def test_the_broker_sees_its_own_files_and_no_key_of_the_nodes(who: str) -> None:
    home = Home(settings(who).home)
    node, ours = mounts(f"{who}-node"), mounts(f"{who}-broker")
    shared = {target for target, (source, _) in node.items() if source in {s for s, _ in ours.values()}}
    assert shared == {str(home.broker("ca.pem").parent)}
    assert ours[shared.pop()] == (f"{who}-broker", False)
    assert node[str(home.path)] == (f"{who}-home", True)
    conf = (DEPLOY / "rabbitmq" / "rabbitmq.conf").read_text()
    named = set(re.findall(r"(/var/lib/\S+)", conf))
    assert named == {str(home.broker(n)) for n in ("ca.pem", "server.pem", "server.key", "definitions.json")}


def test_every_service_may_do_as_little_as_it_can() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(
            service
        ), name
        assert int(service["user"].partition(":")[0]) > 0, name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert service["logging"]["options"]["max-size"], name
        assert not [source for source, _ in mounts(name).values() if source.startswith("/")], name
        assert not [
            source for source, writes in mounts(name).values() if source.startswith(".") and writes
        ], name


def test_node_and_broker_run_as_the_user_of_the_image() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert {service["user"] for service in {**services("-node"), **services("-broker")}.values()} == {
        "10001:10001"
    }


def test_every_service_is_asked_how_it_is() -> None:
    for name, service in services().items():
        assert ("healthcheck" in service) != ("build" in service), name
    [check] = instructions("HEALTHCHECK")
    assert "/healthz'" in check
    assert '"/healthz"' in Path(health.__file__).read_text()


def test_a_new_database_orders_letters_as_the_tests_have_it() -> None:
    databases = {name: each for name, each in services().items() if name.endswith("-database")}
    assert databases
    for name, each in databases.items():
        assert "--locale=C.UTF-8" in each["environment"]["POSTGRES_INITDB_ARGS"].split(), name


# --- images --------------------------------------------------------------------------------------------------------------------


def test_images_are_pinned_to_releases_with_the_known_fixes() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in services().items():
        image, _, tag = service["image"].partition(":")
        if image == "rabbitmq":
            major, minor, patch = (int(part) for part in re.findall(r"\d+", tag)[:3])
            assert major >= 4, name
            assert patch >= doctor.SOUND[major, minor], name
        elif image == "postgres":
            assert re.fullmatch(r"\d+\.\d+-\w+", tag), name
        else:
            assert (image, tag) == ("kpnode", version), name
    assert ":latest" not in (ROOT / "docker-compose.yml").read_text() + (DEPLOY / "Dockerfile").read_text()
    assert instructions("ARG") == ["DEBIAN=debian:12-slim"]
    assert {line.split()[0] for line in instructions("FROM")} == {"${DEBIAN}"}


def test_the_image_is_built_from_hashed_packages_and_files_that_exist() -> None:
    installs = [
        part
        for line in instructions("RUN")
        for part in line.split("&&")
        if re.search(r"bin/pip\b.* (install|wheel) ", part)
    ]
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command, command
        assert "--no-deps" in command, command
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for copy in instructions("COPY"):
        if copy.startswith("--from"):
            continue
        for source in copy.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source


def test_the_image_has_the_home_of_the_settings() -> None:
    home = settings("bw").home
    [made] = [part for line in instructions("RUN") for part in line.split("&&") if "install -d" in part]
    assert made.split()[-2:] == [str(home), str(home / "broker")]
    assert "-m 0700" in made
    assert instructions("WORKDIR")[-1] == str(home)
    assert instructions("ENTRYPOINT") == ['["kpnode"]']


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_the_images_locks_are_part_of_the_one_that_the_tests_run_on(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (DEPLOY / name).read_text().strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry or "://" in entry] == []
    tested = set(re.split(r"\n(?=\S)", (ROOT / "requirements-dev.lock").read_text().strip()))
    assert [entry.split()[0] for entry in entries if _pin(entry) not in {_pin(each) for each in tested}] == []


def test_the_runtime_lock_holds_what_the_node_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split(r"[\[<>=~! ;]", each)[0]
        for each in [*project["dependencies"], *extras["node"], *extras["postgres"]]
    }
    locked = set(re.findall(r"^([a-z0-9-]+)==", (DEPLOY / "requirements.lock").read_text(), re.MULTILINE))
    assert wanted <= locked, "the command that compiles it stands in deploy/Dockerfile"
    assert not {"pytest", "mypy", "ruff", "hatchling"} & locked


def _pin(entry: str) -> tuple[str, frozenset[str]]:
    return entry.split(maxsplit=1)[0], frozenset(re.findall(r"sha256:[0-9a-f]{64}", entry))


# --- broker --------------------------------------------------------------------------------------------------------------------


def test_the_broker_has_the_plugins_it_needs_and_no_more() -> None:
    assert (DEPLOY / "rabbitmq" / "enabled_plugins").read_text() == broker.enabled_plugins(management=False)
    assert "management" not in (DEPLOY / "rabbitmq" / "rabbitmq.conf").read_text()


def test_the_brokers_files_lie_where_rabbitmq_looks() -> None:
    for name in services("-broker"):
        files = {target: source for target, (source, _) in mounts(name).items() if target.startswith("/etc/")}
        assert files == {
            f"/etc/rabbitmq/{n}": f"./deploy/rabbitmq/{n}"
            for n in ("rabbitmq.conf", "enabled_plugins", "conf.d")
        }


def test_erlang_stays_on_loopback() -> None:
    for name in services("-broker"):
        variables = environment(name)
        assert variables["ERL_EPMD_ADDRESS"] == "127.0.0.1"
        assert variables["RABBITMQ_NODENAME"].endswith("@localhost")
        for whose in ("SERVER_ADDITIONAL", "CTL"):
            assert "inet_dist_use_interface {127,0,0,1}" in variables[f"RABBITMQ_{whose}_ERL_ARGS"]


# --- systemd, Prometheus, pages --------------------------------------------------------------------------------------------------


def _unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / "kpnode.service").read_text().splitlines():
        if re.match(r"[A-Z]\w+=", line):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_runs_the_node_of_the_example_configuration() -> None:
    unit = _unit()
    assert unit["ExecStart"] == ["/opt/kpnode/bin/kpnode run"]
    assert [line for line in instructions("ENV") if "/opt/kpnode/bin" in line]
    home = tomllib.loads((DEPLOY / "kpnode.example.toml").read_text())["home"]
    assert unit["StateDirectory"] == [Path(home).name]
    assert unit["WorkingDirectory"] == [home]
    assert unit["StateDirectoryMode"] == ["0700"]
    [variable] = unit["Environment"]
    assert variable.partition("=")[0] in NOT_SETTINGS
    text = (DEPLOY / "systemd" / "kpnode.service").read_text()
    credentials = re.findall(r"LoadCredentialEncrypted=kpnode_(\w+):", text)
    assert (
        {name.replace("__", ".") for name in credentials}
        == {"passphrase", "database"}
        <= set(deployment.names())
    )


def test_the_unit_gives_the_node_nothing_it_does_not_need() -> None:
    unit = _unit()
    assert unit["CapabilityBoundingSet"] == [""]
    for name in (
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "MemoryDenyWriteExecute",
        "RestrictSUIDSGID",
    ):
        assert unit[name] == ["yes"], name
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["User"] != ["root"]


def test_prometheus_asks_for_what_the_node_tells() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    assert scrape["rule_files"] == ["alerts.yml"]
    source = Path(health.__file__).read_text()
    assert f'"{scrape["scrape_configs"][0]["metrics_path"]}"' in source
    told = {f"{name}{end}" for name in re.findall(r'"(kpnode_\w+)"', source) for end in ("", "_total")}
    asked = {
        name
        for group in alerts["groups"]
        for rule in group["rules"]
        for name in re.findall(r"kpnode_\w+", rule["expr"])
    }
    assert asked
    assert asked <= told


def test_pages_name_commands_scopes_and_files_that_exist() -> None:
    from typer.main import get_command

    from kpmsg.cli import app as kpmsg
    from kpnode.cli import app

    top: Any = get_command(app)
    terminal: Any = get_command(kpmsg)
    pages = "".join(
        file.read_text() for file in [*DEPLOY.rglob("*.md"), DEPLOY / "introduce.sh", *DEPLOY.rglob("*.yml")]
    )
    commands = set(re.findall(r"kpnode ((?:partner|apikey) [a-z]+|init|record|check|run|doctor)\b", pages))
    assert len(commands) > 8
    for command in commands:
        at = top
        for word in command.split():
            assert word in at.commands, command
            at = at.commands[word]
    for command in re.findall(r"`kpmsg ([a-z]+)`", pages):
        assert command in terminal.commands, command
    assert set(re.findall(r"--scope ([a-z:]+)", pages)) <= {str(scope) for scope in Scope}
    for option in set(
        re.findall(
            r"--(?:renew-certificates|new-version|rotate|identity|fingerprint|because|person|json)\b(?!-)",
            pages,
        )
    ):
        assert option in _options(top), option
    readme = (DEPLOY / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (DEPLOY / target).exists(), target


def _options(command: Any) -> set[str]:
    found = {option for parameter in command.params for option in parameter.opts}
    return found.union(*(_options(each) for each in getattr(command, "commands", {}).values()))
