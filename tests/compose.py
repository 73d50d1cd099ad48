"""docker-compose.yml as data: what Compose would hand to each service."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
AUTHORITIES = {"bw": "BW", "ae": "AE"}


@cache
def compose() -> dict[str, Any]:
    """The whole file, merge keys applied."""
    whole = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(whole, dict)
    return whole


def services(kind: str = "") -> dict[str, dict[str, Any]]:
    """The services whose names end with `kind`: node, broker, database."""
    return {name: service for name, service in compose()["services"].items() if name.endswith(kind)}


def environment(service: str) -> dict[str, str]:
    found = compose()["services"][service].get("environment", {})
    assert isinstance(found, dict)
    return found


def mounts(service: str) -> dict[str, tuple[str, bool]]:
    """Where in the container, what (a volume, or a path from the root of the repository), and whether it may write there."""
    found = {}
    for mount in compose()["services"][service].get("volumes", []):
        source, target, *mode = mount.split(":")
        found[target] = (source, mode != ["ro"])
    return found


def secrets(service: str) -> dict[str, str]:
    """The path in the container, and that of the file from the root of the repository."""
    declared = compose()["secrets"]
    return {
        f"/run/secrets/{each['target']}": declared[each["source"]]["file"]
        for each in compose()["services"][service].get("secrets", [])
    }


def instructions(name: str) -> list[str]:
    """The arguments of each instruction `name` of the Dockerfile, lines joined and comments gone."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [line.removeprefix(name).strip() for line in text.splitlines() if line.startswith(f"{name} ")]


def published() -> set[str]:
    """Everything that any service publishes on the host."""
    return {port for service in services().values() for port in service.get("ports", [])}
